"""Which job a config describes, and running it in a directory of its own."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from tlcl.jobs import adapt as adaptation
from tlcl.jobs import continual
from tlcl.jobs import finetune as finetuning
from tlcl.jobs import resume as resumable
from tlcl.jobs.resume import Job
from tlcl.security.untrusted import recorded_config

log = logging.getLogger(__name__)
ANEW = ("devices", "num_nodes", "strategy")  # of trainer: how many processes go on may change
MANY: dict[str, Job] = {}  # kinds of job that are many runs; they stand above and add themselves when imported


def job_of(composed: DictConfig) -> Job:
    """What a config describes: fine-tuning, a continual stream, a domain adaptation, or a comparison of methods."""
    if composed.data.get("source") == "few_label_splits":
        return MANY["few_labels"]
    if composed.get("compare") is not None:
        return MANY["compare"]
    if composed.get("source") is not None:
        return adaptation.run
    return finetuning.run if composed.get("continual") is None else continual.run


def finish(composed: DictConfig, path: Path) -> str | None:
    """Run the job that the config describes in `path`, or the rest of what began there (see `resumable.finish`)."""
    if (path / "config.yaml").is_file():  # it goes on with what it began with
        began = recorded_config(path)
        began.trainer.update({key: composed.trainer[key] for key in ANEW})
        composed = began
    composed.run_dir = str(path)
    why = resumable.finish(job_of(composed), composed, path)
    if why is not None:
        log.warning("warning: %s stopped: %s", path.name, why)
    return why
