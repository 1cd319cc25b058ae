"""Pictures of the depth grid: accuracy against depth in each target, and what retraining is worth by distance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tlcl.reports.plots.style import ORANGE, marker_of, percent_ticks
from tlcl.reports.tables.depth_grid import Cell, GridRun, by_distance
from tlcl.statistics.paired import Difference


def _colours(sizes: Sequence[int]) -> dict[int, Any]:
    return {size: colormaps["viridis"](0.85 * place / max(1, len(sizes) - 1)) for place, size in enumerate(sizes)}


def depth_curves_by_target(runs: Sequence[GridRun], table: Sequence[Cell], distances: dict[str, Any]) -> Figure:
    """Test accuracy against depth, a panel a target (nearest first), a line a number of labels.

    The band is one standard deviation over the seeds; a ring marks the depth that validation images choose.
    """
    targets, sizes = by_distance(runs, distances), sorted({run.size for run in runs})
    figure = Figure(figsize=(3.1 * len(targets) + 0.6, 3.6), layout="constrained")
    panels = figure.subplots(1, len(targets), squeeze=False)[0]
    colours = _colours(sizes)
    for axes, target in zip(panels, targets, strict=True):
        for number, size in enumerate(sizes):
            row = [run for run in runs if (run.target, run.size) == (target, size)]
            depths = sorted({run.depth for run in row})
            if not depths:
                continue
            values = [[run.test_acc for run in row if run.depth == depth] for depth in depths]
            means = np.array([np.mean(v) for v in values])
            spreads = np.array([np.std(v, ddof=1) if len(v) > 1 else 0.0 for v in values])
            line: dict[str, Any] = {"color": colours[size], "marker": marker_of(number), "markersize": 4}
            axes.plot(depths, means, label=f"{size:,} labels", **line)
            axes.fill_between(depths, means - spreads, means + spreads, color=colours[size], alpha=0.15, lw=0)
            for cell in table:
                if (cell.target, cell.size) == (target, size):
                    axes.plot(cell.best, cell.accuracy, "o", ms=12, mfc="none", mec=ORANGE, mew=1.8)
        mmd = distances.get(target, {}).get("mmd")
        axes.set_title(target if mmd is None else f"{target}\nMMD to the letters {mmd:.2f}", fontsize=10)
        axes.axhline(next(run.chance for run in runs if run.target == target), color="0.7", lw=1, ls=":")
        percent_ticks(axes.yaxis)
        axes.set_xticks(sorted({run.depth for run in runs}))
        axes.set_xlabel("backbone blocks retrained")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("test accuracy")
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=len(names), frameon=False)
    return figure


def gain_by_distance(table: Sequence[Cell], pairs: Mapping[tuple[str, int], Difference]) -> Figure:
    """What the chosen depth brings over the head alone, against the target's distance, with 95 % intervals.

    Args:
        pairs: (target, labels) -> head and chosen depth on the same test images; none where they are one.
    """
    placed = [cell for cell in table if cell.distance is not None]
    sizes = sorted({cell.size for cell in placed})
    figure = Figure(figsize=(8.5, 4.2), layout="constrained")
    axes = figure.subplots()
    colours = _colours(sizes)
    for number, size in enumerate(sizes):
        row = sorted((cell for cell in placed if cell.size == size), key=lambda cell: cell.distance or 0.0)
        # side by side, so that bars of equal distance do not hide each other
        places = [(cell.distance or 0.0) + 0.004 * (number - (len(sizes) - 1) / 2) for cell in row]
        known = [pairs.get((cell.target, cell.size)) for cell in row]
        errors = [
            [max(0.0, pair.difference - pair.low) if pair else 0.0 for pair in known],
            [max(0.0, pair.high - pair.difference) if pair else 0.0 for pair in known],
        ]
        axes.errorbar(
            places, [cell.gain for cell in row], yerr=errors, marker=marker_of(number), color=colours[size],
            capsize=3, label=f"{size:,} labels",
        )  # fmt: skip
        for place, cell in zip(places, row, strict=True):
            axes.annotate(str(cell.best), (place, cell.gain), xytext=(6, 5), textcoords="offset points", fontsize=8)
    distances = {cell.target: cell.distance or 0.0 for cell in placed}
    for number, target in enumerate(sorted(distances, key=lambda target: distances[target])):
        height = 2 + 12 * (number % 2)  # in turn, so that the names of targets equally far do not hide each other
        axes.annotate(
            target, (distances[target], 1.0), xycoords=("data", "axes fraction"), xytext=(0, height),
            textcoords="offset points", ha="center", va="bottom", fontsize=9,
        )  # fmt: skip
    axes.axhline(0, color="0.7", lw=1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
    axes.set_xlabel("distance of the target from the letters (MMD of the pretrained network's features)")
    axes.set_ylabel("points of test accuracy over the head only")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False)
    return figure
