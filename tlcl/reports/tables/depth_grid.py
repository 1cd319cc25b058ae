"""Freeze depth x number of labels x target, from the runs' records alone: the table and what follows from it."""

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import spearmanr

from tlcl.system.files import atomic_write_text
from tlcl.tracking.finished_run import FinishedRun

RUNS, DISTANCES, TABLE = "runs", "distances.json", "depth_grid"


class GridRun(NamedTuple):
    """One finished run; accuracies in 0..1, that on validation images of the epoch which was tested."""

    target: str
    size: int
    depth: int
    seed: int
    val_acc: float
    test_acc: float
    chance: float


class Cell(NamedTuple):
    """One target with one number of labels.

    Attributes:
        best: the depth with the highest mean validation accuracy; among equals the one that trains least.
        gain: test accuracy at that depth minus head only, mean over the seeds in both.
        seeds: how many the gain is a mean of.
        distance: of the target from the source (MMD), if it was measured.
    """

    target: str
    size: int
    best: int
    accuracy: float
    head_only: float
    gain: float
    seeds: int
    distance: float | None


def read_runs(root: Path) -> list[GridRun]:
    """The finished runs of the grid in `root`."""
    found = []
    for run in map(FinishedRun, sorted((root / RUNS).glob("*"))):
        if run.complete:
            config, summary = run.config, run.summary
            target = config.name.rpartition(" depth ")[0]
            found.append(
                GridRun(target, config.data.train_size, config.thaw.depth, config.seed,
                    summary["selected"]["val_acc"], summary["test_acc"], 1 / summary["classes"])
            )  # fmt: skip
    return found


def run_directories(root: Path) -> dict[tuple[str, int, int], dict[object, Path]]:
    """(target, labels, depth) -> seed -> directory of each finished run."""
    found: dict[tuple[str, int, int], dict[object, Path]] = {}
    for run in map(FinishedRun, sorted((root / RUNS).glob("*"))):
        if run.complete:
            config = run.config
            place = (config.name.rpartition(" depth ")[0], config.data.train_size, config.thaw.depth)
            found.setdefault(place, {})[config.seed] = run.path
    return found


def by_distance(runs: Sequence[GridRun], distances: dict[str, Any]) -> list[str]:
    """The targets' names, nearest first; those without a distance last."""
    names = sorted({run.target for run in runs})
    return sorted(names, key=lambda name: distances.get(name, {}).get("mmd", float("inf")))


def mean(runs: Sequence[GridRun], figure: str) -> float:
    return statistics.fmean(getattr(run, figure) for run in runs)


def cells(runs: Sequence[GridRun], distances: dict[str, Any]) -> list[Cell]:
    """A cell for each target and number of labels, in the order of `by_distance`; depths and seeds pooled."""
    table = []
    for target in by_distance(runs, distances):
        for size in sorted({run.size for run in runs if run.target == target}):
            row = [run for run in runs if (run.target, run.size) == (target, size)]
            depths = {depth: [run for run in row if run.depth == depth] for depth in {run.depth for run in row}}
            if 0 not in depths:
                continue
            best = min(depths, key=lambda depth: (-mean(depths[depth], "val_acc"), depth))
            heads = {run.seed: run.test_acc for run in depths[0]}
            gains = [run.test_acc - heads[run.seed] for run in depths[best] if run.seed in heads]
            if not gains:
                continue
            table.append(
                Cell(target, size, best, mean(depths[best], "test_acc"), mean(depths[0], "test_acc"),
                     statistics.fmean(gains), len(gains), distances.get(target, {}).get("mmd"))
            )  # fmt: skip
    return table


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's; None where one side does not vary."""
    left, right = {one for one, _ in pairs}, {other for _, other in pairs}
    if len(left) < 2 or len(right) < 2:
        return None
    return float(spearmanr([one for one, _ in pairs], [other for _, other in pairs]).statistic)


def claims(table: Sequence[Cell]) -> list[dict[str, Any]]:
    """The two halves of the claim as rank correlations: within each target with the number of labels, and within
    each number of labels with the distance; of the chosen depth and of the gain over the head alone."""
    found = []
    for what, fixed, value in (("number of labels", "target", "size"), ("distance", "size", "distance")):
        for figure in ("best", "gain"):
            for group in dict.fromkeys(getattr(cell, fixed) for cell in table):
                chosen = [cell for cell in table if getattr(cell, fixed) == group]
                if any(getattr(cell, value) is None for cell in chosen):
                    continue
                correlation = rank_correlation([(getattr(cell, value), getattr(cell, figure)) for cell in chosen])
                found.append(
                    {"with": what, "of": figure, "within": str(group), "points": len(chosen), "rho": correlation}
                )
    return found


Intervals = Mapping[tuple[str, int], tuple[float, float]]


def write_depth_grid(root: Path, runs: Sequence[GridRun], table: Sequence[Cell], intervals: Intervals) -> None:
    """`depth_grid.csv`: a row a run; `depth_grid.json`: the cells and the rank correlations.

    Args:
        intervals: (target, labels) -> 95 % interval of the gain on the same test images.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(GridRun._fields)
    writer.writerows(sorted(runs))
    atomic_write_text(root / f"{TABLE}.csv", text.getvalue())
    lines = [{**cell._asdict(), "gain_interval": intervals.get((cell.target, cell.size))} for cell in table]
    content = {"cells": lines, "claims": claims(table)}
    atomic_write_text(root / f"{TABLE}.json", json.dumps(content, indent=2) + "\n")
