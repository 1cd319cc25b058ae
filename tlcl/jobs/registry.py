"""Running what a config describes, in a directory of its own: from the start, or what is left of it."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tlcl.config.kinds import kind_of, load
from tlcl.config.parse import parse_config
from tlcl.config.schema import Config, TrainerConfig
from tlcl.errors import Stopped, TrainingError, as_sentences
from tlcl.reports.render import render
from tlcl.security.untrusted import recorded_config
from tlcl.tracking.records import RunDirectory

log = logging.getLogger(__name__)


def run(config: Config, directory: RunDirectory) -> dict[str, Any]:
    """Run the job that the config describes; returns its summary."""
    summary: dict[str, Any] = load(f"{kind_of(vars(config)).job}:run")(config, directory)
    return summary


def recorded_run(path: Path, processes: TrainerConfig | None = None) -> Config:
    """The config of the run that began in `path`.

    Args:
        processes: how many it is to have now, which alone may change.

    Raises:
        UserError: it cannot be read or used.
    """
    composed = recorded_config(path)
    composed.run_dir = str(path)
    if processes is not None and OmegaConf.is_dict(composed.get("trainer")):
        for key in ("devices", "num_nodes", "strategy"):
            composed.trainer[key] = getattr(processes, key)
    return parse_config(composed)


def run_or_resume(config: Config, path: Path) -> str | None:
    """Run the job that the config describes in `path`, or the rest of what began there, unless it is complete.

    Returns:
        Why it stopped, when its loss was not finite or no memory was left, so that the others can go on; else
        None.

    Raises:
        UserError: a mistake in the config; Stopped: by Ctrl-C, SIGTERM or a full disk.
    """
    if (path / "config.yaml").is_file():
        return resume(path, config.trainer)
    return _complete(path, lambda: replace(config, run_dir=str(path)), begun=False)


def resume(path: Path, processes: TrainerConfig | None = None) -> str | None:
    """Run the rest of what began in `path`, unless it is complete; returns and raises as `run_or_resume`.

    Args:
        processes: see `recorded_run`.
    """
    return _complete(path, lambda: recorded_run(path, processes), begun=True)


def _complete(path: Path, config_of: Callable[[], Config], *, begun: bool) -> str | None:
    try:
        with RunDirectory(path, resume=begun) as directory:
            finished = directory.read_json("summary.json") or {}
            if finished.get("status") != "complete":
                config = config_of()
                with as_sentences(config, path):
                    run(config, directory)
            elif not (path / "report.html").is_file():  # killed before it was drawn
                render(path)
    except Stopped:
        raise
    except TrainingError as error:
        log.warning("warning: %s stopped: %s", path.name, error)
        return str(error)
    return None
