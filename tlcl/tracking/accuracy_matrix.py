"""The accuracy matrix of a continual run as files: JSON with what it means, CSV for a spreadsheet."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlcl.system.figures import counted
from tlcl.system.files import atomic_write_text
from tlcl.tracking.csv_cells import to_cell

MATRIX = "accuracy_matrix"


@dataclass(frozen=True)
class Measured:
    """What `accuracy_matrix.json` holds.

    Attributes:
        tasks: class names of each task.
        sizes: test images of each task.
        matrix: (tasks done, T), NaN where not measured.
        figures: see `tlcl.continual.metrics.summarise`; empty until every task is done.
    """

    tasks: list[list[str]]
    sizes: list[int]
    matrix: NDArray[np.float64]
    figures: dict[str, Any]


def _plain(rows: Sequence[Sequence[float]]) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in rows]


def write_matrix(
    run_dir: Path,
    *,
    tasks: list[list[str]],
    sizes: list[int],
    rows: list[list[float]],
    val_rows: list[list[float]],
    untrained: list[float],
    figures: dict[str, Any],
) -> None:
    """Write both files; called after each task, so that an interrupted run has what was measured.

    Args: as the attributes of `Measured`; `rows` is its matrix, `val_rows` the same on the validation images,
        `untrained` the accuracies before any training.
    """
    content = {
        "meaning": "matrix[i][j]: accuracy (0..1) on the test images of task j after task i; null: not measured",
        "tasks": tasks,
        "test_images": sizes,
        "matrix": _plain(rows),
        "validation_matrix": _plain(val_rows),
        "untrained": _plain([untrained])[0],
        "figures": figures,
    }
    atomic_write_text(run_dir / f"{MATRIX}.json", json.dumps(content, indent=2) + "\n")
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = domains_of(tasks) or [" ".join(names) for names in tasks]
    writer.writerow(["after training", *(f"accuracy on {name}" for name in names)])
    for name, row in zip(names, _plain(rows), strict=False):
        writer.writerow([to_cell(name), *("" if value is None else f"{value:.6f}" for value in row)])
    atomic_write_text(run_dir / f"{MATRIX}.csv", text.getvalue())


def read_matrix(run_dir: Path) -> Measured | None:
    """What was written; None when it is missing or damaged, or no task is done."""
    try:
        content = json.loads((run_dir / f"{MATRIX}.json").read_text())
        rows = [[math.nan if value is None else float(value) for value in row] for row in content["matrix"]]
        matrix = np.array(rows, dtype=np.float64).reshape(len(rows), len(content["tasks"]))
        return Measured(content["tasks"], content["test_images"], matrix, content["figures"]) if rows else None
    except (OSError, KeyError, TypeError, ValueError):
        return None


NAMED = 14  # tasks whose names fit below an axis


def domains_of(tasks: Sequence[Sequence[str]]) -> list[str]:
    """The domain of each task of a stream of domains, whose classes are `DOMAIN/CLASS`; empty of another stream.

    Other classes may have a slash too: tasks are domains only if each has one of its own and all have the same
    classes in it.
    """
    parts = [[name.partition("/") for name in classes] for classes in tasks]
    domains = [{first for first, _, _ in task} for task in parts]
    classes = {tuple(rest for _, _, rest in task) for task in parts}
    alike = len(classes) == 1 and len(next(iter(classes))) > 1 and "" not in next(iter(classes))
    names = [next(iter(one)) for one in domains if len(one) == 1]
    return names if alike and len(set(names)) == len(tasks) > 1 else []


def task_names(tasks: Sequence[Sequence[str]], length: int = 22) -> list[str]:
    """A short name a task: its domain, its classes, or their number where they do not fit."""
    names, domains = [], domains_of(tasks)
    for number, classes in enumerate(tasks, start=1):
        joined = domains[number - 1] if domains else ", ".join(classes)
        number_of = f"task {number} ({counted(len(classes), 'class', 'classes')})"
        names.append(joined if len(joined) <= length else number_of)
    return names if len(tasks) <= NAMED else [str(number) for number in range(1, len(tasks) + 1)]
