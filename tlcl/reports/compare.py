"""Plots and HTML page of a comparison of methods, from its table and config alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tlcl.reports.next_steps import Commands, recorded_path, resume_commands, use_commands
from tlcl.reports.page import base_context, embedded_plots, missing_records, render_page
from tlcl.reports.paired import all_pairs, compared, difference_words, standing_words
from tlcl.reports.plots.continual import percent_axis, task_axis
from tlcl.reports.plots.style import BLUE, INK, line_style, percent_ticks, save_figures
from tlcl.reports.tables.compare import LOWER, UPPER, gap_closed, read_table
from tlcl.reports.verdict import comparison_verdict, highest, methods_and_ends, upper_end
from tlcl.statistics.paired import Difference
from tlcl.system.figures import percent
from tlcl.tracking.finished_run import FinishedRun

CAPTIONS = {
    "curves": "Accuracy on the test images of all classes so far, after each task: mean over the seeds, the band "
    "one standard deviation. A method with a single training is a level line.",
    "final": "Accuracy on all classes after the last task; the line is one standard deviation over the seeds.",
    "target": "Accuracy on the target's test images; the line is one standard deviation over the seeds. Dashed: no "
    "adaptation and all target labels, where they were run.",
}
ALTERNATIVES = {
    "curves": "Line chart with a line a method: accuracy on all classes so far against the tasks",
    "final": "Bar chart of the methods' accuracies after the last task; its figures are in the table",
    "target": "Bar chart of the methods' accuracies on the target; its figures are in the table",
}
# figure -> heading of its column
COLUMNS = {
    "final_accuracy": "all classes at the end",
    "task_given_accuracy": "with the task given",
    "average_incremental_accuracy": "average incremental",
    "forgetting": "forgetting",
    "mean_confidence": "mean confidence",
    "test_acc": "target",
    "source_test_acc": "source",
}
# what is compared, in the sentence that says which method is best
VERDICTS = {
    "final_accuracy": "accuracy on all classes at the end",
    "test_acc": "accuracy on the target's test images",
}
RECORDS = {
    "config.yaml": "the config",
    "environment.json": "versions, commit and command",
    "summary.json": "the summary",
    "compare.json": "the table",
}


def curves(rows: list[dict]) -> Figure:
    """A line a method: mean cumulative accuracy over the seeds, with a band of one standard deviation."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    tasks = next(row["tasks"] for row in rows if row["tasks"])
    for number, row in enumerate(rows):
        if not row["curves"]:
            continue
        values = np.array(row["curves"], dtype=float)  # None becomes NaN
        style, places = line_style(number), np.arange(values.shape[1])
        if np.isnan(values[:, :-1]).all():  # joint: one training, so a level to compare with
            level = values[:, -1].mean()
            axes.axhline(level, color=style["color"], linestyle=":", linewidth=2, label=row["method"])
            continue
        mean = values.mean(0)
        axes.plot(places, mean, linewidth=2, label=row["method"], **style)
        if len(values) > 1:
            spread = values.std(0, ddof=1)
            axes.fill_between(places, mean - spread, mean + spread, color=style["color"], alpha=0.15, linewidth=0)
    task_axis(axes, tasks, "after training on")
    percent_axis(axes)
    axes.set_ylabel("accuracy on all classes so far")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def accuracy_bars(rows: list[dict], key: str, label: str, ends: Sequence[str] = ()) -> Figure:
    """Accuracy `key` of each method, best on top, with a dashed line at each of the methods `ends`."""
    known = [row for row in rows if row[key] is not None]
    figure = Figure(figsize=(9, 1.0 + 0.36 * len(known)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(known))
    means = np.array([row[key] for row in known])
    spreads = np.array([row[f"{key}_std"] or 0.0 for row in known])
    axes.barh(places, means, xerr=spreads, color=BLUE, ecolor=INK, height=0.7)
    for place, mean, spread in zip(places, means, spreads, strict=True):
        axes.text(float(mean + spread) + 0.01, float(place), percent(mean), va="center", fontsize=9)
    axes.set_yticks(places, [row["method"] for row in known], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1)
    percent_ticks(axes.xaxis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(label)
    for row in known:
        if row["method"] in ends:
            axes.axvline(row[key], color=INK, linestyle="--", linewidth=1, zorder=0)
    return figure


def save_compare_plots(root: Path) -> list[Path]:
    """Draw what the table allows into `plots/`."""
    rows = read_table(root)
    if any(row.get("test_acc") is not None for row in rows):
        bars = accuracy_bars(rows, "test_acc", "accuracy on the target's test images", (LOWER, UPPER))
        return save_figures(root, {"target": bars})
    if any(row["curves"] for row in rows):
        bars = accuracy_bars(rows, "final_accuracy", "accuracy on all classes after the last task")
        return save_figures(root, {"curves": curves(rows), "final": bars})
    return []


def runs_by_method(root: Path) -> dict[str, dict[object, Path]]:
    """Method -> seed -> directory of each finished run."""
    found: dict[str, dict[object, Path]] = {}
    methods = [row["method"] for row in read_table(root)]
    for run in map(FinishedRun, sorted((root / "runs").glob("*"))):
        name = str(run.setting("name") or "")
        mine = [method for method in methods if name.endswith(f" {method}")]
        if run.complete and mine:
            found.setdefault(max(mine, key=len), {})[run.setting("seed")] = run.path
    return found


def chosen_commands(root: Path, rows: list[dict], key: str) -> Commands:
    """To use a run of the method with the highest mean accuracy on the validation images.

    None where a method has no such figure: test images choose nothing.
    """
    runs = runs_by_method(root)
    real = [row["method"] for row in methods_and_ends(rows, key)[0] if row["method"] in runs]
    found = {
        method: [FinishedRun(run).summary.get("validation") for run in runs[method].values()] for method in real
    }
    if not real or not all(one for given in found.values() for one in given):
        return []
    best = max(real, key=lambda method: float(np.mean([one["final_accuracy"] for one in found[method] if one])))
    use, command = use_commands(recorded_path(FinishedRun(next(iter(runs[best].values())))))[0]
    return [(f"{use} with {best}, whose accuracy on the validation images is the highest", command)]


def beside_best(root: Path, rows: list[dict], key: str) -> dict[str, Difference]:
    """Each method less the one with the highest figure `key` of those that are given the same, by its name.

    Those that are given a few labels more are among them; the upper ends of the scale are not.
    """
    real, ends = methods_and_ends(rows, key)
    runs = runs_by_method(root)
    asked = [*real, *(row for row in ends if not upper_end(row))]
    names = [row["method"] for row in asked if row["method"] in runs]
    if not names or names[0] != highest(rows, key):
        return {}
    return all_pairs({name: runs[name] for name in names})[names[0]]


def gaps_closed(root: Path, rows: list[dict]) -> dict[str, float]:
    """See `gap_closed`; empty where the gap's ends cannot be told apart, a share of which says nothing."""
    runs = runs_by_method(root)
    pairs = compared(runs.get(LOWER, {}), {UPPER: runs.get(UPPER, {})})
    return gap_closed(rows) if any(pair.second_is_better for pair in pairs.values()) else {}


def accuracy_key(rows: list[dict]) -> str:
    """Of the accuracy that is compared; empty where there is none."""
    return next((key for key in ("test_acc", "final_accuracy") if rows and key in rows[0]), "")


def verdict(rows: list[dict], pairs: dict[str, Difference]) -> str:
    """Which method is highest, and how the others stand to it on the same test images."""
    key = accuracy_key(rows)
    best = highest(rows, key)
    standing = standing_words(pairs, best, tests=len(pairs) * (len(pairs) + 1) // 2)
    return comparison_verdict(rows, key, VERDICTS[key], standing) if key else ""


def verdict_of(root: Path) -> str:
    """Of a finished comparison."""
    rows = read_table(root)
    return verdict(rows, beside_best(root, rows, key) if (key := accuracy_key(rows)) else {})


def write_compare_report(root: Path) -> Path:
    """Write `report.html` from what is there; says what is not."""
    rows, run = read_table(root), FinishedRun(root)
    key = accuracy_key(rows)
    pairs = beside_best(root, rows, key) if key else {}
    best = highest(rows, key)
    context = {
        **base_context(root, missing_records(run, RECORDS)),
        "verdict": verdict(rows, pairs),
        "less_best": {name: difference_words(pair) for name, pair in pairs.items()},
        "told_apart": {name for name, pair in pairs.items() if pair.told_apart},
        "best": best,
        "commands": chosen_commands(root, rows, key) if run.complete else resume_commands(recorded_path(run)),
        "plots": embedded_plots(root, CAPTIONS, ALTERNATIVES),
        "rows": rows,
        "columns": {key: name for key, name in COLUMNS.items() if rows and key in rows[0]},
        "given": any(row.get("labelled") for row in rows),
        "gaps_closed": gaps_closed(root, rows),
        "seeds": max((row["planned"] for row in rows), default=0),
    }
    return render_page(root, "compare.html.j2", context)
