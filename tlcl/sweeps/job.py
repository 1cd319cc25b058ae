"""One job of a sweep, which Hydra makes: said, and attempted in its own directory as an entry of any plan is."""

import json
import logging
import signal
from pathlib import Path
from typing import Any, NamedTuple

import joblib
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tlcl.config.kinds import validation_figure
from tlcl.config.parse import parse_config
from tlcl.errors import Interrupted, Stopped, UserError
from tlcl.jobs.registry import run_or_resume
from tlcl.sweeps.engine import attempt
from tlcl.sweeps.processes import end_with_parent, share_processors
from tlcl.sweeps.progress import in_words, seconds_left
from tlcl.system.files import atomic_write_text
from tlcl.tracking.finished_run import COMPLETE, FAILED, FAILURE, FinishedRun
from tlcl.tracking.records import read_object
from tlcl.tracking.sweep_records import JOB, described, read_plan, read_sweep, settings_of

log = logging.getLogger(__name__)


class HydraRun(NamedTuple):
    """A job as Hydra composed it, unchecked: a mistake in it is a failure of this job alone."""

    path: Path
    composed: DictConfig

    @property
    def failed(self) -> Path:
        return self.path / FAILED

    def perform(self) -> str | None:
        return run_or_resume(parse_config(self.composed), self.path)


def run_sweep_job(composed: DictConfig) -> float | None:
    """Run the job that Hydra composed, or what is left of it; a finished one is answered from its records.

    Returns:
        What a search maximises (see `validation_figure`); None when the job failed, which `failed.json` tells.

    Raises:
        KeyboardInterrupt: by Ctrl-C, which ends the whole sweep.
        Stopped: the disk is full; UserError: the directory is another job's.
    """
    hydra = HydraConfig.get()
    root, path, number = Path(str(hydra.sweep.dir)), Path(hydra.runtime.output_dir), int(hydra.job.num)
    plan = read_plan(root) or {}
    parallel = processes(hydra)
    share_processors(parallel)
    if parallel > 1:
        # Ctrl-C reaches every process; the one that started this ends it, and says how to resume.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_with_parent()
    overrides = [str(item) for item in hydra.overrides.task]
    claim(path, number, overrides)
    run = FinishedRun(path)
    if run.drawn:
        log.info("%s: already complete", title(plan, number, overrides, path))
        return validation_figure(run.summary)
    log.info("%s%s", title(plan, number, overrides, path), time_left(root, parallel))
    OmegaConf.set_struct(composed, False)
    if composed.get("logger") is not None and composed.logger.get("group", "") is None:
        composed.logger.group = plan.get("name")
    try:
        failure = attempt(HydraRun(path, composed))
    except (Interrupted, KeyboardInterrupt):
        raise KeyboardInterrupt from None
    except Stopped as stop:
        raise stop.at(root) from None
    if failure is None:
        return validation_figure(run.summary)
    known = [job for job in read_sweep(root).jobs if job.reason == failure["sentence"] and job.number < number]
    same = f"as the job in {known[0].path} did" if known else failure["sentence"]
    log.warning("failed: %s; the sweep goes on", same)
    return None


def processes(hydra: Any) -> int:
    """How many jobs run at once on this machine, by the launcher's config."""
    count = hydra.launcher.get("n_jobs") or 1
    return int(count) if count > 0 else max(1, joblib.cpu_count() + 1 + count)


def claim(path: Path, number: int, overrides: list[str]) -> None:
    """Record what the job in `path` was given.

    Raises:
        UserError: a job with other settings began there.
    """
    stored = read_object(path / JOB)
    if stored and stored["overrides"] != overrides and (path / "config.yaml").is_file():
        raise UserError(
            f"{path} holds the job {' '.join(stored['overrides'])}, and now the sweep has {' '.join(overrides)} "
            "there (another version of the sampler?); start it anew in another hydra.sweep.dir"
        )
    atomic_write_text(path / JOB, json.dumps({"number": number, "overrides": overrides}) + "\n")


def title(plan: dict[str, Any], number: int, overrides: list[str], path: Path) -> str:
    """`job 3 of 54 (in 2): thaw.depth=0 seed=2`: what not every job is given."""
    if plan.get("jobs"):
        what = described(settings_of(overrides), plan["keys"])
    else:
        fixed = settings_of(plan.get("overrides", [])).items()
        own = dict(item for item in settings_of(overrides).items() if item not in fixed)
        what = described(own, list(own))
    return f"job {number + 1} of {plan.get('planned', '?')} (in {path.name}): {what}"


def time_left(root: Path, parallel: int) -> str:
    """`, about 12 min left`, when the jobs that are left take as long as those that are complete did on average."""
    sweep = read_sweep(root)
    done = [(1.0, job.summary["seconds"]) for job in sweep.jobs if "seconds" in job.summary]
    left = sweep.planned - sum(job.status in (COMPLETE, FAILURE) for job in sweep.jobs)
    words = in_words(seconds_left(done, [1.0] * left, parallel))
    return f", {words}" if words else ""
