"""The table of a grid of fine-tuning runs: freeze depth against data-set size, from the runs' records alone."""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, cast

from omegaconf import OmegaConf

from tlcl.atomic import atomic_write_text
from tlcl.tracking.compare_table import mean_std
from tlcl.tracking.report import read_object

GRID = "grid"


class Cell(NamedTuple):
    """One place of the grid.

    Attributes:
        depth: backbone blocks that were trained besides the head; 0 = head only.
        size: labelled training images.
        accuracies: on the test images, of each finished run.
        seconds: of each finished run.
    """

    depth: int
    size: int
    accuracies: list[float]
    seconds: list[float]


def read_cells(runs: Sequence[Path]) -> list[Cell]:
    """The finished runs among these directories, those of the same depth and size together, in order."""
    found: dict[tuple[int, int], Cell] = {}
    for path in runs:
        summary = read_object(path / "summary.json")
        if summary.get("status") != "complete":
            continue
        config = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path / "config.yaml")))
        depth = config["thaw"].get("depth")
        if depth is None:
            continue
        cell = found.setdefault((depth, summary["train_size"]), Cell(depth, summary["train_size"], [], []))
        cell.accuracies.append(summary["test_acc"])
        cell.seconds.append(summary["seconds"])
    return sorted(found.values())


def best_depths(cells: Sequence[Cell]) -> dict[int, int]:
    """Size -> the depth with the highest mean accuracy; among equals the one that trains least."""
    best: dict[int, int] = {}
    for size in sorted({cell.size for cell in cells}):
        row = [cell for cell in cells if cell.size == size]
        best[size] = min(row, key=lambda cell: (-(mean_std(cell.accuracies)[0] or 0.0), cell.depth)).depth
    return best


def write_grid(root: Path, cells: Sequence[Cell]) -> None:
    """`grid.csv` and `grid.json`: a row a cell."""
    rows = []
    for cell in cells:
        mean, spread = mean_std(cell.accuracies)
        rows.append(
            {
                "depth": cell.depth,
                "train_size": cell.size,
                "runs": len(cell.accuracies),
                "test_acc": mean,
                "test_acc_std": spread,
                "seconds": mean_std(cell.seconds)[0],
            }
        )
    atomic_write_text(root / f"{GRID}.json", json.dumps(rows, indent=2) + "\n")
    text = StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    atomic_write_text(root / f"{GRID}.csv", text.getvalue())
