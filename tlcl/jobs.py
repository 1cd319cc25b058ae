"""Run jobs in this process, each in its own directory; what is done already is not done again."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from tlcl import compare
from tlcl.adaptation import few_labels
from tlcl.adaptation import run as adaptation
from tlcl.config import conf_dir
from tlcl.continual import run as continual
from tlcl.errors import Interrupted, TrainingError
from tlcl.finetuning import run as finetuning
from tlcl.tracking.records import RunDirectory
from tlcl.tracking.render import render

log = logging.getLogger(__name__)
Job = Callable[[DictConfig, RunDirectory], dict[str, Any]]


def job_of(composed: DictConfig) -> Job:
    """What a config describes: fine-tuning, a continual stream, a domain adaptation, or a comparison of methods."""
    if composed.data.get("source") == "few_label_splits":
        return few_labels.run
    if composed.get("compare") is not None:
        return compare.run
    if composed.get("source") is not None:
        return adaptation.run
    return finetuning.run if composed.get("continual") is None else continual.run


def composed_config(overrides: list[str]) -> DictConfig:
    """The config that these overrides compose, as on the command line."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        config = compose("config", overrides)
    OmegaConf.set_struct(config, False)
    return config


def finish(composed: DictConfig, path: Path) -> str | None:
    """Run the job in `path`, or the rest of it; nothing when it is complete.

    Returns:
        Why it stopped, when its loss was not finite; else None.

    Raises:
        UserError: a mistake in the config; Interrupted: by Ctrl-C.
    """
    if (path / "config.yaml").is_file():  # it goes on with what it began with
        composed = cast(DictConfig, OmegaConf.load(path / "config.yaml"))
    composed.run_dir = str(path)
    directory = RunDirectory(path, resume=(path / "config.yaml").is_file())
    try:
        finished = directory.read_json("summary.json") or {}
        if finished.get("status") != "complete":
            job_of(composed)(composed, directory)
        elif not (path / "report.html").is_file():  # killed before it was drawn
            render(path)
    except Interrupted:
        raise
    except TrainingError as error:
        log.warning("warning: %s stopped: %s", path.name, error)
        return str(error)
    finally:
        directory.close()
    return None
