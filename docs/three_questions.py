"""The picture at the top of the README, from the register of figures: `python docs/three_questions.py`.

Filled is what is told apart from source only on the same test images, all methods tested together. Gains over the
head alone have their 95 % intervals, each by itself, and none is called better.
"""

from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.figure import Figure as Measured
from benchmarks.figure import Table, Value
from benchmarks.pacs import BASE, SHOWN, TO
from benchmarks.register import drawn_from, names, read
from tlcl.reports.plots.style import BLUE, GREY, INK

PICTURE = Path(__file__).with_name("three_questions.png")
DEPTH, FORGETTING, ADAPTATION = "depth_claim_resnet18_layer3", "methods_efficientnet_lite0", "adaptation_pacs_lite0"
RETRAINED, TESTED, TOGETHER = "last two", "tested epoch, %", "p, Holm"
ENDS = (BASE, "target_oracle")
FEW = ", 3 labels a class"
LABELS = {"fine_tune": f"fine_tune{FEW}", "ccsa": f"ccsa{FEW}", "target_oracle": "all labels"}


def number(row: tuple[str | Value, ...], table: Table, column: str) -> Value | None:
    """The cell, where it is a number."""
    cell = row[table.columns.index(column)]
    return cell if isinstance(cell, Value) else None


End = tuple[float, float, str, tuple[float, ...]]  # of a line: height, place, name, colour


def name_ends(axes: Axes, ends: list[End], place: float, least: float) -> None:
    """Name lines at their ends, highest first; no name lies on another, and a thin line leads to each."""
    below = float("inf")
    for height, end, name, colour in sorted(ends, reverse=True):
        below = min(height, below - least)
        axes.plot([end, place], [height, below], color=colour, linewidth=0.6, clip_on=False)
        axes.text(place, below, f" {name}", color=colour, va="center", fontsize=9)


def shade(place: int, count: int) -> tuple[float, ...]:
    return colormaps["viridis"](0.85 * place / max(1, count - 1))


def draw_depths(axes: Axes, table: Table) -> None:
    """What retraining the last two blocks brings over the head alone, a line a set of images."""
    sets = list(dict.fromkeys(str(row[0]) for row in table.rows))
    ends: list[End] = []
    most = 0
    for place, images in enumerate(sets):
        colour = shade(place, len(sets))
        known = [
            (int(str(row[table.columns.index("labels")]).replace(",", "")), gain)
            for row in table.rows if row[0] == images and (gain := number(row, table, RETRAINED)) is not None
        ]  # fmt: skip
        sizes, gains = zip(*known, strict=True)
        heights = [100 * gain.value for gain in gains]
        places = [size * 1.05 ** (place - len(sets) // 2) for size in sizes]  # intervals beside each other
        axes.plot(places, heights, color=colour, linewidth=1.5, marker="o", markersize=4)
        for beside, gain in zip(places, gains, strict=True):
            if gain.low is not None and gain.high is not None:
                axes.plot([beside, beside], [100 * gain.low, 100 * gain.high], color=colour, linewidth=0.8)
        ends.append((heights[-1], places[-1], images.removeprefix("PACS "), colour))
        most = max(most, sizes[-1])
    axes.plot([40, most], [0, 0], color=INK, linewidth=1, linestyle="--", zorder=0)
    axes.set_xscale("log")
    axes.set_xlim(40, most * 6)
    axes.set_xticks([50, 200, 800, 2500], ["50", "200", "800", "2,500"])
    axes.xaxis.minorticks_off()
    name_ends(axes, ends, most * 1.3, 1.0)
    axes.set_xlabel("labelled images; bars: 95 % intervals, each by itself", fontsize=9)
    axes.set_title("How much should be retrained?\nlast two blocks: points over the head alone", fontsize=11)


def draw_forgetting(axes: Axes, table: Table) -> None:
    """Accuracy on all classes so far, a line a method."""
    after = [name for name in table.columns if name.startswith("after ")]
    ends: list[End] = []
    for place, row in enumerate(table.rows):
        curve = [value.value for column in after if (value := number(row, table, column)) is not None]
        if len(curve) < len(after):  # it has seen all tasks at once
            continue
        colour = shade(place, len(table.rows))
        axes.plot(range(1, len(curve) + 1), curve, marker="o", markersize=4, color=colour)
        name = f"{str(row[0]).partition(' ')[0]} {100 * curve[-1]:.1f}"
        ends.append((curve[-1], len(after), name, colour))
    name_ends(axes, ends, len(after) + 0.3, 0.06)
    axes.set_xlim(0.9, len(after) + 1.7)
    axes.set_xticks(
        range(1, len(after) + 1), [f"{2 * task + 1}-{2 * task + 2}" for task in range(len(after))]
    )
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("classes of CIFAR-10 learned last", fontsize=9)
    asked = "What is forgotten, and what stops it?"
    axes.set_title(f"{asked}\n% of all classes so far, fine-tuned on all before", fontsize=11)


def draw_adaptation(axes: Axes, table: Table) -> None:
    """Bars of accuracy on the target of one pair of domains, at the epoch that is tested."""
    found = [
        (right.value, str(row[0]), row[table.columns.index(TOGETHER)])
        for row in table.rows if (right := number(row, table, TESTED)) is not None
    ]  # fmt: skip
    for place, (value, name, p) in enumerate(sorted(found)):
        colour = GREY if name in ENDS else BLUE
        face = colour if name == BASE or float(str(p)) < 0.05 else "white"
        axes.barh(LABELS.get(name, name), value, color=face, edgecolor=colour, height=0.7)
        axes.text(value + 0.01, place, f"{100 * value:.1f}", va="center", fontsize=9)
    axes.set_xlim(0, 1.1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(f"filled: told apart from {BASE}, all tested together", fontsize=9)
    axes.set_title(f"What without labels?\nPACS {TO.join(SHOWN).replace('-', ' ')}: test accuracy", fontsize=11)


def pair_of(found: Measured) -> Table:
    """Its table of one pair of domains."""
    return next(part for part in found.parts if isinstance(part, Table) and TESTED in part.columns)


def picture() -> Figure:
    """The answers side by side: the third once it is measured."""
    third = ADAPTATION in names()
    figure = Figure(figsize=(14 if third else 10, 3.9), layout="constrained", dpi=110)
    left, middle, *rest = figure.subplots(1, 3 if third else 2)
    draw_depths(left, read(DEPTH).table())
    draw_forgetting(middle, read(FORGETTING).table())
    for axes in rest:
        draw_adaptation(axes, pair_of(read(ADAPTATION)))
    for axes in (left, middle, *rest):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def figures() -> list[str]:
    """What it is drawn from."""
    return [name for name in (DEPTH, FORGETTING, ADAPTATION) if name in names()]


if __name__ == "__main__":
    picture().savefig(PICTURE, metadata=drawn_from(figures()))
    print(PICTURE)
