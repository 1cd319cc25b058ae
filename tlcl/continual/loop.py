"""The loop over the tasks: train, measure on every task, keep, go on."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tlcl.config.schema import Config
from tlcl.continual.inputs import IMAGES
from tlcl.continual.methods.base import Method, Network, TaskData
from tlcl.continual.metrics import average_accuracy, cumulative_accuracy, forgetting
from tlcl.continual.module import ContinualModule
from tlcl.continual.state import History, Resumption, resume_point, save_between_tasks
from tlcl.continual.stream import Stream, Task
from tlcl.data.datamodule import EVAL_BATCH, BatchIndices, IndexedDataModule
from tlcl.data.splits import Split
from tlcl.distributed.collectives import leads, take_from_first, world
from tlcl.finetuning.progress import RunProgress
from tlcl.finetuning.thaw import Thaw
from tlcl.finetuning.trainer import build_trainer, fit
from tlcl.models.blocks import Blocks
from tlcl.models.inference import in_batches
from tlcl.seeding import derive_seed
from tlcl.tracking.checkpoint import LastCheckpoint
from tlcl.tracking.epochs import EpochRecords
from tlcl.tracking.records import RunDirectory
from tlcl.tracking.timings import EpochTimings, Stopwatch

log = logging.getLogger(__name__)


def training_task(stream: Stream, index: int, trains_on: str) -> Task:
    """Task `index` with the data and outputs that a method which `trains_on` current, seen or all is given."""
    task = stream.tasks[index]
    if trains_on == "current":
        return task
    together = stream.tasks[: index + 1]
    split = Split(*(torch.cat([getattr(one.split, part) for one in together]) for part in ("train", "val")))
    if trains_on == "seen":
        return Task(index, task.members, task.outputs, split, task.test)
    members, outputs = (
        tuple(dict.fromkeys(value for one in together for value in getattr(one, name)))
        for name in ("members", "outputs")
    )
    return Task(index, members, outputs, split, torch.cat([one.test for one in together]))


@dataclass
class TaskLoop:
    """All tasks of a stream by one method, in one run directory.

    Args:
        net: all blocks.
        network: what the method sees, see `ContinualModule`.
        inputs, test_inputs: what `network` takes, for the pool and the test set: images or activations.
        versions: of the pool's inputs, see `IndexedDataModule`.
        loggers: Lightning loggers; each task's Trainer uses the same.
        on_task: called after each task, before its checkpoint, with its index and the history, for the records.
        given: what `inputs` are, see `state.begun_on`.
    """

    config: Config
    directory: RunDirectory
    stream: Stream
    net: Blocks
    network: Network
    method: Method
    inputs: Tensor
    test_inputs: Tensor
    device: torch.device
    loggers: list[Any]
    on_task: Callable[[int, History, float], None]
    versions: int | None = None
    given: str = IMAGES
    progress: RunProgress = field(init=False)

    def run(self) -> History:
        """Train what is not trained yet; returns the whole history."""
        where = resume_point(self.directory.checkpoints, self.net, self.method)
        self.progress = RunProgress(self.config.trainer.progress, self._steps_from(where))
        try:
            return self._run(where)
        finally:
            self.progress.close()

    def _steps_from(self, where: Resumption) -> int:
        """Of all tasks that are not trained yet."""
        count, epochs, total = len(self.stream.tasks), self.config.trainer.epochs, 0
        for index in range(max(where.task, count - 1 if self.method.trains_on == "all" else 0), count):
            indices = training_task(self.stream, index, self.method.trains_on).split.train
            if self.method.closed_form:
                total += math.ceil(len(indices) / EVAL_BATCH)
                continue
            batches = BatchIndices(indices, self.config.data.batch_size, shuffle=True, world=world())
            total += len(batches) * (epochs - (where.epochs if index == where.task else 0))
        return total

    def _run(self, where: Resumption) -> History:
        self._forget_lines_after(where)
        history = where.history
        if leads() and not history.untrained:
            history.untrained = self.accuracies(-1, self.test_inputs, test=True)
        for index in range(where.task, len(self.stream.tasks)):
            began = time.perf_counter()
            if self.method.trains_on == "all" and index < len(self.stream.tasks) - 1:
                history.rows.append([float("nan")] * len(self.stream.tasks))
                history.val_rows.append([float("nan")] * len(self.stream.tasks))
                continue
            self._train(index, where if index == where.task else None, history)
            if not leads():  # the first process measures and records, while the others wait for the next task
                continue
            history.rows.append(self.accuracies(index, self.test_inputs, test=True))
            history.val_rows.append(self.accuracies(index, self.inputs, test=False))
            # Records first: a task whose checkpoint is there has them all, one without is measured again.
            self.on_task(index, history, time.perf_counter() - began)
            self.directory.keep_seconds()
            save_between_tasks(self.directory.checkpoints, index + 1, self.net, self.method, history, self.given)
        return history

    def _forget_lines_after(self, where: Resumption) -> None:
        for name in ("metrics.jsonl", "timings.jsonl"):
            self.directory.keep_lines(name, lambda line: (line["task"], line["epoch"]) < (where.task, where.epochs))
        self.directory.keep_lines("tasks.jsonl", lambda line: line["task"] <= where.task)  # counts from 1

    def _train(self, index: int, where: Resumption | None, history: History) -> None:
        task = training_task(self.stream, index, self.method.trains_on)
        self.progress.label = f"task {index + 1} of {len(self.stream.tasks)}"
        checkpoint = where.checkpoint if where else None
        if checkpoint is None:
            self.method.begin_task(self.network, task)
        pool = self.stream.source.pool
        data = TaskData(self.inputs, pool.labels, task.split.train, pool.images)
        self._ready()
        if self.method.closed_form:
            for inputs, labels in data.batches(EVAL_BATCH, self.device):
                self.method.observe_features(inputs, labels)
                self.progress.step()
        else:
            self._fit(task, checkpoint, history)
        self._ready()
        self.method.random.manual_seed(derive_seed(self.config.seed, "method/end", task=index))
        with torch.no_grad():
            self.method.end_task(self.network, data)
        # Every process has made the same of all the task's data, but on a GPU sums may differ in their last digits.
        take_from_first(self.method)
        if leads():
            log.info("task %d of %d is trained; testing on all tasks", index + 1, len(self.stream.tasks))

    def _fit(self, task: Task, checkpoint: Any, history: History) -> None:
        config, folder, watch = self.config, self.directory.checkpoints, Stopwatch()
        module = ContinualModule(
            self.net, self.network, self.method, task.index, {"inputs": self.given, **vars(history)},
            config.optim, config.seed, config.trainer.log_every,
        )  # fmt: skip
        labels = self.stream.source.pool.labels
        module_data = IndexedDataModule(
            self.inputs, labels, task.split, config.data, config.seed, task.index, self.versions
        )
        trainer = build_trainer(
            config,
            self.directory.path,
            [
                Thaw(config.schedule),
                self.progress,
                EpochRecords(self.directory, task.index),
                LastCheckpoint(folder, watch),
                EpochTimings(self.directory, watch, task.index),
            ],
            self.loggers,
            limit_val_batches=0,
        )
        fit(trainer, module, module_data, checkpoint, self.directory.path)

    def _ready(self) -> None:
        """Network and method in eval mode on the device: Lightning hands them back on the CPU."""
        for part in (self.net, self.network, self.method):
            assert isinstance(part, nn.Module)
            part.to(self.device).eval()

    def scores(self, inputs: Tensor, which: Tensor) -> Tensor:
        """The method's scores of the inputs `which` (n,): float32 (n, K)."""
        self._ready()
        return in_batches(
            lambda rows: self.method.predict(self.network, inputs[rows.cpu()].to(self.device)),
            which,
            batch_size=max(EVAL_BATCH, self.config.data.batch_size),
            device=self.device,
            precision=self.config.trainer.precision,
        )

    def accuracies(self, after: int, inputs: Tensor, *, test: bool) -> list[float]:
        """Accuracy on each task's test (or validation) images after task `after` (-1: before any).

        NaN for a task without such images, and for a task to come whose classes cannot be answered yet.
        """
        stream, source = self.stream, self.stream.source
        labels = (source.test if test else source.pool).labels
        parts = [task.test if test else task.split.val for task in stream.tasks]
        measured = [
            part if len(part) and (index <= after or self._can_answer_early()) else part[:0]
            for index, part in enumerate(parts)
        ]
        together = torch.cat(measured)
        if len(together) == 0:
            return [float("nan")] * len(parts)
        allowed = stream.allowed(labels[together], max(0, after))
        predicted = self.scores(inputs, together).masked_fill(~allowed, -torch.inf).argmax(1)
        right = (predicted == labels[together]).split([len(part) for part in measured])
        return [float(hits.double().mean()) if len(hits) else float("nan") for hits in right]

    def _can_answer_early(self) -> bool:
        """Whether a task to come has outputs that are open already: all scenarios but class-incremental."""
        outputs = {task.outputs for task in self.stream.tasks}
        return self.stream.known_task or len(outputs) == 1


def task_figures(history: History, index: int, sizes: list[int]) -> dict[str, float]:
    """What is logged after task `index` (from 0), on the axis `task` (from 1)."""
    matrix = history.matrix
    figures = {
        "continual/cumulative_accuracy": float(cumulative_accuracy(matrix, sizes)[index]),
        "continual/average_accuracy": float(average_accuracy(matrix)[index]),
    }
    forgotten = float(forgetting(matrix).mean()) if index else math.nan
    if not math.isnan(forgotten):  # there is none after the first task, nor in a joint training
        figures["continual/forgetting"] = forgotten
    figures |= {
        f"continual/accuracy_task_{task + 1}": value
        for task, value in enumerate(history.rows[index])
        if task <= index
    }
    return {**figures, "task": index + 1}
