"""Table, pictures and page of a sweep, from its records alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from tlcl.config.kinds import NAMED, Kind
from tlcl.reports.asked import asked_by
from tlcl.reports.how_deep import commands_of
from tlcl.reports.next_steps import Commands, recorded_path, use_commands
from tlcl.reports.page import base_context, embedded_plots, render_page
from tlcl.reports.paired import beside_chosen, difference_words, standing_words
from tlcl.reports.plots.style import save_figures
from tlcl.reports.plots.sweep import DEPTH, bars, heat_map, lines, parallel_coordinates, search_history
from tlcl.reports.tables.runs import write_runs
from tlcl.reports.tables.spread import mean_std
from tlcl.reports.tables.sweep import Row, chosen, csv_text, is_condition, numeric, records_of, rows_of, values_of
from tlcl.reports.tables.sweep import score as best_first
from tlcl.statistics.paired import Difference
from tlcl.system.figures import points_spread
from tlcl.system.files import atomic_write_text
from tlcl.tracking.finished_run import COMPLETE, FAILURE, FinishedRun
from tlcl.tracking.sweep_records import Sweep, described, failure_sentences, read_sweep, shortened

MOST_COMMANDS = 4
MOST_PANELS = 12  # heat maps on one page
COLUMNS = {
    "average_incremental_accuracy": "average incremental",
    "forgetting": "forgetting",
    "backward_transfer": "backward transfer",
    "source_test_acc": "source, test",
    "a_distance": "A-distance",
    "head_acc": "the head alone, %",
    "gain": "gain over it, points",
    "found": "more than chance, % of runs",
}


class Picture(NamedTuple):
    """A figure, what is written below it, and what a screen reader says in its place."""

    figure: Figure
    caption: str
    alternative: str


def meaning(sweep: Sweep) -> tuple[str, str]:
    """What the validation and the test figure of the sweep's jobs are."""
    kinds = {str(job.summary.get("job")) for job in sweep.jobs if job.status == COMPLETE}
    only = kinds.pop() if len(kinds) == 1 else ""
    return NAMED[only].meaning if only in NAMED else Kind.meaning


def pictures(
    rows: Sequence[Row], keys: Sequence[str], *, search: bool, label: str, score: str
) -> dict[str, Picture]:
    """What suits the keys that vary.

    Two numeric keys on a grid: a heat map and lines, once for each setting of the others. One: lines, and a heat
    map beside one other key. None: bars. A search, or more than that: parallel coordinates.

    Args:
        label, score: what the test and the validation figure are.
    """
    drawn: dict[str, Picture] = {}
    tested = [row for row in rows if row.test]
    if not tested or not keys:
        return drawn
    if search and any(row.validation for row in tested):
        drawn["history"] = Picture(
            search_history(tested, score),
            f"The search: {score}, job by job.",
            "Scatter plot of the validation figure against the job, with the best so far; figures in sweep.csv",
        )
        return {**drawn, **_parallel(tested, keys, score)}
    numbers = [key for key in keys if numeric(tested, key)]
    numbers.sort(key=lambda key: (key != DEPTH, -len(values_of(tested, key))))
    if not numbers:
        drawn["bars"] = Picture(
            bars(tested, label),
            f"Mean {label}, and as a line one standard deviation over the seeds. Orange: chosen by validation.",
            f"Bar chart of the {label} of each setting; its figures are in the table",
        )
        return drawn
    across = numbers[0]
    down = numbers[1] if len(numbers) > 1 else keys[0] if len(keys) == 2 and keys[0] != across else keys[-1]
    panels: dict[str, list[Row]] = {}
    others = [key for key in keys if key not in (across, down)]
    for row in tested:
        panels.setdefault(described(row.settings, others), []).append(row)
    sparse = len(tested) * 2 < len(values_of(tested, across)) * len(values_of(tested, down)) * len(panels)
    if len(panels) > MOST_PANELS or (sparse and down != across):
        return _parallel(tested, keys, score)
    for number, (name, panel) in enumerate(panels.items()):
        end, title = (f"_{number}", f"{name}: ") if name else ("", "")
        if down != across:
            drawn[f"heat_map{end}"] = Picture(
                heat_map(panel, across, down, label),
                f"{title}Mean {label} in %, ± standard deviation over the seeds. Framed: what validation chooses "
                "in the row.",
                f"Heat map of the {label}, {across} against {down}; its figures are in the table",
            )
        own = [row._replace(settings={key: row.settings[key] for key in (across, down)}) for row in panel]
        drawn[f"lines{end}"] = Picture(
            lines(own, across, label),
            f"{title}Mean {label} along {across}; the band is one standard deviation over the seeds.",
            f"Line chart of the {label} along {across}; its figures are in the table",
        )
    return drawn


def _parallel(rows: Sequence[Row], keys: Sequence[str], score: str) -> dict[str, Picture]:
    known = [row for row in rows if row.validation]
    if not known or len(keys) < 2:
        return {}
    picture = Picture(
        parallel_coordinates(known, keys, score),
        f"Each line is a setting, coloured by its {score}; orange: the chosen one.",
        "Parallel coordinates of the settings; their figures are in the table",
    )
    return {"parallel": picture}


def sentences(rows: Sequence[Row], score: str, label: str) -> list[str]:
    """What validation chooses under each condition, and what the test images say of it."""
    tested = any(row.test for row in rows)
    best = [row for row in chosen(rows) if row.test or not tested]
    if not best:
        return []
    choices = [key for key in best[0].settings if not is_condition(key)]
    conditions = [key for key in best[0].settings if is_condition(key)]
    pooled = ", mean over the runs" if best[0].complete > 1 else ""
    alone = ", the best of which looks rather better than it is; nothing tests whether others are as good"
    rest = "; test images chose nothing" if tested else alone
    said = [f"Chosen by validation ({score}{pooled}){rest}:"]
    for row in best:
        where = f"{described(row.settings, conditions)}: " if conditions else ""
        figure = f"{label} {_percent(row.test)}" if tested else _percent(row.validation)
        said.append(f"{where}{described(row.settings, choices)}, {figure}")
    return said


def standing(rows: Sequence[Row], pairs: Mapping[int, Difference]) -> list[str]:
    """How the other settings stand to the chosen one under each condition, on the same test images."""
    said = []
    for best in chosen(rows):
        conditions = [key for key in best.settings if is_condition(key)]
        choices = [key for key in best.settings if not is_condition(key)]
        mine = {
            described(row.settings, choices): pairs[id(row)] for row in rows
            if id(row) in pairs and all(row.settings[key] == best.settings[key] for key in conditions)
        }  # fmt: skip
        words = standing_words(mine, "the chosen")
        where = f"{described(best.settings, conditions)}: " if conditions else ""
        said += [f"{where}{words}"] if words else []
    return said


def _percent(values: Sequence[float]) -> str:
    return f"{points_spread(*mean_std(values))} %" if values else "–"


def chosen_commands(root: Path, rows: Sequence[Row]) -> Commands:
    """To use the first complete run of each setting that validation chooses."""
    commands: Commands = []
    for row in chosen(rows):
        paths = [job.path for job in row.jobs if job.status == COMPLETE and job.path is not None]
        if paths:
            run = FinishedRun(root / paths[0])
            use, command = use_commands(recorded_path(run))[0]
            if run.summary.get("job") == "how_deep":  # it keeps no model
                use, command = commands_of(run.summary, asked_by(root / paths[0]))[0]
            where = described(row.settings, [key for key in row.settings if is_condition(key)])
            commands.append((f"{use}, {where}" if where else use, command))
    return commands[:MOST_COMMANDS]


def write_sweep_report(root: Path) -> Path:
    """Write `sweep.csv`, `runs.csv`, the plots and `report.html` from the records; returns the page's path."""
    sweep = read_sweep(root)
    score, label = meaning(sweep)
    rows = rows_of(sweep.jobs, sweep.keys)
    if sweep.search:  # a search has no order of its own: best first
        rows.sort(key=best_first, reverse=True)
    records, pairs = records_of(rows), beside_chosen(root, rows, chosen(rows))
    atomic_write_text(root / "sweep.csv", csv_text(records))
    write_runs(root, sweep.jobs)
    tested = any(row.test for row in rows)
    shown = rows if tested else [row._replace(test=row.validation) for row in rows]
    drawn = pictures(shown, sweep.keys, search=sweep.search, label=label if tested else score, score=score)
    save_figures(root, {name: picture.figure for name, picture in drawn.items()})
    context: dict[str, Any] = {
        **base_context(root, []),
        "plots": embedded_plots(
            root,
            {name: picture.caption for name, picture in drawn.items()},
            {name: picture.alternative for name, picture in drawn.items()},
        ),
        "sentences": [*sentences(rows, score, label), *standing(rows, pairs)],
        "beside_chosen": bool(pairs),
        "commands": chosen_commands(root, rows),
        "score": score,
        "label": label,
        "tested": tested,
        "keys": sweep.keys,
        "rows": [
            (row, {**record, "less_chosen": difference_words(pairs[id(row)]) if id(row) in pairs else "–"})
            for row, record in zip(rows, records, strict=True)
        ],
        "columns": {key: name for key, name in COLUMNS.items() if records and key in records[0]},
        "done": sum(job.status == COMPLETE for job in sweep.jobs),
        "planned": sweep.planned,
        "failed": sum(job.status == FAILURE for job in sweep.jobs),
        "failures": failure_sentences(sweep),
        "open": [job for job in sweep.jobs if job.status not in (COMPLETE, FAILURE)],
        "unnamed": sweep.planned - len(sweep.jobs),
        "several": any(row.complete > 1 for row in rows),
        "described": lambda job: described(job.settings, sweep.keys),
        "shortened": shortened,
    }
    return render_page(root, "sweep.html.j2", context)
