"""Where the time of an epoch goes: data, prefix, tail, validation, checkpoint."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from torch import nn

from tlcl.models.blocks import FEATURES, Blocks
from tlcl.models.tail import last_frozen
from tlcl.tracking.records import RunDirectory

PARTS = ("data", "prefix", "tail", "validation", "checkpoint")


class Stopwatch:
    """Seconds by the name of what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add the time until the end of the `with` block to `part`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - began


class EpochTimings(Checkpoint):
    """One line an epoch in `timings.jsonl`: seconds in all, and of each part.

    data: batches gathered, moved and augmented. prefix: outputs of frozen blocks, computed in the steps or for
    the cache. tail: the rest of the steps (forward, backward, optimizer). validation, checkpoint: as they say. The
    parts leave out what Lightning does between them. A GPU works on after a call returns, so that the frozen
    blocks' share of a step cannot be told apart there: it is in tail.

    A `Checkpoint`, listed last, so that it ends an epoch after the others.

    Args:
        watch: the one that the callbacks which cache and save are given.
        task: place in a continual stream; the lines name it.
    """

    def __init__(self, directory: RunDirectory, watch: Stopwatch, task: int | None = None) -> None:
        self.directory, self.watch, self.task = directory, watch, task
        self._epoch = self._mark = self._prefix = 0.0
        self._handles: list[Any] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._epoch = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._mark = time.perf_counter()
        net: Blocks = pl_module.net  # type: ignore[assignment]
        trainable: frozenset[str] = pl_module.trainable_blocks  # type: ignore[assignment]
        place = last_frozen(net, trainable)
        if place is None or pl_module.device.type == "cuda":
            return
        self._handles = [
            net.inputs.register_forward_pre_hook(self._prefix_begins),
            net.block(net.names[-2] if place == FEATURES else place).register_forward_hook(self._prefix_ends),
        ]

    def _prefix_begins(self, module: nn.Module, inputs: Any) -> None:
        self._prefix = time.perf_counter()

    def _prefix_ends(self, module: nn.Module, inputs: Any, output: Any) -> None:
        spent = time.perf_counter() - self._prefix
        self.watch.seconds["prefix"] += spent
        self.watch.seconds["tail"] -= spent
        self._prefix = 0.0

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        now = time.perf_counter()
        self.watch.seconds["data"] += now - self._mark
        self._mark = now

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        now = time.perf_counter()
        self.watch.seconds["tail"] += now - self._mark
        self._mark = now

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._unhook()
        self._mark = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.watch.seconds["validation"] += time.perf_counter() - self._mark

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._unhook()
        now = time.perf_counter()
        place: dict[str, Any] = {} if self.task is None else {"task": self.task}
        parts = {part: round(self.watch.seconds[part], 4) for part in PARTS}
        line = {**place, "epoch": trainer.current_epoch, "seconds": round(now - self._epoch, 3), **parts}
        if trainer.is_global_zero:
            self.directory.append("timings.jsonl", line)
            self.directory.keep_seconds()
        self.watch.seconds.clear()
        self._epoch = now

    def _unhook(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def seconds_by_part(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Totals over the lines of `timings.jsonl`; `between` is what no part claims."""
    totals = {part: round(sum(line.get(part, 0.0) for line in lines), 3) for part in PARTS}
    whole = sum(line["seconds"] for line in lines)
    return {**totals, "between": round(max(0.0, whole - sum(totals.values())), 3)}
