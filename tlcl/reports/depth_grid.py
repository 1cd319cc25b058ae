"""The one page of a depth grid: pictures, table, and what it says of the claim, from the records alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlcl.reports.page import base_context, embedded_plots, render_page
from tlcl.reports.paired import compared, difference_words
from tlcl.reports.plots.depth_grid import depth_curves_by_target, gain_by_distance
from tlcl.reports.plots.style import save_figures
from tlcl.reports.tables.depth_grid import (
    DISTANCES,
    Cell,
    cells,
    claims,
    read_runs,
    run_directories,
    write_depth_grid,
)
from tlcl.statistics.accuracy import LEVEL
from tlcl.statistics.paired import Difference, together
from tlcl.statistics.trends import LEAST, rises_along, rises_down
from tlcl.system.figures import signed_points
from tlcl.tracking.records import read_object

CAPTIONS = {
    "depth_curves_by_target": (
        "Test accuracy against the number of blocks retrained besides the head, nearest target first; the ring is "
        "the depth that the validation images choose, the dotted line is chance."
    ),
    "gain_by_distance": (
        "What that depth (the small number) brings over the head alone, against the target's distance from the "
        "source, with its 95 % interval over test images and seeds; none where that depth is the head alone."
    ),
}
ALTERNATIVES = {
    "depth_curves_by_target": "Line charts of test accuracy against depth, one for each target; see the table",
    "gain_by_distance": "Chart of the gain over the head alone against the distance; see the table",
}


def sentence(table: Sequence[Cell], what: str) -> str:
    """What the rank correlations say of one half of the claim."""
    parts = []
    for figure, name in (("best", "chosen depth"), ("gain", "gain over the head alone")):
        rhos = [
            claim["rho"]
            for claim in claims(table)
            if claim["with"] == what and claim["of"] == figure and claim["rho"] is not None
        ]
        if rhos:
            rising = sum(rho > 0 for rho in rhos)
            parts.append(f"{name} rises in {rising} of {len(rhos)} (rank correlations {_list(rhos)})")
    return f"With the {what}: {'; '.join(parts)}{_trend_words(table, what)}." if parts else ""


def _trend_words(table: Sequence[Cell], what: str) -> str:
    """Whether the gain rises by more than chance, where every target has every number of labels."""
    targets = list(dict.fromkeys(cell.target for cell in table))  # nearest first
    sizes = sorted({cell.size for cell in table})
    known = {(cell.target, cell.size): cell.gain for cell in table}
    if len(known) < len(targets) * len(sizes):
        return ""
    gains = [[known[target, size] for size in sizes] for target in targets]
    along = what == "number of labels"
    if len(targets) < LEAST or (along and len(sizes) < LEAST):
        return "; these are too few for a test of the gain's trend"
    p = rises_along(gains) if along else rises_down(gains)
    if p is None:
        return ""
    name = "Page's test" if along else "of all orders of the targets"
    told = "" if p < 1 - LEVEL else ", no more than chance"
    return f"; that the gain rises in all together has p = {p:.2g} ({name}){told}"


def paired_gains(root: Path, table: Sequence[Cell]) -> dict[tuple[str, int], Difference]:
    """(target, labels) -> what the chosen depth brings over the head alone, on the same test images.

    What is told apart is so with all cells tested together.
    """
    runs, pairs = run_directories(root), dict[tuple[str, int], Difference]()
    for cell in table:
        head, deeper = ((cell.target, cell.size, depth) for depth in (0, cell.best))
        if cell.best == 0 or head not in runs or deeper not in runs:
            continue
        for pair in compared(runs[head], {"deeper": runs[deeper]}).values():
            pairs[cell.target, cell.size] = pair
    return together(pairs)


def gain_words(pairs: Mapping[tuple[str, int], Difference]) -> dict[tuple[str, int], str]:
    """The same in words, with intervals."""
    return {
        place: difference_words(pair) + ("" if pair.told_apart else ", not to be told apart")
        for place, pair in pairs.items()
    }


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:+.2f}" for value in values)


def write_depth_grid_report(root: Path, stopped: Sequence[str]) -> Path:
    """Draw the pictures and write table and `report.html` from the runs below `root`.

    Args:
        stopped: sentences on runs that failed.
    """
    runs, distances = read_runs(root), read_object(root / DISTANCES)
    table = cells(runs, distances)
    pairs = paired_gains(root, table)
    if table:
        figures = {"depth_curves_by_target": depth_curves_by_target(runs, table, distances)}
        if any(cell.distance is not None for cell in table):
            figures["gain_by_distance"] = gain_by_distance(table, pairs)
        save_figures(root, figures)
        intervals = {place: (pair.low, pair.high) for place, pair in pairs.items()}
        write_depth_grid(root, runs, table, intervals)
    gains = gain_words(pairs)
    context: dict[str, Any] = {
        **base_context(root, []),
        "plots": embedded_plots(root, CAPTIONS, ALTERNATIVES),
        "cells": [
            {**cell._asdict(), "gained": gains.get((cell.target, cell.size), signed_points(cell.gain))}
            for cell in table
        ],
        "distances": distances,
        "sentences": [text for what in ("number of labels", "distance") if (text := sentence(table, what))],
        "stopped": stopped,
    }
    return render_page(root, "depth_grid.html.j2", context)
