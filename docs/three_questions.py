"""The picture at the top of the README, from a study's records: `python docs/three_questions.py runs/study`."""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from tlcl.reports.plots.style import BLUE, GREY, ORANGE
from tlcl.reports.tables.spread import mean_std

PICTURE = Path(__file__).with_name("three_questions.png")
ENDS = ("naive", "joint", "source_only", "target_oracle")  # of the scales, drawn in grey


def depths(study: Path) -> dict[int, dict[int, tuple[float, float]]]:
    """Labelled images -> blocks retrained -> mean test and validation accuracy."""
    found: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for path in (study / "grid" / "runs").glob("*/summary.json"):
        depth, size = map(int, re.findall(r"depth(\d+)_size(\d+)", path.parent.name)[0])
        summary = json.loads(path.read_text())
        found[size, depth].append((summary["test_acc"], summary["selected"]["val_acc"]))
    means: dict[int, dict[int, tuple[float, float]]] = defaultdict(dict)
    for (size, depth), values in sorted(found.items()):
        tested, validated = zip(*values, strict=True)
        means[size][depth] = (mean_std(tested)[0] or 0.0, mean_std(validated)[0] or 0.0)
    return means


def draw_depths(axes: Axes, means: dict[int, dict[int, tuple[float, float]]]) -> None:
    """A heat map of test accuracy; what validation chooses in each row is framed."""
    table, validated = np.moveaxis(np.array([list(row.values()) for row in means.values()]), 2, 0)
    axes.imshow(table, cmap="viridis", aspect="auto", vmin=np.floor(10 * table.min()) / 10, vmax=1)
    for y, row in enumerate(table):
        for x, value in enumerate(row):
            colour = "white" if value < 0.88 else "black"
            axes.text(x, y, f"{100 * value:.1f}", ha="center", va="center", fontsize=9, color=colour)
        corner = (float(validated[y].argmax()) - 0.47, y - 0.46)
        axes.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, edgecolor=ORANGE, linewidth=2.5))
    axes.set_xticks(range(table.shape[1]), ["head\nonly", *map(str, range(1, table.shape[1] - 1)), "all"])
    axes.set_yticks(range(len(means)), [f"{size:,}" for size in means])
    axes.set_xlabel("backbone blocks retrained")
    axes.set_ylabel("labelled images")
    axes.set_title("How much should be retrained?\ntest accuracy in %, validation's choice framed", fontsize=11)


def draw_forgetting(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Accuracy on all classes so far, a line a method, named at its end."""
    lines = [row for row in rows if row.get("curves")]
    ends: list[float] = []
    for number, row in enumerate(sorted(lines, key=lambda row: -row["final_accuracy"])):
        curve = np.mean(np.array(row["curves"], dtype=float), axis=0)  # joint has its last point alone
        colour = "#777777" if row["method"] in ENDS else colormaps["viridis"](0.85 * number / len(lines))
        axes.plot(range(1, len(curve) + 1), curve, marker="o", markersize=3, color=colour)
        height = min([curve[-1], *(end - 0.052 for end in ends[-1:])])  # names do not lie on each other
        ends.append(height)
        axes.text(len(curve) + 0.12, height, row["method"], color=colour, va="center", fontsize=9)
    axes.set_xlim(0.9, len(curve) + 1.2)
    axes.set_xticks(range(1, len(curve) + 1), [", ".join(task) for task in lines[0]["tasks"]])
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("digits learned last")
    axes.set_title("What is forgotten, and what stops it?\naccuracy on all digits so far", fontsize=11)


def draw_adaptation(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Bars of accuracy on the target."""
    rows = sorted(rows, key=lambda row: row["test_acc"])
    values = [row["test_acc"] for row in rows]
    axes.barh(range(len(rows)), values, color=[GREY if row["method"] in ENDS else BLUE for row in rows], height=0.7)
    for place, value in enumerate(values):
        axes.text(value + 0.01, place, f"{100 * value:.1f}", va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
    axes.set_xlim(0, 1.12)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("fine_tune, ccsa: 5 labels a class; target_oracle: all", fontsize=9)
    axes.set_title("What without labels?\nrendered digits → handwritten: test accuracy", fontsize=11)


def picture(study: Path) -> Figure:
    """The three answers side by side."""
    figure = Figure(figsize=(14, 3.9), layout="constrained", dpi=110)
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.15, 1, 1])
    draw_depths(left, depths(study))
    draw_forgetting(middle, json.loads((study / "continual" / "compare.json").read_text()))
    draw_adaptation(right, json.loads((study / "adaptation" / "compare.json").read_text()))
    for axes in (middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    picture(Path(sys.argv[1])).savefig(PICTURE)
    print(PICTURE)
