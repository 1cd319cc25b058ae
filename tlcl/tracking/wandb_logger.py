"""Lightning's W&B logger with an x axis for each figure, whose failure never stops a run."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

log = logging.getLogger(__name__)
WRITING = 60.0  # seconds in which W&B's process writes what it holds of a run that has ended


def axis_of(key: str) -> str:
    """The figure that W&B draws `key` over: the task for what is measured after each task, else the epoch."""
    return "task" if key.startswith("continual/") else "epoch"


def wait_until_written(path: Path) -> None:
    """Wait for the end of the run in W&B's file.

    W&B's process answers that the run has ended, and only then writes what it holds of it: all, for a short run.

    Raises:
        TimeoutError: the file is not whole.
    """
    from tlcl.tracking.wandb_file import is_whole

    until, pause, size = time.monotonic() + WRITING, 0.005, -1
    while True:
        before, size = size, path.stat().st_size
        if size != before and is_whole(path):
            return
        if time.monotonic() > until:
            raise TimeoutError(f"{path.name} is not whole")
        time.sleep(pause)
        pause = min(0.5, 1.5 * pause)


def drop_service() -> None:
    """Leave W&B's process, dead or not, and its runs: the next run starts another."""
    import wandb

    with suppress(Exception, SystemExit):  # it exits with the status of a process that was killed
        wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)
    wandb.run = None


class RunLogger(WandbLogger):
    """What training and `tlcl.tracking.wandb` log through.

    Args:
        log_model: see `logger.log_model`.
        options: as WandbLogger.
    """

    unfinished: ClassVar["RunLogger | None"] = None  # the one of this process whose W&B run has not ended

    def __init__(self, log_model: str, **options: Any) -> None:
        super().__init__(log_model=False, **options)
        self._wandb_init.pop("anonymous", None)  # W&B warns of it even when it is not set
        self.model_kept_as = log_model
        self._with_axis: set[str] = set()
        self._failed = False
        self.address: str | None = None  # of the run's page, where it has one

    @contextmanager
    def spared(self) -> Iterator[None]:
        """What W&B raises in here becomes one warning a run: the run directory has all records without it."""
        try:
            yield
        except Exception as error:
            if not self._failed:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                log.warning(
                    "warning: W&B has failed (%s) and may lack what follows; the run's own records do not", reason
                )
            self._failed = True

    def close(self, *, failed: bool = False) -> None:
        """End the W&B run; the next one of this process is its own, even when W&B's service has died."""
        if RunLogger.unfinished is self:
            RunLogger.unfinished = None
        with self.spared():
            self.experiment.finish(exit_code=int(failed))
            if self._offline:
                wait_until_written(Path(self.experiment.settings.sync_file))
            return
        drop_service()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log figures; each new one is told its axis first."""
        with self.spared():
            # By its whole name: among patterns that match one name, W&B takes any.
            for key in metrics.keys() - self._with_axis - {"epoch", "task"}:
                self.experiment.define_metric(key, step_metric=axis_of(key))
                self._with_axis.add(key)
            super().log_metrics(metrics, step)


def close_unfinished(*, failed: bool = True) -> None:
    """End the W&B run that a run of this process left open: the next one would log to it."""
    if RunLogger.unfinished is not None:
        RunLogger.unfinished.close(failed=failed)
