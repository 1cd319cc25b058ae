"""A user's mistake is one sentence and exit code 2, never a traceback; so are the other ends of a command."""

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from tlcl.quoting import typed

T = TypeVar("T")


class UserError(Exception):
    """Something the user can put right; the message is one sentence that names the key or file and the remedy."""


class TrainingError(Exception):
    """Training cannot go on (for example a loss that is not finite); what was saved stays valid."""

    code = 1  # what the command exits with


class Stopped(TrainingError):
    """The whole command ends, not one of its runs alone; the message says how to resume it.

    Args:
        what: in words.
        directory: of the run or sweep that stopped.
    """

    def __init__(self, what: str, directory: Path) -> None:
        begun = any((directory / name).is_file() for name in ("config.yaml", "sweep.json"))
        remedy = f"resume it with {typed('+resume', directory)}" if begun else "give the same command again"
        super().__init__(f"{what}; {remedy}")
        self.what = what

    def at(self, directory: Path) -> "Stopped":
        """The same of the command whose directory this is, one of whose runs stopped."""
        return Stopped(self.what, directory)


class Interrupted(Stopped):
    """Stopped by Ctrl-C, or by SIGTERM where that is among the causes of the error being handled.

    Exit code 130 or 143, as a shell says that a program was ended by these signals.
    """

    def __init__(self, directory: Path) -> None:
        stop = _stop_signal()
        super().__init__(f"{_WORDS[stop]}, with every finished epoch saved", directory)
        self.code = 128 + stop

    def at(self, directory: Path) -> "Interrupted":
        return Interrupted(directory)


class Terminated(KeyboardInterrupt):
    """SIGTERM, by which clusters, containers and service managers end a program, taken as Ctrl-C is."""


_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def _stop_signal() -> signal.Signals:
    """SIGTERM when it is among the causes of the error that is being handled, else SIGINT."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, Terminated):
            return signal.SIGTERM
        error = error.__context__
    return signal.SIGINT


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Raise `Terminated` in the main thread at SIGTERM, unless something else waits for it."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def raise_terminated(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def with_exit_codes(program: Callable[[], T]) -> T:
    """Run `program`; turn its errors into a sentence on stderr and an exit code.

    2 for a user's mistake, 1 where it cannot go on, 130 and 143 for Ctrl-C and SIGTERM.
    """
    try:
        return program()
    except UserError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except TrainingError as error:
        print(f"stopped: {printable(error)}", file=sys.stderr)
        raise SystemExit(error.code) from None
    except BrokenPipeError:  # what reads the output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the rest would fail at the exit
        raise SystemExit(1) from None
    except OSError as error:
        sentence = disk_sentence(error)
        if sentence is None:
            raise
        print(f"stopped: {sentence} and give the command again", file=sys.stderr)
        raise SystemExit(1) from None


def run_cli(program: Callable[[], T]) -> T:
    """What the main function of every command is: `with_exit_codes`, where Ctrl-C and SIGTERM are ends too.

    What the terminal's encoding has no letter for is written out.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with sigterm_as_interrupt():
            return with_exit_codes(program)
    except KeyboardInterrupt:
        stop = _stop_signal()
        print(f"stopped: {_WORDS[stop]}", file=sys.stderr)
        raise SystemExit(128 + stop) from None


def printable(text: object) -> str:
    """On one line, with what would steer a terminal written out."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text)
    )


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE}


def disk_sentence(error: OSError) -> str | None:
    """Which file the disk refuses, and why; None for an error of another kind."""
    file = error.filename or "a file"
    if error.errno in FULL:
        return f"{file} cannot be written: {error.strerror}; make room"
    if error.errno in REFUSED:
        return f"{file} cannot be read or written: {error.strerror}; put that right"
    return None


# How torch, CUDA and the C++ library say it; CUDA's own type of error is a RuntimeError too.
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or the device had no memory left; what merely fails is another matter."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def memory_sentence(config: Any) -> str:
    """What takes memory in a run of this config, a `tlcl.config.schema.Config`, and how to need less."""
    return (
        f"out of memory with data.batch_size={config.data.batch_size}; start anew, in another run_dir, with a "
        f"smaller data.batch_size or model.input_size={config.model.input_size}, fewer thawed blocks or "
        "trainer.precision=bf16-mixed"
    )


@contextmanager
def reading(what: str) -> Iterator[None]:
    """No memory left while data are read is said of the data, not of the training.

    Args:
        what: the key and value that name them.

    Raises:
        TrainingError: no memory was left.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"out of memory while the images of {what} were read; decode them to a smaller data.size, or give fewer"
        ) from None


@contextmanager
def as_sentences(config: Any, directory: Path) -> Iterator[None]:
    """Errors of a run that the user can understand become one sentence; what was written stays.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM.
        Stopped: the disk is full, or refuses to be written.
        TrainingError: no memory left.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(directory) from None
    except Stopped as stop:
        raise stop.at(directory) from None
    except OSError as error:
        sentence = disk_sentence(error)
        if sentence is None:
            raise
        raise Stopped(sentence, directory) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(memory_sentence(config)) from None
