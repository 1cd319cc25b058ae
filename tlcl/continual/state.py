"""Where a stream stands: what is kept between tasks, and from which file a killed run resumes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlcl.continual.methods.base import Method
from tlcl.continual.metrics import Matrix
from tlcl.models.blocks import Blocks
from tlcl.system.files import atomic_open
from tlcl.tracking.checkpoint import LAST, PREVIOUS, Misfit, require_network, tell_damaged, whole_checkpoints

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
    """Where a run resumes.

    Attributes:
        task: the task to train next, or to finish.
        epochs: epochs of that task that are done.
        checkpoint: Lightning's checkpoint within the task; None when the task begins.
        history: what was measured before that task.
    """

    task: int
    epochs: int
    checkpoint: Path | None
    history: History


def save_between_tasks(
    folder: Path, next_task: int, net: Blocks, method: Method, history: History, inputs: str
) -> None:
    """Everything that the next task starts from, written whole or not at all.

    Args:
        inputs: see `begun_on`.
    """
    weights = {"net": net.state_dict(), "method": method.state_dict()}
    content = {"task": next_task, "inputs": inputs, **weights, **vars(history)}
    with atomic_open(folder / BETWEEN) as file:
        torch.save(content, file)


def _history(content: dict[str, Any]) -> History:
    return History(**{name: content[name] for name in History.__dataclass_fields__})


def begun_on(folder: Path) -> str | None:
    """What the method was given so far, and may have kept: images, or the outputs of the place that is named.

    Whether frozen blocks' outputs can be computed once hangs on the machine's memory and disk and on the number of
    processes, all of which may be others when a run is resumed. None: nothing is trained yet.
    """
    for _, content in whole_checkpoints(folder, (BETWEEN, LAST, PREVIOUS), []):
        found: str | None = content.get("continual", content).get("inputs")
        if found is not None:
            return found
    return None


def resume_point(folder: Path, net: Blocks, method: Method) -> Resumption:
    """The furthest point that a readable checkpoint holds; loads `net` and `method` when it lies between tasks.

    (Within a task, Lightning loads them from its own checkpoint.) A damaged checkpoint falls back, with a warning,
    to the one before.

    Raises:
        UserError: there are checkpoints and none is readable, or one is of another run.
    """
    found: list[tuple[int, int, Path, dict[str, Any]]] = []
    problems: list[str] = []
    for path, content in whole_checkpoints(folder, (LAST, PREVIOUS, BETWEEN), problems):
        if path.name == BETWEEN:
            found.append((int(content["task"]), 0, path, content))
        elif "continual" in content:
            found.append((int(content["continual"]["task"]), int(content["epoch"]) + 1, path, content))
        else:
            raise Misfit(path, "it is of no continual run")
    if not found:
        tell_damaged(problems, None)
        return Resumption(0, 0, None, History())
    task, epochs, path, content = max(found, key=lambda item: item[:2])
    tell_damaged(problems, path)
    if path.name == BETWEEN:
        try:
            net.load_state_dict(content["net"])
            method.load_state_dict(content["method"])
        except RuntimeError as error:
            raise Misfit(path, error) from None
        return Resumption(task, 0, None, _history(content))
    require_network(path, content, net)
    return Resumption(task, epochs, path, _history(content["continual"]))
