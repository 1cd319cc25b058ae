"""The table of a comparison: mean and standard deviation over the seeds, from the runs' records alone."""

import csv
import json
import math
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from tlcl.atomic import atomic_write_text
from tlcl.tracking.report import read_object

TABLE = "compare"
FIGURES = (
    "final_accuracy",
    "average_incremental_accuracy",
    "average_accuracy",
    "forgetting",
    "backward_transfer",
    "forward_transfer",
)


def mean_std(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation (n - 1) of the numbers that are there; None for no, or one, number."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None, None
    return float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None


def write_table(root: Path, runs: Sequence[tuple[str, int, Path]]) -> list[dict[str, Any]]:
    """Write `compare.json` and `compare.csv`, a row a method, best first; returns the rows.

    A row holds `method`, `runs` (finished), `planned`, `seconds` (mean a run), the mean and `_std` of each figure,
    and `curves`, the cumulative accuracies of each finished run.

    Args:
        runs: (method, seed, run directory), finished or not.
    """
    rows: list[dict[str, Any]] = []
    for method in dict.fromkeys(name for name, _, _ in runs):
        paths = [path for name, _, path in runs if name == method]
        stored = [read_object(path / "summary.json") for path in paths]
        summaries = [summary for summary in stored if summary.get("status") == "complete"]
        row: dict[str, Any] = {"method": method, "runs": len(summaries), "planned": len(paths)}
        row["seconds"] = mean_std([summary["seconds"] for summary in summaries])[0]
        for key in FIGURES:
            row[key], row[f"{key}_std"] = mean_std([summary[key] for summary in summaries])
        row["tasks"] = summaries[0]["tasks"] if summaries else []
        row["curves"] = [summary["cumulative_accuracy"] for summary in summaries]
        rows.append(row)
    rows.sort(key=lambda row: -(row["final_accuracy"] if row["final_accuracy"] is not None else -math.inf))
    atomic_write_text(root / f"{TABLE}.json", json.dumps(rows, indent=2) + "\n")
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ["method", "runs", "seconds", *(f"{key}{end}" for key in FIGURES for end in ("", "_std"))]
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if row[column] is None else row[column] for column in columns])
    atomic_write_text(root / f"{TABLE}.csv", text.getvalue())
    return rows


def read_table(root: Path) -> list[dict[str, Any]]:
    """The rows that were written; empty when there are none."""
    try:
        return list(json.loads((root / f"{TABLE}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return []
