"""Entries of a plan at once, each in a process of its own; all of them end with the one that started them.

However it ends: Ctrl-C, SIGTERM and kill -9 leave no process behind, and what was begun can be resumed.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple, cast

import joblib
import psutil
import torch
from omegaconf import DictConfig, OmegaConf

from tlcl.config.parse import parse_config
from tlcl.errors import Interrupted, Stopped, sigterm_as_interrupt
from tlcl.sweeps.engine import UNEXPECTED, Entry, Failure, attempt, record
from tlcl.system.memory import keep_freed_memory
from tlcl.tracking.records import config_text

log = logging.getLogger(__name__)
PATIENCE = 20.0  # seconds in which a process that is told to end does so
THREADS = "OMP_NUM_THREADS"


def share_processors(jobs: int) -> int:
    """Give this process its part of the machine when `jobs` run at once; returns its number of threads."""
    threads = min(torch.get_num_threads(), max(1, joblib.cpu_count() // jobs))
    torch.set_num_threads(threads)
    return threads


@cache
def end_with_parent() -> None:
    """Have this process end when the one that started it has: as by SIGTERM, and by force if that is not enough.

    Once a process, however many jobs it is given.
    """
    threading.Thread(target=_watch, args=(psutil.Process(os.getppid()),), daemon=True).start()


def _watch(parent: psutil.Process) -> None:
    while os.getppid() == parent.pid and parent.is_running():
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)


def _write_to(log_file: Path) -> None:
    """Everything that is printed and logged here goes to the file."""
    file = open(log_file, "a", buffering=1)  # noqa: SIM115  (as long as the process)
    os.dup2(file.fileno(), sys.stdout.fileno())
    os.dup2(file.fileno(), sys.stderr.fileno())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=file, force=True)


class _Packed(NamedTuple):
    """An entry as it travels, its config as text: a user's own keys are known where his files have run."""

    entry: Entry
    text: str

    @classmethod
    def of(cls, entry: Entry) -> "_Packed":
        return cls(replace(entry, config=None), config_text(entry.config))  # type: ignore[type-var]

    @property
    def failed(self) -> Path:
        return self.entry.failed

    def perform(self) -> str | None:
        if self.entry.title:
            log.info("%s", self.entry.title)
        config = parse_config(cast(DictConfig, OmegaConf.create(self.text)))
        why: str | None = replace(self.entry, config=config).perform()  # type: ignore[type-var]
        return why


def _serve(pipe: Connection, log_file: Path, jobs: int) -> None:
    """What such a process does: one entry after another, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the first one ends this one
    end_with_parent()
    _write_to(log_file)
    share_processors(jobs)
    keep_freed_memory()
    with suppress(EOFError, Interrupted, KeyboardInterrupt), sigterm_as_interrupt():
        while True:
            packed: _Packed = pipe.recv()
            try:
                pipe.send(attempt(packed))
            except Interrupted:
                raise
            except Stopped as stop:
                pipe.send(stop.what)


class _Process:
    """One such process, from outside."""

    def __init__(self, log_file: Path, jobs: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, log_file, jobs))
        before = os.environ.get(THREADS)
        # for libraries beside torch; it is read when they are loaded
        os.environ.setdefault(THREADS, str(max(1, joblib.cpu_count() // jobs)))
        try:
            self._process.start()
        finally:
            if before is None:
                del os.environ[THREADS]
        theirs.close()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def died(self) -> Failure:
        """How it ended, in words."""
        self._process.join()
        code = self._process.exitcode or 0
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return {"kind": UNEXPECTED, "sentence": f"its process ended {how}"}

    def tell_to_end(self, *, now: bool) -> None:
        self.pipe.close()  # one that waits for an entry ends by this
        if now:
            self._process.terminate()

    def end(self) -> None:
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _living(idle: list[_Process]) -> _Process | None:
    """One that waits for work, taken out of the list with those that died while they waited."""
    while idle:
        process = idle.pop()
        if process.alive:
            return process
        process.tell_to_end(now=False)
    return None


def _ready(waiting: Sequence[Entry], busy: Sequence[Entry]) -> Entry | None:
    """The first entry none of whose own runs is still to be done: a comparison follows its runs."""
    undone = [*waiting, *busy]
    free = (entry for entry in waiting if not any(entry.path in other.path.parents for other in undone))
    return next(free, None)


def in_processes(
    entries: Sequence[Entry], jobs: int, log_file: Path, begun: Callable[[Entry], None]
) -> Generator[tuple[Entry, float], None, None]:
    """Each entry with its seconds, as they end, in `jobs` processes; a process that dies costs its entry alone.

    Raises:
        Stopped: the disk is full.
    """
    waiting, idle = list(entries), list[_Process]()
    busy: dict[Connection, tuple[_Process, Entry, float]] = {}
    try:
        while waiting or busy:
            while len(busy) < jobs and (entry := _ready(waiting, [one for _, one, _ in busy.values()])) is not None:
                waiting.remove(entry)
                process = _living(idle) or _Process(log_file, jobs)
                busy[process.pipe] = process, entry, time.monotonic()  # before it is told, so that it is ended
                with suppress(OSError):  # it has died, which is seen below
                    process.pipe.send(_Packed.of(entry))
                begun(entry)
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                process, entry, start = busy[pipe]
                try:
                    answer = pipe.recv()
                except (EOFError, ConnectionError):
                    answer = process.died()
                    record(entry, answer)
                else:
                    idle.append(process)
                if isinstance(answer, str):
                    raise Stopped(answer, entry.path)
                del busy[pipe]
                yield entry, time.monotonic() - start
    finally:
        for process, _, _ in busy.values():
            process.tell_to_end(now=True)
        for process in idle:
            process.tell_to_end(now=False)
        for process in [*(one for one, _, _ in busy.values()), *idle]:
            process.end()
