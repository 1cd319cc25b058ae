"""Folders for what may still turn out to be a mistake: one process at a time holds them, and none is left empty."""

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from tlcl.errors import UserError

LOCK = ".lock"


def make_folders(path: Path) -> list[Path]:
    """Make `path` and what is missing above it; returns what was made, outermost first.

    Raises:
        OSError: it cannot be made; then nothing is.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()][::-1]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        remove_empty(missing)
        raise
    return missing


def remove_empty(folders: Sequence[Path]) -> None:
    """Take away those of `folders`, outermost first, that have nothing in them."""
    for folder in reversed(folders):
        with suppress(OSError):
            folder.rmdir()


class HeldFolder:
    """A folder that one process at a time writes.

    The kernel drops the lock when the process dies, however it dies.

    Args:
        path: made when it is not there.
        key: of the config, in sentences.

    Raises:
        UserError: another process holds it, or it cannot be written.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self._made = path, list[Path]()
        try:
            self._made = make_folders(path)
            self._before = {entry.name for entry in path.iterdir()}
            self._lock: IO[str] = open(path / LOCK, "a")  # noqa: SIM115 (held while the run lives)
        except OSError as error:
            remove_empty(self._made)
            raise UserError(f"{key}={path} cannot be written: {error.strerror or error}") from None
        if not self._taken():
            self._lock.close()
            remove_empty(self._made)
            raise UserError(f"another process is writing to {path}; choose another {key} or wait")

    def _taken(self) -> bool:
        with suppress(OSError):  # a file system without locks cannot tell, and is refused too
            mine = lock_descriptor(self._lock.fileno(), blocking=False)
            # The holder before may have taken the file away since it was opened here.
            return mine and os.path.samestat(os.fstat(self._lock.fileno()), os.stat(self.path / LOCK))
        return False

    def new(self) -> set[str]:
        """Names of what came into the folder since it is held."""
        return {entry.name for entry in self.path.iterdir()} - self._before

    def release(self) -> None:
        """Let another process hold it."""
        self._lock.close()

    def take_away(self, names: Iterable[str] = ()) -> None:
        """Release it without what is new of `names`, and without the folders that were made for it, if empty."""
        if self._lock.closed:
            return
        new = self.new()
        for name in names:
            if name not in new:
                continue
            entry = self.path / name
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        if LOCK in new:
            try:
                (self.path / LOCK).unlink()  # still held, so that nobody else can hold it by then
                self._lock.close()
            except OSError:  # Windows deletes no open file
                self._lock.close()
                with suppress(OSError):
                    (self.path / LOCK).unlink()
        self._lock.close()
        remove_empty(self._made)
