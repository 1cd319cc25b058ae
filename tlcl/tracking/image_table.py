"""`test_predictions.csv`: what is said of each test image, a row an image."""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np

from tlcl.system.files import atomic_write_text
from tlcl.system.text import plain
from tlcl.tracking.csv_cells import from_cell, to_cell

TEST_TABLE = "test_predictions.csv"
HEADINGS = ("file", "label", "prediction", "confidence")


def write_test_table(
    run_dir: Path, files: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> None:
    """Write the table; names as `tlcl.tracking.csv_cells` writes them.

    Args:
        files: of the images, (N,); empty where there are none: then images have numbers, from 0 on.
        labels: int (N,), the true classes; -1, which is written as nothing, where that is not known.
        probabilities: (N, K), the largest of which is the confidence.
        classes: (K,).
    """
    text, names = StringIO(), [to_cell(plain(name)) for name in classes]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADINGS)
    images = [to_cell(plain(file)) for file in files] or range(len(labels))
    for image, label, row in zip(images, labels.tolist(), probabilities, strict=True):
        answer = int(row.argmax())
        writer.writerow([image, names[label] if label >= 0 else "", names[answer], f"{row[answer]:.6f}"])
    atomic_write_text(run_dir / TEST_TABLE, text.getvalue())


def read_test_images(run_dir: Path) -> list[str]:
    """The files of the test images in order, or their numbers; empty without a table or with a damaged one."""
    try:
        with open(run_dir / TEST_TABLE, encoding="utf-8", newline="") as file:
            return [from_cell(row["file"]) for row in csv.DictReader(file, strict=True)]
    except (OSError, KeyError, TypeError, ValueError, AttributeError, csv.Error):
        return []
