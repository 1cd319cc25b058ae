"""What a run finds in its images, as a table with file names and pictures of its first rows."""

import csv
import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from tlcl.system.files import atomic_open, atomic_write_text
from tlcl.system.text import plain
from tlcl.tracking.csv_cells import from_cell, to_cell

LABEL_ISSUES, NEAR_DUPLICATES = "label_issues", "near_duplicates"  # names of the files, without .csv and .npz
SIDE = 128  # pixels of a picture, at most
DAMAGED = (
    AttributeError, EOFError, KeyError, OSError, TypeError, ValueError, csv.Error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class Findings(NamedTuple):
    """Rows by the names of their columns, and uint8 pictures (M, P, C, H, W), P of each of the first M rows."""

    rows: list[dict[str, str]]
    pictures: np.ndarray


def write_findings(
    run_dir: Path, name: str, header: Sequence[str], rows: Sequence[Sequence[Any]], pictures: Tensor
) -> None:
    """Write `NAME.csv`, with names as `csv_cells` writes them, and the pictures, made smaller, to `NAME.npz`.

    Args:
        pictures: uint8 (M, P, C, H, W).
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([to_cell(plain(cell) if isinstance(cell, str) else cell) for cell in row] for row in rows)
    side = max(pictures.shape[-2:])
    if side > SIDE:
        size = tuple(max(1, round(length * SIDE / side)) for length in pictures.shape[-2:])
        small = nn.functional.interpolate(pictures.flatten(0, 1).float(), size, mode="area")
        pictures = small.round().byte().unflatten(0, pictures.shape[:2])
    with atomic_open(run_dir / f"{name}.npz") as file:
        np.savez_compressed(file, pictures=pictures.numpy())
    atomic_write_text(run_dir / f"{name}.csv", text.getvalue())


def read_findings(run_dir: Path, name: str) -> Findings | None:
    """What `write_findings` wrote; None where nothing was found, or it is damaged."""
    try:
        with open(run_dir / f"{name}.csv", newline="", encoding="utf-8") as file:
            table = csv.DictReader(file, strict=True)
            rows = [{key: from_cell(cell) for key, cell in row.items()} for row in table]
        with np.load(run_dir / f"{name}.npz") as stored:
            pictures = stored["pictures"]
    except DAMAGED:
        return None
    if pictures.dtype != np.uint8 or pictures.ndim != 5 or not rows:
        return None
    return Findings(rows, pictures)
