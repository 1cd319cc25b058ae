"""How much memory there is, and how the C library keeps what training frees and takes again in every step."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

import psutil

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, macros of malloc.h


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next step; elsewhere, do nothing.

    By default it hands the memory of large tensors back to the kernel and has every page zeroed again a step later.
    """
    # Windows has no name for "this program" among its libraries.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
        mallopt(MMAP_THRESHOLD, 32 << 20)


def available_memory(groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that can still be taken: of the machine, or of the container that this process runs in, if it has less.

    Args:
        groups: where Linux says which control groups a process is in.
        root: where it shows what they may take (version 2, or 1 below `memory`).
    """
    free = int(psutil.virtual_memory().available)
    for folder in _memory_groups(groups, root):
        for limit, used, freed in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            with suppress(OSError, ValueError, KeyError):  # "max" where there is no limit
                most, taken = (int((folder / name).read_text()) for name in (limit, used))
                pages = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                # Pages of files that nobody has touched for long are given back when memory is asked for.
                free = min(free, max(0, most - taken + int(pages[freed])))
    return free


def _memory_groups(groups: Path, root: Path) -> list[Path]:
    """Folders of the groups whose limits hold: this process's own and those above it."""
    found = [root, root / "memory"]  # inside a container its own group is the root
    with suppress(OSError, ValueError):
        for line in groups.read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers == "" or "memory" in controllers.split(","):
                base = root / "memory" if controllers else root
                own = base / name.lstrip("/")
                found += [own, *(folder for folder in own.parents if folder.is_relative_to(base))]
    return found
