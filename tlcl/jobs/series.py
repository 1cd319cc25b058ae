"""Many runs in one go: each in a directory of its own, one progress bar for all, a stopped one goes on."""

import contextlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from tqdm import tqdm

from tlcl.errors import Stopped, UserError
from tlcl.jobs.registry import finish
from tlcl.system.files import atomic_write_text
from tlcl.system.memory import keep_freed_memory
from tlcl.tracking.records import environment

QUIET = ["logger=none", "trainer.progress=false"]  # overrides of every run
BAR = "{desc} {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left{postfix}"


@dataclass(frozen=True)
class Step:
    """One run; `weight`: about its seconds on two cores, for the progress bar."""

    path: Path
    config: DictConfig
    weight: float


def run_steps(root: Path, planned: Sequence[Step], name: str) -> list[str]:
    """Run what is not done yet; what the runs say goes to `NAME.log` in `root`.

    Returns:
        A sentence on each run that stopped because its loss was not finite.

    Raises:
        UserError: `root`, the value of --out, cannot be written, or see `tlcl.errors`.
        Stopped: by Ctrl-C, SIGTERM or a full disk.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        log = open(root / f"{name}.log", "a")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f"--out={root} cannot be written: {error.strerror or error}") from None
    to_log = logging.StreamHandler(log)
    to_log.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger().addHandler(to_log)
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    keep_freed_memory()
    atomic_write_text(root / "environment.json", json.dumps(environment(0), indent=2) + "\n")
    stopped: list[str] = []
    try:
        with tqdm(total=round(sum(step.weight for step in planned)), desc=name, bar_format=BAR) as bar:
            for step in planned:
                bar.set_postfix_str(str(step.path.relative_to(root)))
                with contextlib.redirect_stdout(log):
                    why = finish(step.config, step.path)
                if why:
                    stopped.append(f"{step.path.name}: {why}")
                bar.update(round(step.weight))
    except Stopped as stop:
        raise stop.at(root) from None
    finally:
        logging.getLogger().removeHandler(to_log)
        log.close()
    return stopped
