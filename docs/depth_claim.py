"""README's picture of question 1, from what was measured: `python docs/depth_claim.py runs/depth_claim`."""

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.common import file_name
from benchmarks.depth_claim import IMAGES, SEEDS, SETTINGS, pair
from tlcl.reports.plots.style import BLUE, GREEN, INK, ORANGE

PICTURE = Path(__file__).with_name("depth_claim.png")
NEAR = 1.5  # times as many labels, whose figures would lie on each other
COLOURS = dict(zip(SETTINGS, (GREEN, BLUE, ORANGE), strict=True))


def read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
    """The measured cases, and network -> set -> distance."""
    cases, far = [], {}
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text())
        if file.name.startswith("distances"):
            far[file.stem.removeprefix("distances_")] = content
        else:
            cases.append(content)
    return cases, far


def shown(sizes: list[int]) -> list[str]:
    """What stands below each number of labels; nothing where the next one is too near."""
    following = [*sizes[1:], float("inf")]
    return [f"{one:,}" if after > NEAR * one else "" for one, after in zip(sizes, following, strict=True)]


def picture(folder: Path) -> Figure:
    """A panel a set, nearest first, three in a row: gain over the head alone against the number of labels."""
    cases, far = read(folder)
    networks = sorted({case["network"] for case in cases})
    across, down = 3, -(-len(IMAGES) // 3)
    figure = Figure(figsize=(10, 2.3 * down * len(networks) + 0.6), layout="constrained", dpi=110)
    grid = figure.subplots(down * len(networks), across, squeeze=False, sharey=True)
    for number, network in enumerate(networks):
        distances = far[file_name(network)]
        panels = grid[down * number : down * (number + 1)]
        for axes, name in zip(panels.flat, sorted(IMAGES, key=lambda name: distances[name]), strict=True):
            mine = [case for case in cases if (case["network"], case["images"]) == (network, name)]
            sizes = sorted({case["labels"] for case in mine})
            axes.axhline(0, color=INK, linewidth=1, linestyle="--")
            for setting, words in SETTINGS.items():
                pairs = [pair([case for case in mine if case["labels"] == size], setting) for size in sizes]
                axes.plot(sizes, [100 * one.difference for one in pairs], marker="o", markersize=4,
                          color=COLOURS[setting], label=words)  # fmt: skip
                axes.fill_between(sizes, [100 * one.low for one in pairs], [100 * one.high for one in pairs],
                                  color=COLOURS[setting], alpha=0.15, linewidth=0)  # fmt: skip
            axes.set_xscale("log")
            axes.set_xticks(sizes, shown(sizes), fontsize=9)
            axes.xaxis.minorticks_off()
            axes.set_title(f"{name} (distance {distances[name]:.2f})", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
        for row in panels:
            row[0].set_ylabel(f"{network}:\npoints over the head", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("labels", fontsize=9)
    lines, names = grid[0][0].get_legend_handles_labels()
    title = f"retrained (band: 95 %, {len(SEEDS)} seeds); distance from ImageNet: MMD of the features"
    figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False, title=title)
    return figure


if __name__ == "__main__":
    picture(Path(sys.argv[1])).savefig(PICTURE)
    print(PICTURE)
