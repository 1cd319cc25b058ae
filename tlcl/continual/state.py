"""Where a stream stands: what is kept between tasks, and from which file a killed run goes on."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlcl.atomic import atomic_open
from tlcl.continual.methods.base import Method
from tlcl.continual.metrics import Matrix
from tlcl.errors import UserError
from tlcl.models.blocks import Blocks
from tlcl.tracking.checkpoint import LAST, PREVIOUS, read_checkpoint

log = logging.getLogger(__name__)
BETWEEN = "between_tasks.ckpt"


@dataclass
class History:
    """What was measured so far.

    Attributes:
        rows: accuracy on every task's test images after each task; NaN where it is not measured.
        val_rows: the same on the validation images, for choosing hyperparameters; NaN for a task that has none.
        untrained: accuracy on every task before any training, for forward transfer; NaN where not measured.
    """

    rows: list[list[float]] = field(default_factory=list)
    val_rows: list[list[float]] = field(default_factory=list)
    untrained: list[float] = field(default_factory=list)

    @property
    def matrix(self) -> Matrix:
        return np.array(self.rows, dtype=np.float64)


@dataclass(frozen=True)
class Resumption:
    """Where a run goes on.

    Attributes:
        task: the task to train next, or to go on with.
        epochs: epochs of that task that are done.
        checkpoint: Lightning's checkpoint within the task; None when the task begins.
        history: what was measured before that task.
    """

    task: int
    epochs: int
    checkpoint: Path | None
    history: History


def save_between_tasks(folder: Path, next_task: int, net: Blocks, method: Method, history: History) -> None:
    """Everything that the next task starts from, written whole or not at all."""
    content = {"task": next_task, "net": net.state_dict(), "method": method.state_dict(), **vars(history)}
    with atomic_open(folder / BETWEEN) as file:
        torch.save(content, file)


def _history(content: dict[str, Any]) -> History:
    return History(**{name: content[name] for name in History.__dataclass_fields__})


def resume_point(folder: Path, net: Blocks, method: Method) -> Resumption:
    """The furthest point that a readable checkpoint holds; loads `net` and `method` when it lies between tasks.

    (Within a task, Lightning loads them from its own checkpoint.) A damaged checkpoint falls back, with a warning,
    to the one before.

    Raises:
        UserError: there are checkpoints and none is readable.
    """
    found: list[tuple[int, int, Path, dict[str, Any]]] = []
    problems: list[str] = []
    for name in (LAST, PREVIOUS, BETWEEN):
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = read_checkpoint(path)
        except ValueError as error:
            problems.append(str(error))
            continue
        if name == BETWEEN:
            found.append((int(content["task"]), 0, path, content))
        else:
            found.append((int(content["continual"]["task"]), int(content["epoch"]) + 1, path, content))
    if not found:
        if problems:
            raise UserError(
                f"no checkpoint can be read: {'; '.join(problems)}; start the run anew in another run_dir"
            )
        return Resumption(0, 0, None, History())
    task, epochs, path, content = max(found, key=lambda item: item[:2])
    for problem in problems:
        log.warning("warning: %s; the run goes on from %s", problem, path)
    if path.name == BETWEEN:
        net.load_state_dict(content["net"])
        method.load_state_dict(content["method"])
        return Resumption(task, 0, None, _history(content))
    return Resumption(task, epochs, path, _history(content["continual"]))
