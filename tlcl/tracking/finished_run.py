"""What a run recorded in its directory: the one reader for reports, sweeps, the API, prediction and W&B."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tlcl.config.kinds import kind_of
from tlcl.errors import UserError
from tlcl.security.untrusted import Labels, recorded_config, recorded_labels
from tlcl.tracking.accuracy_matrix import Measured, read_matrix
from tlcl.tracking.predictions import Predictions, read_predictions
from tlcl.tracking.records import read_lines, read_object, read_rows
from tlcl.tracking.run_history import epoch_row, flattened, task_row

FAILED = "failed.json"  # why a run among many did not end
COMPLETE, FAILURE, BEGUN, MISSING = "complete", "failed", "begun", "missing"


class FinishedRun:
    """The records in the directory `path`, complete or not; each is read when it is asked for.

    A damaged JSON file counts as empty and a damaged npz file as missing; lines end before the damage.
    Config and labels say in a `UserError` what is wrong with them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def config(self) -> DictConfig:
        """The resolved config, for use: see `recorded_config`."""
        return recorded_config(self.path)

    def setting(self, key: str) -> Any:
        """A value of the config, its keys joined by dots; None where it, or the config, is not there."""
        try:
            return OmegaConf.select(self.config, key)
        except UserError:
            return None

    @property
    def monitor(self) -> str:
        """What chose the epoch, see `trainer.monitor`; runs from before there was a choice took the accuracy."""
        return str(self.setting("trainer.monitor") or "accuracy")

    @property
    def labels(self) -> Labels:
        """Names of the classes, size and channels of the images: see `recorded_labels`."""
        return recorded_labels(self.path)

    @property
    def summary(self) -> dict[str, Any]:
        """`summary.json`; empty while a run is not complete, `status` says whether a job of many runs is."""
        return read_object(self.path / "summary.json")

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, commit and command."""
        return read_object(self.path / "environment.json")

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """A dict an epoch, with keys such as `val/acc` (0 to 1) and `trainable`."""
        return read_lines(self.path / "metrics.jsonl")

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """A dict a finished task of a continual run."""
        return read_lines(self.path / "tasks.jsonl")

    @property
    def timings(self) -> list[dict[str, Any]]:
        """A dict an epoch: where its seconds went."""
        return read_lines(self.path / "timings.jsonl")

    @property
    def matrix(self) -> Measured | None:
        """The accuracy matrix of a continual run; None without one."""
        return read_matrix(self.path)

    @property
    def predictions(self) -> Predictions | None:
        """The test probabilities; None without them."""
        return read_predictions(self.path)

    @property
    def complete(self) -> bool:
        return self.summary.get("status") == COMPLETE

    @property
    def drawn(self) -> bool:
        """Whether it is complete, its page too, so that nothing is left to do."""
        return self.complete and (self.path / "report.html").is_file()

    @property
    def failure(self) -> dict[str, Any]:
        """`failed.json` of a run among many: `kind` and `sentence`; empty when it did not fail."""
        return read_object(self.path / FAILED)

    @property
    def status(self) -> str:
        """`COMPLETE`, `FAILURE`, `BEGUN` (running, or killed) or `MISSING`."""
        if self.complete:
            return COMPLETE
        if self.failure or self.summary.get("status") == FAILURE:
            return FAILURE
        return BEGUN if (self.path / "config.yaml").is_file() else MISSING

    def lacks(self, name: str) -> str | None:
        """`is missing` or `cannot be read`, of one of the run's files; None when it is there and whole."""
        path = self.path / name
        if not path.is_file():
            return "is missing"
        readable: dict[str, Callable[[], object]] = {
            "metrics.jsonl": lambda: self.metrics,
            "test_predictions.npz": lambda: self.predictions or not (self.path / "labels.json").is_file(),
            "compare.json": lambda: read_rows(path),
        }
        check = readable.get(name, lambda: path.suffix != ".json" or read_object(path))
        return None if check() else "cannot be read"

    # The same as W&B shows it.

    @cached_property
    def flat_config(self) -> dict[str, Any]:
        """The config's texts, truth values and numbers; nested keys are joined by a dot."""
        return flattened(self._plain_config, ".")

    @cached_property
    def flat_summary(self) -> dict[str, Any]:
        """The summary's texts, truth values and numbers; nested keys are joined by a slash."""
        return flattened(self.summary)

    @cached_property
    def _plain_config(self) -> dict[str, Any]:
        return cast(dict[str, Any], OmegaConf.to_container(self.config))

    @property
    def name(self) -> str:
        return str(self._plain_config["name"])

    @property
    def job(self) -> str:
        """The name of its kind, see `tlcl.config.kinds`."""
        return kind_of(self._plain_config).name

    @property
    def group(self) -> str:
        """Its group in W&B, else the folder it lies in: what the runs of a sweep share."""
        return str((self._plain_config.get("logger") or {}).get("group") or self.path.parent.name)

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """Rows in the order of logging, under the keys that are logged."""
        epochs = int(self._plain_config["trainer"]["epochs"])
        return [*(epoch_row(line, epochs) for line in self.metrics), *map(task_row, self.tasks)]

    def curve(self, x: str, y: str) -> list[tuple[float, float]]:
        """(x, y) of each row of the history that has both, as numbers."""
        pairs = [(row.get(x), row.get(y)) for row in self.history]
        return [(a, b) for a, b in pairs if isinstance(a, int | float) and isinstance(b, int | float)]


def read_run(path: Path) -> FinishedRun | None:
    """The run recorded in `path`; None when its config or figures cannot be read."""
    run = FinishedRun(path)
    try:
        _ = run.name, run.job, run.history
    except (UserError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return run
