"""The table of a comparison: mean and standard deviation over the seeds, from the runs' records alone."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from tlcl.reports.tables.spread import mean_std
from tlcl.system.files import atomic_write_text
from tlcl.tracking.csv_cells import to_cell
from tlcl.tracking.finished_run import COMPLETE
from tlcl.tracking.records import read_rows
from tlcl.tracking.sweep_records import RunRecord

TABLE = "compare"
LOWER, UPPER = "source_only", "target_oracle"  # the ends of the scale of adaptation


def gap_closed(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Method -> how much of the gap between source only (0) and all target labels (1) it closes.

    Negative for a method that is worse than no adaptation; empty without those two.
    """
    known = {row["method"]: row["test_acc"] for row in rows if row.get("test_acc") is not None}
    if LOWER not in known or UPPER not in known or known[UPPER] <= known[LOWER]:
        return {}
    return {name: (value - known[LOWER]) / (known[UPPER] - known[LOWER]) for name, value in known.items()}


def write_table(root: Path, jobs: Sequence[RunRecord], figures: Sequence[str]) -> list[dict[str, Any]]:
    """Write `compare.json` and `compare.csv`, a row a method, best first; returns the rows.

    A row holds `method`, `runs` (finished), `planned`, `seconds` (mean a run), the mean and `_std` of each figure;
    of continual runs also `curves`, the cumulative accuracies of each finished run, and `tasks`, the names of their
    classes, or numbers where the seeds' differ. `labelled`: target images whose label an adaptation was given.

    Args:
        jobs: the runs, finished or not, with their `method` among the settings.
        figures: keys of the runs' summaries; the highest of the first is best.
    """
    rows: list[dict[str, Any]] = []
    for method in dict.fromkeys(job.settings["method"] for job in jobs):
        mine = [job for job in jobs if job.settings["method"] == method]
        summaries = [job.summary for job in mine if job.status == COMPLETE]
        row: dict[str, Any] = {"method": method, "runs": len(summaries), "planned": len(mine)}
        row["seconds"] = mean_std([summary["seconds"] for summary in summaries])[0]
        for key in figures:
            known = [summary.get(key) for summary in summaries]  # runs of before lack some
            row[key], row[f"{key}_std"] = mean_std(known)
        row["labelled"] = max((summary.get("labelled", 0) for summary in summaries), default=0)
        streams = [summary.get("tasks", []) for summary in summaries]
        row["tasks"] = streams[0] if streams else []
        if any(tasks != row["tasks"] for tasks in streams):  # each seed has an order of classes of its own
            row["tasks"] = [[f"task {number + 1}"] for number in range(len(row["tasks"]))]
        row["curves"] = [summary["cumulative_accuracy"] for summary in summaries if row["tasks"]]
        rows.append(row)
    rows.sort(key=lambda row: -(row[figures[0]] if row[figures[0]] is not None else -math.inf))
    atomic_write_text(root / f"{TABLE}.json", json.dumps(rows, indent=2) + "\n")
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ["method", "runs", "seconds", *(f"{key}{end}" for key in figures for end in ("", "_std"))]
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if row[column] is None else to_cell(row[column]) for column in columns])
    atomic_write_text(root / f"{TABLE}.csv", text.getvalue())
    return rows


def read_table(root: Path) -> list[dict[str, Any]]:
    """The rows that were written; empty when there are none."""
    return read_rows(root / f"{TABLE}.json")
