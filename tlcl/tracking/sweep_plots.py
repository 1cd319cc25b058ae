"""Pictures of a grid of freeze depths and data-set sizes."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from tlcl.tracking.compare_table import mean_std
from tlcl.tracking.sweep_table import Cell, best_depths


def depth_heatmap(cells: Sequence[Cell]) -> Figure:
    """Mean ± standard deviation of the test accuracy, a row a size; the best depth of each row is framed."""
    depths, sizes = (sorted({getattr(cell, name) for cell in cells}) for name in ("depth", "size"))
    means = np.full((len(sizes), len(depths)), np.nan)
    figure = Figure(figsize=(1.8 + 1.15 * len(depths), 1.3 + 0.62 * len(sizes)), layout="constrained")
    axes = figure.subplots()
    for cell in cells:
        row, column = sizes.index(cell.size), depths.index(cell.depth)
        means[row, column] = mean_std(cell.accuracies)[0]
    image = axes.imshow(means, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for cell in cells:
        row, column = sizes.index(cell.size), depths.index(cell.depth)
        mean, spread = mean_std(cell.accuracies)
        text = f"{100 * (mean or 0):.1f}" + ("" if spread is None else f"\n± {100 * spread:.1f}")
        colour = "white" if (mean or 0) < 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    for size, depth in best_depths(cells).items():
        corner = (depths.index(depth) - 0.47, sizes.index(size) - 0.46)
        axes.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, edgecolor="#D55E00", linewidth=2.5))
    axes.set_xticks(range(len(depths)), [_depth_name(depth, max(depths)) for depth in depths])
    axes.set_yticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    axes.set_xlabel("backbone blocks retrained, from the end on")
    axes.set_ylabel("labelled images")
    figure.colorbar(image, ax=axes, format=PercentFormatter(1.0), label="test accuracy")
    return figure


def depth_curves(cells: Sequence[Cell]) -> Figure:
    """Test accuracy against depth, a line a size, the band one standard deviation over the seeds."""
    sizes = sorted({cell.size for cell in cells})
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for number, size in enumerate(sizes):
        row = [cell for cell in cells if cell.size == size]
        depths = [cell.depth for cell in row]
        means = np.array([mean_std(cell.accuracies)[0] for cell in row], dtype=float)
        spreads = np.array([mean_std(cell.accuracies)[1] or 0.0 for cell in row])
        colour = colormaps["viridis"](0.9 * number / max(1, len(sizes) - 1))
        axes.plot(depths, means, marker="osD^v"[number % 5], color=colour, linewidth=2, label=f"{size:,} images")
        axes.fill_between(depths, means - spreads, means + spreads, color=colour, alpha=0.18, linewidth=0)
    depths = sorted({cell.depth for cell in cells})
    axes.set_xticks(depths, [_depth_name(depth, max(depths)) for depth in depths])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("backbone blocks retrained, from the end on")
    axes.set_ylabel("test accuracy")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def _depth_name(depth: int, most: int) -> str:
    if depth == 0:
        return "0\n(head only)"
    return f"{depth}\n(everything)" if depth == most == 5 else str(depth)
