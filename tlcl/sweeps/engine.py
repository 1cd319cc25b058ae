"""Many runs, whatever they are for: what is done is not done again, and one that fails does not lose the others.

A plan is a list of entries: runs in directories of their own (of a sweep, a comparison, a study, a grid), or
trainings of seconds that leave one file each (`tlcl.sweeps.few_labels`). Its result is one table, `runs.csv`.
"""

import gc
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from tlcl.config.schema import Config
from tlcl.distributed.launcher import launched_as
from tlcl.errors import Interrupted, Stopped, TrainingError, UserError
from tlcl.jobs.registry import run_or_resume
from tlcl.quoting import typed
from tlcl.reports.render import render
from tlcl.reports.tables.runs import write_runs
from tlcl.sweeps.progress import in_words, seconds_left
from tlcl.system.figures import counted
from tlcl.system.files import atomic_write_text
from tlcl.tracking.data_record import share_data
from tlcl.tracking.finished_run import COMPLETE, FAILED, FAILURE, FinishedRun
from tlcl.tracking.records import RunDirectory, read_object
from tlcl.tracking.sweep_records import RunRecord, Value, described, job_in

log = logging.getLogger(__name__)
MISTAKE, TRAINING, UNEXPECTED = "mistake", "training", "unexpected"  # a mistake the user can put right
BAR = "{desc} {percentage:3.0f}% |{bar}| {elapsed}{postfix}"
TABLE_SECONDS = 5.0  # between two writings of the table

Failure = dict[str, str]  # `kind`, `sentence` and, of an unexpected one, `traceback`


class Attempt(Protocol):
    """What may fail without losing the others.

    Attributes:
        failed: where its failure is recorded.
    """

    @property
    def failed(self) -> Path: ...

    def perform(self) -> str | None:
        """Do it, or what is left of it; returns why training stopped, where that ended it."""


class Entry(Attempt, Protocol):
    """One entry of a plan, a dataclass: it travels to other processes.

    Attributes:
        path: what it writes: a directory, or a file.
        config: by which it is done.
        weight: about its seconds, in proportion to those of the others.
        done: whether nothing is left to do.
        title: what is said of it when it begins; empty where it is over in seconds.
    """

    @property
    def path(self) -> Path: ...
    @property
    def config(self) -> Config: ...
    @property
    def weight(self) -> float: ...
    @property
    def done(self) -> bool: ...
    @property
    def title(self) -> str: ...

    def row(self, number: int, root: Path) -> RunRecord:
        """How it stands, from its records."""


@dataclass(frozen=True, eq=False)
class PlannedRun:
    """A run in a directory of its own; `settings`: what tells it from the others of its plan."""

    path: Path
    config: Config
    settings: Mapping[str, Value]
    weight: float = 1.0

    @property
    def failed(self) -> Path:
        return self.path / FAILED

    @property
    def done(self) -> bool:
        return FinishedRun(self.path).drawn

    @property
    def title(self) -> str:
        return described(self.settings, list(self.settings)) or self.path.name

    def perform(self) -> str | None:
        return run_or_resume(self.config, self.path)

    def row(self, number: int, root: Path) -> RunRecord:
        return job_in(self.path, root, number, dict(self.settings))


def attempt(entry: Attempt) -> Failure | None:
    """Do one entry of a plan; a failure is recorded, so that the others go on, and returned.

    Raises:
        Stopped: by Ctrl-C, SIGTERM or a full disk, which end the whole plan; KeyboardInterrupt likewise.
    """
    failure: Failure | None = None
    try:
        why = entry.perform()
        if why is not None:
            failure = {"kind": TRAINING, "sentence": why}
    except (Stopped, KeyboardInterrupt):
        close_wandb(failed=True)
        raise
    except UserError as error:
        failure = {"kind": MISTAKE, "sentence": str(error)}
    except Exception as error:
        sentence = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
        failure = {"kind": UNEXPECTED, "sentence": sentence, "traceback": traceback.format_exc()}
    close_wandb(failed=failure is not None)
    gc.collect()  # a trainer is a ring of references that would hold the network while the next one trains
    record(entry, failure)
    return failure


def record(entry: Attempt, failure: Failure | None) -> None:
    """Write why it failed, or take away why it failed before."""
    if failure is None:
        entry.failed.unlink(missing_ok=True)
    else:
        atomic_write_text(entry.failed, json.dumps(failure, indent=2) + "\n")


def close_wandb(*, failed: bool) -> None:
    """End a W&B run that was left open, so that the next one is its own."""
    tracking = sys.modules.get("tlcl.tracking.wandb_logger")  # not imported for this alone
    if tracking is not None:
        tracking.close_unfinished(failed=failed)


def run_plan(
    root: Path,
    plan: Sequence[Entry],
    name: str,
    *,
    jobs: int = 1,
    progress: bool = True,
    after: Callable[[Sequence[RunRecord]], object] = lambda rows: None,
) -> list[RunRecord]:
    """Do what is not done yet, `jobs` at once, with one progress bar; `runs.csv` in `root` is kept up to date.

    Args:
        name: of the bar; what runs at once have to say goes to `NAME.log` in `root`.
        progress: whether there is a bar where there is a terminal.
        after: called with the table's rows whenever it is written.

    Returns:
        The rows, in the plan's order.

    Raises:
        Stopped: by Ctrl-C, SIGTERM or a full disk, with no process left and every finished epoch saved.
        UserError: several at once, in a process that torchrun or srun started.
    """
    share_data(root)
    rows = [entry.row(number, root) for number, entry in enumerate(plan)]
    places = {id(entry): number for number, entry in enumerate(plan)}
    waiting = [entry for entry in plan if not entry.done]
    jobs = min(jobs, max(1, len(waiting)))
    if jobs > 1 and launched_as()[1] > 1:
        raise UserError(f"{jobs} runs at once need one process, and a launcher started {launched_as()[1]}")
    left = {id(entry): entry.weight for entry in waiting}
    ended = zip(plan, rows, strict=True)
    known = [(entry.weight, row.summary["seconds"]) for entry, row in ended if row.summary.get("seconds")]
    total, written, shown = sum(entry.weight for entry in plan), 0.0, None if progress else True
    bar = tqdm(total=total, initial=total - sum(left.values()), desc=name, bar_format=BAR, disable=shown)

    def begun(entry: Entry) -> None:
        words = in_words(seconds_left(known, list(left.values()), jobs))
        if entry.title:
            said = ", ".join(filter(None, [f"run {places[id(entry)] + 1} of {len(plan)}", words]))
            log.info("%s: %s", said, entry.title)
        bar.set_postfix_str(", ".join(filter(None, [words, str(entry.path.relative_to(root))])))

    try:
        with bar, _below_log(bar), closing(_results(waiting, jobs, root / f"{name}.log", begun)) as results:
            for entry, seconds in results:
                known.append((entry.weight, seconds))
                rows[places[id(entry)]] = entry.row(places[id(entry)], root)
                bar.update(left.pop(id(entry)))
                if not left or time.monotonic() - written > TABLE_SECONDS:
                    write_runs(root, rows)
                    after(rows)
                    written = time.monotonic()
    except KeyboardInterrupt:
        raise Interrupted(root) from None
    except Stopped as stop:
        raise stop.at(root) from None
    write_runs(root, rows)
    return rows


def _below_log(bar: Any) -> AbstractContextManager[None]:
    """A line of the log does not end on the bar, where there is one."""
    return nullcontext() if bar.disable else logging_redirect_tqdm()


def _results(
    entries: Sequence[Entry], jobs: int, log_file: Path, begun: Callable[[Entry], None]
) -> Generator[tuple[Entry, float], None, None]:
    """Each entry with its seconds, as they end."""
    if jobs > 1:
        from tlcl.sweeps.processes import in_processes

        yield from in_processes(entries, jobs, log_file, begun)
        return
    for entry in entries:
        start = time.monotonic()
        begun(entry)
        attempt(entry)
        yield entry, time.monotonic() - start


def failures(rows: Sequence[RunRecord]) -> dict[str, str]:
    """Name -> why it failed, of each that did."""
    return {row.path.name: row.reason for row in rows if row.status == FAILURE and row.path is not None}


def fault(root: Path, plan: Sequence[Entry], rows: Sequence[RunRecord]) -> Exception | None:
    """What ends a plan some of which failed of anything but its training, which a table can say of it.

    Returns:
        UserError: all of those failed by mistakes of the user (exit code 2); TrainingError: not all (exit code 1).
    """
    failed = [entry.failed for entry, row in zip(plan, rows, strict=True) if row.status == FAILURE]
    stored = [read_object(path) for path in failed]
    wrong = [failure for failure in stored if failure.get("kind") != TRAINING]
    if not wrong:
        return None
    command = typed("+resume", root) if (root / "config.yaml").is_file() else "the same command"
    what = f"{len(stored)} of {counted(len(plan), 'run')} failed: {wrong[0].get('sentence', '')}"
    kind = UserError if all(one.get("kind") == MISTAKE for one in wrong) else TrainingError
    return kind(f"{what}; try them again with {command}")


def conclude_job(
    directory: RunDirectory, plan: Sequence[Entry], rows: Sequence[RunRecord], summary: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the summary and the page of a job that is many runs; returns the summary.

    Raises:
        UserError, TrainingError: see `fault`; the page is there all the same, and the job can be resumed.
    """
    end = fault(directory.path, plan, rows)
    stopped = {Path(name).stem if name.endswith(".json") else name: why for name, why in failures(rows).items()}
    whole = {"status": COMPLETE if end is None else FAILURE, **summary, "stopped": stopped}
    directory.write_json("summary.json", whole)
    log.info("report: %s", render(directory.path))
    if end is not None:
        raise end
    return whole
