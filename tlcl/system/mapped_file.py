"""Tensors in memory-mapped files: whole or not there, found by name, deleted when nobody uses them."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from tlcl.system.files import atomic_open, remove_partials

UNUSED_DAYS = 30
OURS = "[0-9a-f]" * 32  # how the names begin, by a hash; whatever else lies in the folder stays


def open_mapped(path: Path, count: int, dtype: torch.dtype) -> Tensor | None:
    """The file's `count` numbers, read when they are touched; None when it is not there or has another size."""
    if not path.is_file() or path.stat().st_size != count * dtype.itemsize:
        return None
    with suppress(OSError):  # in a folder of others it can be read all the same
        os.utime(path)
    return torch.from_file(str(path), shared=False, size=count, dtype=dtype)


def build_mapped(path: Path, count: int, dtype: torch.dtype, fill: Callable[[Tensor], None]) -> Tensor:
    """A new file that `fill` writes through a map of it; a build that is killed leaves nothing that is read.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tidy(path.parent)
    size = count * dtype.itemsize
    with atomic_open(path) as file:
        # Claimed at once: a map of a file that the disk has no room for ends in a signal, not in an error.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            for start in range(0, size, 1 << 24):
                file.write(bytes(min(1 << 24, size - start)))
            file.flush()
        fill(torch.from_file(file.name, shared=True, size=count, dtype=dtype))
    built = open_mapped(path, count, dtype)
    if built is None:
        raise OSError(f"{path} vanished")
    return built


def tidy(folder: Path) -> None:
    """Delete what killed builds left in `folder`, and files that no run has opened for a month."""
    remove_partials(folder, OURS)
    for path in folder.glob(f"{OURS}.*.bin"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - UNUSED_DAYS * 86400:
                path.unlink()
