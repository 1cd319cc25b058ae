"""Running what a config describes, in a directory of its own: from the start, or what is left of it."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tlcl.config.parse import parse_config
from tlcl.config.schema import Config
from tlcl.errors import Stopped, TrainingError, as_sentences
from tlcl.reports.render import render
from tlcl.security.untrusted import recorded_config
from tlcl.tracking.kinds import kind_of, load
from tlcl.tracking.records import RunDirectory

log = logging.getLogger(__name__)
ANEW = ("devices", "num_nodes", "strategy")  # of trainer: what may change when a run is resumed


def run(config: Config, directory: RunDirectory) -> dict[str, Any]:
    """Run the job that the config describes; returns its summary."""
    job = load(f"{kind_of(asdict(config)).job}:run")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # after its import, which sets it to INFO
    summary: dict[str, Any] = job(config, directory)
    return summary


def run_or_resume(composed: DictConfig, path: Path) -> str | None:
    """Run the job that the config describes in `path`, or the rest of what began there, unless it is complete.

    Returns:
        Why it stopped, when its loss was not finite or no memory was left, so that the others can go on; else
        None.

    Raises:
        UserError: a mistake in the config; Stopped: by Ctrl-C, SIGTERM or a full disk.
    """
    begun = (path / "config.yaml").is_file()
    if begun:  # by the config that it began with
        recorded = recorded_config(path)
        recorded.trainer.update({key: composed.trainer[key] for key in ANEW})
        composed = recorded
    composed.run_dir = str(path)
    directory = RunDirectory(path, resume=begun)
    try:
        finished = directory.read_json("summary.json") or {}
        if finished.get("status") != "complete":
            config = parse_config(composed)
            with as_sentences(config, path):
                run(config, directory)
        elif not (path / "report.html").is_file():  # killed before it was drawn
            render(path)
    except Stopped:
        raise
    except TrainingError as error:
        log.warning("warning: %s stopped: %s", path.name, error)
        return str(error)
    finally:
        directory.close()
    return None
