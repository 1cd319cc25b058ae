"""README's picture of question 1, from the register of figures: `python docs/depth_claim.py`."""

from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.cases import cases_of
from benchmarks.depth_claim import FIGURES, IMAGES, SEEDS, SETTINGS
from benchmarks.figure import Table, Value
from benchmarks.register import drawn_from, names, read
from tlcl.reports.plots.style import BLUE, GREEN, INK, ORANGE

PICTURE = Path(__file__).with_name("depth_claim.png")
NEAR = 1.5  # times as many labels, whose figures would lie on each other
COLOURS = dict(zip(SETTINGS.values(), (GREEN, BLUE, ORANGE), strict=True))


def columns(table: Table, images: str) -> dict[str, list[Value]]:
    """Setting -> its gains on one set of images, fewest labels first."""
    mine = [row for row in table.rows if row[0] == images]
    places = {words: table.columns.index(words) for words in SETTINGS.values()}
    return {words: [row[place] for row in mine if isinstance(row[place], Value)]
            for words, place in places.items()}  # fmt: skip


def shown(sizes: list[int]) -> list[str]:
    """What stands below each number of labels; nothing where the next one is too near."""
    following = [*sizes[1:], float("inf")]
    return [f"{one:,}" if after > NEAR * one else "" for one, after in zip(sizes, following, strict=True)]


def whole(name: str) -> bool:
    """Whether all cases of a network are measured."""
    if name not in names():
        return False
    done, planned = cases_of(read(name))
    return done == planned


def picture() -> Figure:
    """A panel a set, nearest first, three in a row: gain over the head alone against the number of labels."""
    tables = {network: read(name).table() for network, name in FIGURES.items() if name in figures()}
    sets = {network: dict.fromkeys(str(row[0]) for row in table.rows) for network, table in tables.items()}
    across, down = 3, -(-len(IMAGES) // 3)
    figure = Figure(figsize=(10, 2.3 * down * len(tables) + 0.6), layout="constrained", dpi=110)
    grid = figure.subplots(down * len(tables), across, squeeze=False, sharey=True)
    for number, (network, table) in enumerate(tables.items()):
        panels = grid[down * number : down * (number + 1)]
        for axes in panels.flat[len(sets[network]) :]:  # of what is not measured yet
            axes.set_axis_off()
        for axes, name in zip(panels.flat, sets[network], strict=False):
            mine = [row for row in table.rows if row[0] == name]
            sizes = [int(str(row[2]).replace(",", "")) for row in mine]
            axes.axhline(0, color=INK, linewidth=1, linestyle="--")
            for words, gains in columns(table, name).items():
                axes.plot(sizes, [100 * one.value for one in gains], marker="o", markersize=4,
                          color=COLOURS[words], label=words)  # fmt: skip
                low, high = ([100 * (getattr(one, end) or 0.0) for one in gains] for end in ("low", "high"))
                axes.fill_between(sizes, low, high, color=COLOURS[words], alpha=0.15, linewidth=0)
            axes.set_xscale("log")
            axes.set_xticks(sizes, shown(sizes), fontsize=9)
            axes.xaxis.minorticks_off()
            axes.set_title(f"{name} (distance {mine[0][1]})", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
        for row in panels:
            row[0].set_ylabel(f"{network}:\npoints over the head", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("labels", fontsize=9)
    lines, labels = grid[0][0].get_legend_handles_labels()
    title = f"retrained (band: 95 %, {len(SEEDS)} seeds); distance from ImageNet: MMD of the features"
    figure.legend(lines, labels, loc="outside lower center", ncols=3, frameon=False, title=title)
    return figure


def figures() -> list[str]:
    """What it is drawn from."""
    return [name for name in FIGURES.values() if whole(name)]


if __name__ == "__main__":
    picture().savefig(PICTURE, metadata=drawn_from(figures()))
    print(PICTURE)
