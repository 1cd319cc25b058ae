"""A folder of a case's own, and the processes that run in it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

LIMIT = 600.0  # seconds: a process that takes longer hangs


@dataclass(frozen=True)
class Finished:
    """A process that ended.

    Attributes:
        code: exit code; -N: by signal N.
        cpu: seconds of processor time.
        began, trained: how many of them had passed when its run began to be recorded, and when its last epoch was.
    """

    code: int
    out: str
    err: str
    cpu: float = 0.0
    began: float = 0.0
    trained: float = 0.0


def python(module: str, *arguments: str) -> list[str]:
    """The command `python -m MODULE ARGUMENTS`."""
    return [sys.executable, "-m", module, *arguments]


class Hanging(Exception):
    """A process did not end within `LIMIT`."""


class Child:
    """A process that runs, its outputs in files.

    Args:
        before: called in the process before the program starts.
    """

    def __init__(
        self, folder: Path, command: Sequence[str], env: Mapping[str, str], before: Callable[[], None] | None = None
    ) -> None:
        self.folder, self.cpu = folder, 0.0
        self._outputs = [folder / f".{name}.{time.monotonic_ns()}" for name in ("out", "err")]

        def start() -> None:
            for which in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with Ctrl-C ignored
                signal.signal(which, signal.SIG_DFL)
            if before is not None:
                before()

        with open(self._outputs[0], "wb") as out, open(self._outputs[1], "wb") as err:
            self.process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(env),
                preexec_fn=start, start_new_session=True,
            )  # fmt: skip
        self._watched, self._deadline = psutil.Process(self.process.pid), time.monotonic() + LIMIT

    def running(self) -> bool:
        """Whether it still runs; takes note of its processor time. Kills it when it hangs."""
        if self.process.poll() is not None:
            return False
        if time.monotonic() > self._deadline:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise Hanging(f"a process had not ended after {LIMIT:.0f} s")
        try:
            times = self._watched.cpu_times()
            self.cpu = times.user + times.system
        except psutil.Error:
            pass
        return True

    def wait_until(self, reached: Callable[[], bool]) -> bool:
        """Whether `reached` came true before it ended."""
        while self.running():
            if reached():
                return True
            time.sleep(0.005)
        return False

    def send(self, which: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(which)

    def finish(self) -> Finished:
        """Wait for its end."""
        while self.running():
            time.sleep(0.01)
        out, err = (path.read_text(errors="replace") for path in self._outputs)
        for path in self._outputs:
            path.unlink()
        return Finished(self.process.returncode, out, err, self.cpu)


@dataclass
class Shared:
    """What the cases of a campaign share: runs that nothing interrupted, each made when it is first needed."""

    folder: Path
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _made: dict[str, Finished] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def workplace(self, name: str) -> "Workplace":
        return Workplace(self.folder / name, self)

    def once(self, name: str, make: Callable[["Workplace"], Finished]) -> tuple[Path, Finished]:
        """The folder in which `make` ran once, and what it returned."""
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        place = self.workplace(f"whole-{name}")
        with lock:
            if name not in self._made:
                self._made[name] = make(place)
        return place.path, self._made[name]


@dataclass
class Workplace:
    """An empty folder in which a case may do as it likes."""

    path: Path
    shared: Shared

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Of its processes: one thread each, a cache of their own, no key; what is empty in `more` is unset."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "TLCL", "NETRC"))}
        ours = {
            **kept,
            "OMP_NUM_THREADS": "1",
            "TLCL_CACHE": "cache",
            "WANDB_MODE": "offline",
            "NETRC": str(self.path / "no-netrc"),
            **(more or {}),
        }
        return {key: value for key, value in ours.items() if value}

    def start(
        self,
        module: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
        under: Sequence[str] = (),
    ) -> Child:
        """`python -m MODULE ARGUMENTS`; `under` is a command that is given this one as its arguments."""
        return Child(self.path, [*under, *python(module, *arguments)], self.environment(env), before)

    def command(self, *words: str) -> Finished:
        """Any other command, to the end."""
        return Child(self.path, words, self.environment()).finish()

    def run(self, module: str, *arguments: str, **options: object) -> Finished:
        """As `start`, to the end."""
        return self.start(module, *arguments, **options).finish()  # type: ignore[arg-type]

    def train(self, *arguments: str, **options: object) -> Finished:
        return self.run("tlcl.train", *arguments, **options)
