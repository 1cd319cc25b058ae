"""A plan that a command of its own runs, to one page: what `tlcl study` and `tlcl depth-grid` have in common."""

import contextlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from tlcl.config.compose import composed_config
from tlcl.config.parse import parse_config
from tlcl.errors import UserError
from tlcl.quoting import quoted
from tlcl.sweeps.engine import PlannedRun, failures, fault, run_plan
from tlcl.system.files import atomic_write_text, one_at_a_time
from tlcl.system.memory import keep_freed_memory
from tlcl.tracking.environment import environment
from tlcl.tracking.finished_run import FinishedRun
from tlcl.tracking.records import config_record
from tlcl.tracking.run_history import flattened
from tlcl.tracking.sweep_records import Value

# Keys in which equal runs may differ: what the machine decides.
OF_A_MACHINE = (
    "run_dir", "cache_dir", "trainer.precision", "trainer.frozen_precision", "trainer.devices", "trainer.num_nodes",
    "trainer.strategy", "trainer.accelerator",
)  # fmt: skip
QUIET = ["logger=none", "trainer.progress=false"]  # overrides of every run


def cell(
    path: Path, name: str, depth: int, size: int, seed: int, epochs: int, overrides: Sequence[str]
) -> PlannedRun:
    """A freeze depth with a number of labelled images; without crops, so that frozen blocks are computed once."""
    given = [
        *overrides, quoted("name", f"{name} depth {depth}"), f"thaw.depth={depth}", f"data.train_size={size}",
        f"seed={seed}", f"trainer.epochs={epochs}", "data.batch_size=32", "data.crop_padding=0",
    ]  # fmt: skip
    settings: dict[str, Value] = {"name": name, "thaw.depth": depth, "data.train_size": size, "seed": seed}
    weight = 2 + 0.0002 * (depth + 1) * size * epochs
    return PlannedRun(path, parse_config(composed_config(given)), settings, weight)


def run_study(
    root: Path, plan: Sequence[PlannedRun], name: str, write_page: Callable[[Path, list[str]], Path], jobs: int = 1
) -> Path:
    """Run what is not done yet, then write the page; what the runs say goes to `NAME.log` in `root`.

    Args:
        write_page: gets `root` and a sentence on each run that failed; returns the page's path.

    Raises:
        UserError: `root`, the value of --out, cannot be written, or see `fault`.
        Stopped: by Ctrl-C, SIGTERM or a full disk.
    """
    if jobs < 1:
        raise UserError(f"--jobs={jobs} must be at least 1")
    for run in plan:
        _check_same(run, root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        log = open(root / f"{name}.log", "a")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f"--out={root} cannot be written: {error.strerror or error}") from None
    to_log = logging.StreamHandler(log)
    to_log.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger().addHandler(to_log)
    logging.getLogger().setLevel(logging.INFO)
    keep_freed_memory()
    try:
        with one_at_a_time(root / ".lock", lambda: _refuse(root)), contextlib.redirect_stdout(log):
            atomic_write_text(root / "environment.json", json.dumps(environment(0), indent=2) + "\n")
            rows = run_plan(root, plan, name, jobs=jobs)
            page = write_page(root, [f"{run}: {why}" for run, why in failures(rows).items()])
            end = fault(root, plan, rows)
            if end is not None:
                raise end
    finally:
        logging.getLogger().removeHandler(to_log)
        log.close()
    return page


def _check_same(run: PlannedRun, root: Path) -> None:
    """That what a directory holds of a run of before is that run.

    Raises:
        UserError: it has other settings.
    """
    if not (run.path / "config.yaml").is_file():
        return
    try:
        before = FinishedRun(run.path).flat_config
    except UserError:  # damaged, which is said of this run alone
        return
    now = flattened(config_record(run.config), ".")
    other = [key for key in now if key in before and key not in OF_A_MACHINE and before[key] != now[key]]
    if other:
        key = other[0]
        raise UserError(
            f"{run.path} holds a run with {key}={before[key]}, not {now[key]}; give another --out than {root}"
        )


def _refuse(root: Path) -> None:
    raise UserError(f"another process is writing to {root}; choose another --out or wait")
