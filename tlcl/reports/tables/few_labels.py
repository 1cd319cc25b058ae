"""The table of methods with few target labels: mean and deviation over repetitions, beside published figures."""

import csv
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import Any

from tlcl.reports.tables.spread import mean_std
from tlcl.statistics.paired import MeanDifference, holm, mean_difference
from tlcl.system.files import atomic_write_text
from tlcl.tracking.records import read_object

Differences = dict[int, MeanDifference]  # by labels a class
CELLS, TABLE = "cells", "few_labels"
# Accuracy in 0..1 of CCSA on these splits, means of ten repetitions: (source, target) -> labels a class -> accuracy
# (Motiian et al. 2017, "Unified deep supervised domain adaptation and generalization").
PUBLISHED: dict[tuple[str, str], dict[int, float]] = {
    ("mnist", "usps"): {1: 0.850, 3: 0.901, 5: 0.924, 7: 0.929},
}
COLUMNS = (
    "source", "target", "shots", "method", "runs", "accuracy", "accuracy_std", "unseen_accuracy", "seen",
    "published", "seconds",
)  # fmt: skip


def published(source: str, target: str, shots: int, method: str) -> float | None:
    """The paper's figure for this place in the table, if there is one."""
    return PUBLISHED.get((source, target), {}).get(shots) if method.split()[0] == "ccsa" else None


def rows_of(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each direction, number of labels and method, in the order of `COLUMNS`.

    `accuracy` is of all test images, `accuracy_std` the sample deviation over runs (repetitions and seeds),
    `unseen_accuracy` leaves out test images that are also among the labelled ones, `seen` is the mean number of
    those, `seconds` the mean of a run.
    """
    rows: list[dict[str, Any]] = []
    order = ("source", "target", "shots", "method")
    groups = sorted({tuple(cell[key] for key in order) for cell in cells})
    for group in groups:
        mine = [cell for cell in cells if tuple(cell[key] for key in order) == group]
        mean, deviation = mean_std([cell["test_acc"] for cell in mine])
        source, target, shots, method = group
        rows.append(
            {
                "source": source,
                "target": target,
                "shots": shots,
                "method": method,
                "runs": len(mine),
                "accuracy": mean,
                "accuracy_std": deviation,
                "unseen_accuracy": mean_std([cell["unseen_acc"] for cell in mine])[0],
                "seen": mean_std([cell["seen"] for cell in mine])[0],
                "published": published(source, target, shots, method),
                "seconds": mean_std([cell["seconds"] for cell in mine])[0],
            }
        )
    return rows


def differences(cells: list[dict[str, Any]], others: Mapping[str, str]) -> dict[tuple[str, str, str], Differences]:
    """(source, target, method) -> labels a class -> how much more accurate it is than another method.

    Paired by repetition, each the mean over its seeds; p is adjusted for all that are compared in a direction.

    Args:
        others: method -> the one that it is compared with.
    """
    by_seed: dict[tuple[Any, ...], dict[int, float]] = {}
    for cell in cells:
        place = tuple(cell[key] for key in ("source", "target", "method", "shots", "repetition"))
        by_seed.setdefault(place, {})[cell["seed"]] = cell["test_acc"]
    known = {place: fmean(accuracies.values()) for place, accuracies in by_seed.items()}
    found: dict[tuple[str, str, str], Differences] = {}
    for source, target in sorted({key[:2] for key in known}):
        pairs = {}
        for method, other in others.items():
            for shots in sorted({key[3] for key in known if key[:3] == (source, target, method)}):
                both = [
                    (known[source, target, other, *key[3:]], value) for key, value in known.items()
                    if key[:4] == (source, target, method, shots) and (source, target, other, *key[3:]) in known
                ]  # fmt: skip
                if both:
                    theirs, mine = zip(*both, strict=True)
                    pairs[method, shots] = mean_difference(theirs, mine)
        adjusted = holm([pair.p for pair in pairs.values()])
        for ((method, shots), pair), p in zip(pairs.items(), adjusted, strict=True):
            found.setdefault((source, target, method), {})[shots] = replace(pair, p=float(p))
    return found


def read_cells(root: Path) -> list[dict[str, Any]]:
    """The finished cells; a damaged file counts as unfinished."""
    return [cell for path in sorted((root / CELLS).glob("*.json")) if (cell := read_object(path))]


def write_few_label_table(root: Path) -> list[dict[str, Any]]:
    """Write `few_labels.csv` from the cells; returns its rows."""
    rows, text = rows_of(read_cells(root)), StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value is None else value for key, value in row.items()})
    atomic_write_text(root / f"{TABLE}.csv", text.getvalue())
    return rows
