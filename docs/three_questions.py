"""The picture at the top of the README, from the register of figures: `python docs/three_questions.py`."""

from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.figure import Table, Value
from benchmarks.register import read
from tlcl.reports.plots.style import BLUE, GREY, INK

PICTURE = Path(__file__).with_name("three_questions.png")
DEPTH, FORGETTING, ADAPTATION = "depth_claim_resnet18_layer3", "methods_efficientnet_lite0", "adaptation_pacs_lite0"
ENDS = ("source_only", "target_oracle")  # of the scale of adaptation
NEAREST = 0.055  # names at the ends of lines do not lie on each other


def number(row: tuple[str | Value, ...], table: Table, column: str) -> Value | None:
    """The cell, where it is a number."""
    cell = row[table.columns.index(column)]
    return cell if isinstance(cell, Value) else None


def name_ends(axes: Axes, ends: list[tuple[float, str, str]], place: float, least: float) -> None:
    """Name lines at their ends, highest first: height, name, colour."""
    below = float("inf")
    for height, name, colour in sorted(ends, reverse=True):
        below = min(height, below - least)
        axes.text(place, below, name, color=colour, va="center", fontsize=9)


def draw_depths(axes: Axes, table: Table) -> None:
    """What retraining the last two blocks brings over the head alone, a line a set of images."""
    sets = list(dict.fromkeys(str(row[0]) for row in table.rows))
    axes.axhline(0, color=INK, linewidth=1, linestyle="--")
    ends, most = [], 0
    for place, images in enumerate(sets):
        colour = colormaps["viridis"](0.9 * place / max(1, len(sets) - 1))
        rows = [row for row in table.rows if row[0] == images]
        sizes = [int(str(row[table.columns.index("labels")]).replace(",", "")) for row in rows]
        gains = [100 * value.value for row in rows if (value := number(row, table, "last two"))]
        axes.plot(sizes, gains, marker="o", markersize=3, color=colour)
        ends.append((gains[-1], images.removeprefix("PACS "), colour))
        most = max(most, sizes[-1])
    axes.set_xscale("log")
    axes.set_xlim(40, most * 5)
    axes.set_xticks([50, 200, 800, 2500], ["50", "200", "800", "2,500"])
    axes.xaxis.minorticks_off()
    name_ends(axes, ends, most * 1.15, 0.9)
    axes.set_xlabel("labelled images")
    axes.set_title("How much should be retrained?\nlast two blocks: points over the head alone", fontsize=11)


def draw_forgetting(axes: Axes, table: Table) -> None:
    """Accuracy on all classes so far, a line a method."""
    after = [name for name in table.columns if name.startswith("after ")]
    ends = []
    for place, row in enumerate(table.rows):
        curve = [value.value for column in after if (value := number(row, table, column))]
        if len(curve) < len(after):
            continue
        colour = colormaps["viridis"](0.9 * place / max(1, len(table.rows) - 1))
        axes.plot(range(1, len(curve) + 1), curve, marker="o", markersize=3, color=colour)
        ends.append((curve[-1], str(row[0]).partition(" ")[0], colour))
    name_ends(axes, ends, len(after) + 0.12, NEAREST)
    axes.set_xlim(0.9, len(after) + 1.3)
    axes.set_xticks(
        range(1, len(after) + 1), [f"{2 * number + 1}-{2 * number + 2}" for number in range(len(after))]
    )
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("classes of CIFAR-10 learned last")
    axes.set_title("What is forgotten, and what stops it?\naccuracy on all classes so far", fontsize=11)


def draw_adaptation(axes: Axes, table: Table) -> None:
    """Bars of accuracy on the target, the mean over the pairs of domains."""
    found = [(str(row[0]), value.value) for row in table.rows if (value := number(row, table, "last epoch, %"))]
    found.sort(key=lambda one: one[1])
    names, values = [name for name, _ in found], [value for _, value in found]
    axes.barh(names, values, color=[GREY if name in ENDS else BLUE for name in names], height=0.7)
    for place, value in enumerate(values):
        axes.text(value + 0.01, place, f"{100 * value:.1f}", va="center", fontsize=9)
    axes.set_xlim(0, 1.12)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("fine_tune, ccsa: 3 labels a class; target_oracle: all", fontsize=9)
    axes.set_title("What without labels?\nthe 12 pairs of PACS' domains: test accuracy", fontsize=11)


def picture() -> Figure:
    """The three answers side by side."""
    figure = Figure(figsize=(14, 3.9), layout="constrained", dpi=110)
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.05, 1, 1])
    draw_depths(left, read(DEPTH).table())
    draw_forgetting(middle, read(FORGETTING).table())
    draw_adaptation(right, read(ADAPTATION).table())
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    picture().savefig(PICTURE)
    print(PICTURE)
