"""The run directory: the only interface between a run and everything that looks at it later."""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import numpy as np
from omegaconf import OmegaConf
from torch import Tensor

from tlcl.config.schema import Config
from tlcl.errors import UserError
from tlcl.extensions import copies
from tlcl.quoting import typed
from tlcl.system.files import atomic_open, atomic_write_text, naming, remove_partials
from tlcl.system.folders import LOCK, HeldFolder
from tlcl.tracking.environment import environment

log = logging.getLogger(__name__)
RACED = "race.jsonl"  # a line a training of a search for the depth
# What a run in which nothing is trained yet may have written; the first says that it has begun.
BEGINNING = (
    "config.yaml", "environment.json", "extensions", "wandb.json", "wandb", "metrics.jsonl", "timings.jsonl",
    "tasks.jsonl", "checkpoints", "first_answer.json", "data.json",
)  # fmt: skip
# What it writes later; a new run takes no folder in which such a file, of something else, would be written over.
WRITTEN = (
    "checkpoints", "labels.json", "model.safetensors", "calibration.json", "summary.json", "report.html", "plots",
    "metrics.jsonl", "timings.jsonl", "tasks.jsonl", "test_predictions.csv", "test_predictions.npz", "deeper.json",
    RACED, "accuracy_matrix.csv", "compare.csv", "compare.json",
)  # fmt: skip
CLOCK = "clock.json"  # of a run that is not complete: the seconds it has taken so far


def config_record(config: Config) -> dict[str, Any]:
    """A config as it is recorded; the cache by `~` where it is in the home directory of whoever resumes it."""
    values = asdict(config)
    home, cache = Path.home(), Path(config.cache_dir)
    if cache.is_relative_to(home):
        values["cache_dir"] = str("~" / cache.relative_to(home))
    return values


def config_text(config: Config) -> str:
    """`config.yaml`."""
    return OmegaConf.to_yaml(OmegaConf.create(config_record(config)))


def _foreign(path: Path) -> str:
    """What is named as what a run writes; empty where there is nothing, or an empty folder."""
    for one in (path / name for name in WRITTEN):
        within = [child for child in one.iterdir() if child.suffix != ".partial"] if one.is_dir() else []
        if within or one.is_file():
            return one.name
    return ""


class RunDirectory:
    """A directory that one process at a time writes; with it as a context, a user's mistake leaves nothing behind.

    Args:
        path: created when it is not there; taken away again when no run begins.
        resume: whether a run is expected there already.

    Raises:
        UserError: another process writes there; a new run would mix with an old one; nothing to resume;
            or the directory cannot be written.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        if resume and not (path / "config.yaml").is_file():
            raise UserError(f"resume={path} is no tlcl run directory: it has no config.yaml")
        self._held = HeldFolder(path, "run_dir")
        if not resume and self.begun:
            self.close()
            raise UserError(
                f"{path} already holds a run; resume it with {typed('+resume', path)} or choose another run_dir"
            )
        if not self.begun and (foreign := _foreign(path)):
            self.close()
            raise UserError(
                f"run_dir={path} has {foreign}, which is of no run there and would be written over; choose another "
                "run_dir, or move it away"
            )
        for folder in (path, *(child for child in path.iterdir() if child.is_dir())):
            remove_partials(folder)
        self._opened, before = time.perf_counter(), read_object(path / CLOCK).get("seconds") if self.begun else None
        self._seconds_before = float(before) if isinstance(before, int | float) else 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, UserError) and self._only_begun:
            self._held.take_away(BEGINNING)
        self.close()

    @property
    def _only_begun(self) -> bool:
        """Whether it began here and now, and nothing is trained yet."""
        new = self._held.new()
        trained = any(self.checkpoints.glob("*")) or read_lines(self.path / "metrics.jsonl")
        return "config.yaml" in new and new <= {*BEGINNING, LOCK} and not trained

    def close(self) -> None:
        """Let another process write here."""
        if self.begun:
            self._held.release()
        else:
            self._held.take_away()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def begun(self) -> bool:
        """Whether a run began here."""
        return (self.path / "config.yaml").exists()

    def begin(self, config: Config, records: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> None:
        """From here on the run exists, unless it did: config, environment and `records`, by file, are written.

        Called after all that can be a user's mistake, which so leaves no directory that "already holds a run".
        """
        self.checkpoints.mkdir(exist_ok=True)
        if not self.begun:
            self.write_json("environment.json", environment(config.seed))
            for name, one in records.items():
                atomic_write_text(self.path / name, json.dumps(one) + "\n")
            for name, content in copies(config.extend).items():
                with atomic_open(self.path / "extensions" / name) as file:
                    file.write(content)
            # The config from which `+resume` starts; last, as it says that the run has begun.
            atomic_write_text(self.path / "config.yaml", config_text(config))

    @property
    def seconds(self) -> float:
        """How long the run has taken: this part of it and, as far as `keep_seconds` knew of them, those before.

        The time between two parts is not counted.
        """
        return self._seconds_before + time.perf_counter() - self._opened

    def keep_seconds(self) -> None:
        """A kill from here on costs the run's seconds nothing of what came before."""
        self.write_json(CLOCK, {"seconds": round(self.seconds, 1)})

    def stop_clock(self) -> None:
        """The run is complete."""
        (self.path / CLOCK).unlink(missing_ok=True)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        atomic_write_text(self.path / name, json.dumps(content, indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The JSON file, or None when it is not there.

        Raises:
            UserError: it is damaged.
        """
        path = self.path / name
        try:
            return dict(json.loads(path.read_bytes())) if path.is_file() else None
        except (TypeError, ValueError):
            again = typed("+resume", self.path)
            raise UserError(f"{path} is damaged; remove it, and {again} writes it anew") from None

    def append(self, name: str, line: Mapping[str, Any]) -> None:
        """One more JSON line, on disk when this returns."""
        path = self.path / name
        with naming(path), open(path, "a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def keep_lines(self, name: str, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Keep the lines for which `keep` is true: what a killed run wrote beyond its checkpoint goes.

        Raises:
            UserError: a damaged line, with which those after it would go.
        """
        path = self.path / name
        lines, damaged = _parsed(path)
        if damaged is not None:
            raise UserError(
                f"line {damaged} of {path} is damaged; put the file right, or start the run anew in another run_dir"
            )
        atomic_write_text(path, "".join(json.dumps(line) + "\n" for line in lines if keep(line)))

    def write_predictions(
        self, labels: Tensor, probabilities: Tensor, mistakes: Tensor, mistake_images: Tensor
    ) -> None:
        """`test_predictions.npz`: labels (N,), probabilities (N, K), and the most confident mistakes' images."""
        with atomic_open(self.path / "test_predictions.npz") as file:
            np.savez_compressed(
                file,
                labels=labels.numpy(),
                probabilities=probabilities.numpy(),
                mistake_index=mistakes.numpy(),
                mistake_images=mistake_images.numpy(),
            )


class ReadOnlyRunDirectory(RunDirectory):
    """The run directory in a process beside the first, which alone writes there: it is read, and nothing else."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def close(self) -> None: ...

    def begin(self, config: Config, records: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> None: ...

    def keep_seconds(self) -> None: ...

    def write_json(self, name: str, content: Mapping[str, Any]) -> None: ...

    def append(self, name: str, line: Mapping[str, Any]) -> None: ...

    def keep_lines(self, name: str, keep: Callable[[dict[str, Any]], bool]) -> None: ...

    def write_predictions(
        self, labels: Tensor, probabilities: Tensor, mistakes: Tensor, mistake_images: Tensor
    ) -> None: ...


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file; a last line that a kill cut short is left out.

    So is, with a warning, everything from a damaged line on.
    """
    lines, damaged = _parsed(path)
    if damaged is not None:
        log.warning("warning: line %d of %s is damaged; the lines from there on are left out", damaged, path)
    return lines


def _parsed(path: Path) -> tuple[list[dict[str, Any]], int | None]:
    """The lines before the first that is no JSON object, and that one's number unless it is the file's cut end."""
    if not path.is_file():
        return [], None
    content, lines = path.read_bytes(), []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            lines.append(dict(json.loads(line)))
        except (TypeError, ValueError):
            cut = number == len(content.splitlines()) and not content.endswith(b"\n")
            return lines, None if cut else number
    return lines, None


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; empty when there is none or it is damaged."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, RecursionError, TypeError, ValueError):
        return {}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a table kept as JSON; empty when there are none or they are damaged."""
    try:
        return list(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return []
