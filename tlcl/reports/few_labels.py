"""Plot and HTML page of methods with few target labels, from the cells of the run alone."""

import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tlcl.reports.page import base_context, embedded_plots, missing_records, render_page
from tlcl.reports.plots.style import INK, line_style, percent_ticks, save_figures
from tlcl.reports.tables.few_labels import differences, read_cells, rows_of
from tlcl.statistics.accuracy import LEVEL
from tlcl.statistics.paired import MeanDifference
from tlcl.system.figures import signed_interval, signed_points
from tlcl.tracking.finished_run import FinishedRun

CAPTIONS = {
    "few_labels": "Accuracy on the target's test images against the number of labelled target images a class; the "
    "bars are one standard deviation over the repetitions, crosses the published figures of CCSA."
}
ALTERNATIVES = {"few_labels": "Line chart with a line a method; its figures are in the tables"}
RECORDS = {
    "config.yaml": "the config",
    "environment.json": "versions, commit and command",
    "summary.json": "the summary",
}
Rows = list[dict[str, Any]]


def directions(rows: Rows) -> list[tuple[str, str]]:
    """(source, target) of every direction, in order."""
    return list(dict.fromkeys((row["source"], row["target"]) for row in rows))


def accuracy_lines(rows: Rows) -> Figure:
    """A panel for each direction, a line for each method."""
    found, methods = directions(rows), list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure(figsize=(5.5 * len(found), 4.2), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, direction in zip(panels, found, strict=True):
        mine = [row for row in rows if (row["source"], row["target"]) == direction]
        for number, method in enumerate(methods):
            line = [row for row in mine if row["method"] == method]
            shots, means = [row["shots"] for row in line], [row["accuracy"] for row in line]
            spreads = [row["accuracy_std"] or 0.0 for row in line]
            axes.errorbar(shots, means, spreads, capsize=3, label=method, **line_style(number))
            known = [(row["shots"], row["published"]) for row in line if row["published"] is not None]
            if known:
                label = f"{method.split()[0]}, published"
                axes.plot(*zip(*known, strict=True), "x", color=INK, markersize=8, zorder=5, label=label)
        axes.set_title(f"{direction[0]} to {direction[1]}", fontsize=11)
        axes.set_xlabel("labelled target images a class")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        percent_ticks(axes.yaxis)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="lower right")
    panels[0].set_ylabel("accuracy on the target's test images")
    return figure


def save_few_label_plots(root: Path) -> list[Path]:
    """Draw what the finished cells allow into `plots/`."""
    rows = rows_of(read_cells(root))
    return save_figures(root, {"few_labels": accuracy_lines(rows)}) if rows else []


def compared(cells: Rows) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(source, target) -> for each method but the first, how much more accurate it is, and whether told apart."""
    if not cells:
        return {}
    first, *others = sorted({cell["method"] for cell in cells}, key=lambda name: (name.startswith("ccsa"), name))
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (source, target, method), by_shots in differences(cells, dict.fromkeys(others, first)).items():
        words = {shots: (_words(pair), pair.p < 1 - LEVEL) for shots, pair in by_shots.items()}
        found.setdefault((source, target), []).append({"title": f"{method} less {first}, points", "words": words})
    return found


def _words(pair: MeanDifference) -> str:
    """`+9.8 (+7.0 to +12.6)`; without an interval of one pair, or of several that are equal."""
    one = not math.isfinite(pair.low)
    return signed_points(pair.difference) if one else signed_interval(pair.difference, pair.low, pair.high)


def tables(rows: Rows, cells: Rows) -> list[dict[str, Any]]:
    """For the page: of each direction the numbers of labels and, for each method, its rows by number of labels."""
    result, pairs = [], compared(cells)
    for source, target in directions(rows):
        mine = [row for row in rows if (row["source"], row["target"]) == (source, target)]
        methods = dict.fromkeys(row["method"] for row in mine)
        by_method = {name: {row["shots"]: row for row in mine if row["method"] == name} for name in methods}
        result.append(
            {
                "title": f"{source} to {target}",
                "shots": sorted({row["shots"] for row in mine}),
                "methods": by_method,
                "compared": pairs.get((source, target), []),
                "published": {row["shots"]: row["published"] for row in mine if row["published"] is not None},
                "runs": max(row["runs"] for row in mine),
                "seen": {row["shots"]: row["seen"] for row in mine},
                "gap": max(abs(row["accuracy"] - row["unseen_accuracy"]) for row in mine),
            }
        )
    return result


def write_few_label_report(root: Path) -> Path:
    """Write `report.html` from what is there; says what is not."""
    cells = read_cells(root)
    context = {
        **base_context(root, missing_records(FinishedRun(root), RECORDS)),
        "plots": embedded_plots(root, CAPTIONS, ALTERNATIVES),
        "tables": tables(rows_of(cells), cells),
    }
    return render_page(root, "few_labels.html.j2", context)
