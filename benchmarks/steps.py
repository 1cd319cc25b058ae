"""Runs of tlcl below one folder, a step each: a finished one is not run again, one that was stopped goes on."""

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import progress, with_files
from benchmarks.figure import Cell, Table, Value
from tlcl.errors import TrainingError
from tlcl.reports.compare import beside_best
from tlcl.reports.verdict import highest
from tlcl.statistics.accuracy import accuracy_interval


def perform(
    folder: Path, typed: str, files: Mapping[str, Path] | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What is typed after `tlcl train`, into a run directory, or what is left of it; returns its summary.

    Args:
        files: what KEY=NAME stands for, see `with_files`.
        environment: in place of this process's own.

    Raises:
        TrainingError: it ended before it was complete.
    """
    summary = folder / "summary.json"
    if not _complete(summary):
        new = [*with_files(typed, files or {}), f"run_dir={folder}", "trainer.progress=false"]
        _run(folder, [f"+resume={folder}"] if (folder / "config.yaml").is_file() else new, environment)
    return dict(json.loads(summary.read_text()))


def sweep(folder: Path, typed: str) -> list[Path]:
    """The same of a sweep: what is typed after `tlcl train -m`; returns the run directories of its jobs."""
    _run(folder, ["-m", *shlex.split(typed), f"hydra.sweep.dir={folder}", "trainer.progress=false"])
    return sorted(path.parent for path in folder.glob("*/summary.json"))


def _complete(summary: Path) -> bool:
    return summary.is_file() and json.loads(summary.read_text())["status"] == "complete"


def _run(folder: Path, words: list[str], environment: Mapping[str, str] | None = None) -> None:
    progress(f"tlcl train {shlex.join(words)}")
    command = [sys.executable, "-m", "tlcl.train", *words]
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=False)
    if ended.returncode:
        raise TrainingError(f"{folder.name} ended with exit code {ended.returncode}")


def accuracy(summary: Mapping[str, Any]) -> Value:
    """Of all test images, with its interval."""
    size = int(summary["test_size"])
    low, high = accuracy_interval(round(summary["test_acc"] * size), size)
    return Value(summary["test_acc"], "percent", low, high)


def over_seeds(row: Mapping[str, Any], key: str) -> Value | str:
    """Mean, and standard deviation where there are several seeds; empty where a method, or the record, has none."""
    return "" if row.get(key) is None else Value(row[key], spread=row[f"{key}_std"])


def methods_table(file: Path) -> Table:
    """Of a comparison's `compare.json`: accuracy on all classes so far after each task, forgetting, confidence.

    What sees all classes at once has its last accuracy alone; a method without a finished run is left out. Where
    there are several, each has its difference from the highest, on the same test images, with an interval of this
    row alone, and p adjusted for all pairs.
    """
    rows = [row for row in json.loads(file.read_text()) if row["curves"]]
    tasks = max(len(curve) for row in rows for curve in row["curves"])
    pairs = beside_best(file.parent, rows, "final_accuracy")
    best = highest(rows, "final_accuracy")
    lines: list[tuple[Cell, ...]] = []
    for row in rows:
        after_each = list(zip(*row["curves"], strict=True))[:-1]  # of a single training None but for the last
        earlier = ["" if None in values else Value(float(np.mean(values))) for values in after_each]
        forgetting = over_seeds(row, "forgetting")
        last, sure = over_seeds(row, "final_accuracy"), over_seeds(row, "mean_confidence")
        pair = pairs.get(row["method"])
        less: Cell = "" if pair is None else Value(pair.difference, "signed", pair.low, pair.high)
        told = (less, "" if pair is None else f"{pair.p:.2g}") if pairs else ()
        lines.append((row["method"], *earlier, last, *told, forgetting, sure, Value(row["seconds"], "seconds")))
    compared = (f"less {best} (95 %)", "p, Holm") if pairs else ()
    after = [f"after {number + 1}" for number in range(tasks)]
    return Table(("method", *after, *compared, "forgetting", "mean confidence", "time"), tuple(lines))
