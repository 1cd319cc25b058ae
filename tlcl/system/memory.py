"""How the C library keeps the memory that training frees and takes again in every step."""

import ctypes
import os

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
