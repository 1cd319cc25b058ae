"""A line an epoch in `metrics.jsonl`."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from tlcl.errors import UserError
from tlcl.tracking.records import RunDirectory, read_lines

METRICS = ("train/loss", "train/acc", "val/loss", "val/acc")  # these first, then what else was measured


class EpochRecords(Checkpoint):
    """One line an epoch in `metrics.jsonl`, the same for the same run.

    A `Checkpoint` for its place in the order of callbacks: after the module's own epoch end, and listed before
    the checkpoint itself, so that no checkpoint is ever ahead of its line.

    Args:
        task: place in a continual stream; its lines name it, and W&B's epochs go on from task to task.
    """

    def __init__(self, directory: RunDirectory, task: int | None = None) -> None:
        self.directory, self.task = directory, task
        self._started = time.perf_counter()

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

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        measured = trainer.callback_metrics
        more = sorted(name for name in measured if name.startswith(("train/", "val/")) and name not in METRICS)
        metrics = {name: float(measured[name]) for name in (*METRICS, *more) if name in measured}
        epoch = trainer.current_epoch
        names = pl_module.net.names  # type: ignore[union-attr]
        trainable = [name for name in names if name in pl_module.trainable_blocks]  # type: ignore[operator,union-attr]
        total = epoch + (self.task or 0) * (trainer.max_epochs or 0)
        for logger in trainer.loggers:
            logger.log_metrics(
                {**metrics, **self._rates, "trainable_blocks": len(trainable), "epoch": total}, trainer.global_step
            )
        if not trainer.is_global_zero:
            return
        seconds = time.perf_counter() - self._started
        place: dict[str, Any] = {"epoch": epoch} if self.task is None else {"task": self.task, "epoch": epoch}
        line = {**place, "step": trainer.global_step, **metrics, **self._rates, "trainable": trainable}
        self.directory.append("metrics.jsonl", line)
        if not sys.stdout.isatty():
            where = "" if self.task is None else f"task {self.task + 1}  "
            figures = "  ".join(f"{name.replace('/', ' ')} {value:.4f}" for name, value in metrics.items())
            blocks = ', '.join(trainable)
            print(f"{where}epoch {epoch:3d}  {figures}  {seconds:5.1f} s  training {blocks}", flush=True)
