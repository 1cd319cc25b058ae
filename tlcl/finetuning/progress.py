"""One progress bar for a whole run, drawn below its lines."""

import sys
import time
from contextlib import ExitStack
from typing import Any

import lightning as L
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from tlcl.distributed.collectives import leads

FORMAT = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} steps, {elapsed} gone, {remaining} left"


class _Bar(tqdm):
    """Its rate is that of the present phase, validation and all else between the steps included."""

    def __init__(self, **options: Any) -> None:
        self.phase: tuple[float, float] = (0, time.monotonic())
        super().__init__(**options)

    @property
    def format_dict(self) -> dict[str, Any]:
        steps, began = self.phase
        seconds = time.monotonic() - began
        rate = (self.n - steps) / seconds if self.n > steps and seconds else None
        return {**super().format_dict, "rate": rate}


class RunProgress(L.Callback):
    """A bar over all steps that a run has left, in a terminal; the first process of a run draws it.

    A thawed block makes the steps slower: the time left is that of the steps since the blocks that are trained
    have last changed. Listed after `Thaw`.

    Args:
        wanted: `trainer.progress`.
        steps: of the run from now on; None: of the epochs that the Trainer has left.
    """

    def __init__(self, wanted: bool, steps: int | None = None) -> None:
        self.steps, self.label = steps, "training"
        self._alone = steps is None  # one training is all there is to show
        self._shown = wanted and leads() and sys.stdout.isatty()
        self._bar: _Bar | None = None
        self._below = ExitStack()
        self._trained: object = None

    def step(self, trained: object = None) -> None:
        """One more is done, in which the blocks `trained` were trained; the first draws the bar."""
        if not self._shown:
            return
        if self._bar is None:
            self._bar = _Bar(
                total=self.steps, desc=self.label, bar_format=FORMAT, file=sys.stdout, dynamic_ncols=True,
                leave=False,
            )  # fmt: skip
            self._below.enter_context(logging_redirect_tqdm())  # or a line of the log would end on the bar
        if trained != self._trained:
            self._trained, self._bar.phase = trained, (self._bar.n, time.monotonic())
        self._bar.set_description_str(self.label, refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
        self._below.close()
        self._bar = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.steps is None:
            epochs = (trainer.max_epochs or 0) - trainer.current_epoch
            self.steps = int(trainer.num_training_batches) * epochs

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.step(pl_module.trainable_blocks)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._alone or (self._bar is not None and self._bar.n >= (self.steps or 0)):
            self.close()  # early stopping leaves steps that never come

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.close()
