"""Lightning's W&B logger with an x axis for each figure, whose failure never stops a run."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

log = logging.getLogger(__name__)


def axis_of(key: str) -> str:
    """The figure that W&B draws `key` over: the task for what is measured after each task, else the epoch."""
    return "task" if key.startswith("continual/") else "epoch"


class RunLogger(WandbLogger):
    """What training and `tlcl.tracking.wandb` log through.

    Args:
        log_model: see `logger.log_model`.
        options: as WandbLogger.
    """

    def __init__(self, log_model: str, **options: Any) -> None:
        super().__init__(log_model=False, **options)
        self._wandb_init.pop("anonymous", None)  # W&B warns of it even when it is not set
        self.model_kept_as = log_model
        self._with_axis: set[str] = set()
        self._failed = False

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

    def close(self) -> None:
        """End the W&B run; the next one of this process is its own, even when W&B's service has died."""
        with self.spared():
            self.experiment.finish()
            return
        import wandb

        with suppress(Exception):
            wandb.teardown()
        wandb.run = None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log figures; each new one is told its axis first."""
        with self.spared():
            # By its whole name: among patterns that match one name, W&B takes any.
            for key in metrics.keys() - self._with_axis - {"epoch", "task"}:
                self.experiment.define_metric(key, step_metric=axis_of(key))
                self._with_axis.add(key)
            super().log_metrics(metrics, step)
