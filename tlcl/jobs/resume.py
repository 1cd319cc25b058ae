"""One run in a directory of its own, among others: done, gone on with, or begun."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tlcl.errors import Stopped, TrainingError, as_sentences
from tlcl.reports.render import render
from tlcl.tracking.records import RunDirectory

Job = Callable[[DictConfig, RunDirectory], dict[str, Any]]


def finish(job: Job, composed: DictConfig, path: Path) -> str | None:
    """Run `job` in `path`, or the rest of it; nothing when it is complete.

    Returns:
        Why it stopped, when its loss was not finite or no memory was left, so that the others can go on; else
        None.

    Raises:
        UserError: a mistake in the config; Stopped: by Ctrl-C, SIGTERM or a full disk.
    """
    directory = RunDirectory(path, resume=(path / "config.yaml").is_file())
    try:
        finished = directory.read_json("summary.json") or {}
        if finished.get("status") != "complete":
            with as_sentences(composed, path):
                job(composed, directory)
        elif not (path / "report.html").is_file():  # killed before it was drawn
            render(path)
    except Stopped:
        raise
    except TrainingError as error:
        return str(error)
    finally:
        directory.close()
    return None
