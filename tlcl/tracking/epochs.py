"""A line an epoch: in `metrics.jsonl`, and for people."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from torch import nn
from tqdm import tqdm

from tlcl.errors import UserError
from tlcl.models.blocks import Blocks
from tlcl.tracking.records import RunDirectory, read_lines

METRICS = ("train/loss", "train/acc", "val/loss", "val/acc")  # these first, then what else was measured
UNSPOKEN = ("val/balanced_acc", "val/macro_f1")  # recorded alone: a line has 80 columns


def spoken(metrics: Mapping[str, float]) -> str:
    """`train loss 0.4312 acc 0.8500  val loss 0.5012 acc 0.8125`."""
    groups: dict[str, list[str]] = {}
    for key, value in metrics.items():
        side, _, name = key.partition("/")
        groups.setdefault(side, []).append(f"{name.replace('_', ' ')} {value:.4f}")
    return "  ".join(f"{side} {' '.join(figures)}" for side, figures in groups.items())


def say(line: str) -> None:
    """Print a line, above the progress bars where there are some."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def _learns(block: nn.Module) -> bool:
    """Whether a thawed block has a parameter that trains; one without parameters does as it is told."""
    parameters = list(block.parameters())
    return not parameters or any(parameter.requires_grad for parameter in parameters)


class EpochRecords(Checkpoint):
    """One line an epoch in `metrics.jsonl`, the same for the same run, and one on the screen.

    The screen also gets a line whenever other blocks are trained; with their names in every line, few would fit
    into 80 columns.

    A `Checkpoint` for its place in the order of callbacks: after the module's own epoch end, and listed before
    the checkpoint itself, so that no checkpoint is ever ahead of its line.

    Args:
        task: place in a continual stream; its lines name it, and W&B's epochs go on from task to task.
    """

    def __init__(self, directory: RunDirectory, task: int | None = None) -> None:
        self.directory, self.task = directory, task
        self._started = time.perf_counter()
        self._where = "" if task is None else f"task {task + 1}  "
        self._trainable: list[str] = []

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """That the epochs which the checkpoint has behind it are all recorded.

        Raises:
            UserError: some are not, as the file was removed or changed.
        """
        path, done = self.directory.path / "metrics.jsonl", int(checkpoint["epoch"]) + 1
        known = {line["epoch"] for line in read_lines(path) if line.get("task") == self.task}
        if not known >= set(range(done)):
            raise UserError(
                f"{path} lacks epochs that the checkpoint has behind it; put the file back, or start the run anew "
                "in another run_dir"
            )

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.perf_counter()
        rates: dict[str, float] = pl_module.learning_rates()  # type: ignore[operator]
        self._rates = {f"lr/{name}": rate for name, rate in rates.items()}
        net: Blocks = pl_module.net  # type: ignore[assignment]
        thawed: frozenset[str] = pl_module.trainable_blocks  # type: ignore[assignment]
        trainable = [name for name in net.names if name in thawed and _learns(net.block(name))]
        if trainable != self._trainable and trainer.is_global_zero:
            say(f"{self._where}training {', '.join(trainable) or 'nothing'}")
        self._trainable = trainable

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        measured = trainer.callback_metrics
        more = sorted(name for name in measured if name.startswith(("train/", "val/")) and name not in METRICS)
        metrics = {name: float(measured[name]) for name in (*METRICS, *more) if name in measured}
        epoch = trainer.current_epoch
        total = epoch + (self.task or 0) * (trainer.max_epochs or 0)
        for logger in trainer.loggers:
            figures = {**metrics, **self._rates, "trainable_blocks": len(self._trainable), "epoch": total}
            logger.log_metrics(figures, trainer.global_step)
        if not trainer.is_global_zero:
            return
        seconds = time.perf_counter() - self._started
        place: dict[str, Any] = {"epoch": epoch} if self.task is None else {"task": self.task, "epoch": epoch}
        line = {**place, "step": trainer.global_step, **metrics, **self._rates, "trainable": self._trainable}
        self.directory.append("metrics.jsonl", line)
        said = {name: value for name, value in metrics.items() if name not in UNSPOKEN}
        say(f"{self._where}epoch {epoch:3d}  {spoken(said)}  {seconds:5.1f} s")
