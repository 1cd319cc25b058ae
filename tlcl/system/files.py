"""Files that are either wholly there or not there: temporary name, flush, rename."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from tlcl.errors import UserError
from tlcl.system.folders import make_folders, remove_empty


@contextmanager
def atomic_open(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary neighbour of `path` for binary writing; on success flush it to disk and rename it.

    A process killed at any moment leaves the old `path` (or none), never a half-written one; what it leaves of the
    temporary file `remove_partials` takes away.

    Raises:
        OSError: names `path`, also when it came up inside `torch.save`.
    """
    with naming(path):
        made = make_folders(path.parent)
        partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
        try:
            with open(partial, "xb") as file:
                with suppress(OSError):  # not every file system has locks
                    lock_descriptor(file.fileno())
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except RuntimeError as error:
            cause = error.__context__
            if isinstance(cause, OSError | KeyboardInterrupt):  # torch.save hides what meets it while it writes
                raise cause from None
            raise
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            remove_empty(made)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError in here names `path`, and no temporary file of it."""
    try:
        yield
    except OSError as error:
        if error.filename is None or ".partial" in str(error.filename):
            error.filename = str(path)
        raise


def atomic_write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically; what has no UTF-8, in a file's name, as `\\udcff`."""
    with atomic_open(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def remove_partials(folder: Path, names: str = "*") -> None:
    """Delete what killed processes left of files with such names in `folder`; what is being written stays."""
    for path in folder.glob(f".{names}.*.partial"):
        with suppress(OSError):  # another process may have taken it away
            with open(path, "rb") as file:
                left = lock_descriptor(file.fileno(), blocking=False)  # its writer holds it as long as it lives
            if left:  # closed before, as Windows deletes no open file
                path.unlink()


@contextmanager
def one_at_a_time(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file `path` (made when it is not there); `waiting` is called once when another process has it.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "a")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written: {error.strerror or error}") from None
    with lock as file:
        if not lock_descriptor(file.fileno(), blocking=False):
            waiting()
            lock_descriptor(file.fileno())
        yield
