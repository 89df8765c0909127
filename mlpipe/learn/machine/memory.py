"""Memory of CPU tensors: freed memory is reused without asking the system each time."""

from __future__ import annotations

import ctypes
import os

# From glibc's malloc.h: the maximum number of separately mapped blocks, and of free bytes kept at the end of the heap.
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1
_MOST_KEPT = 2**31 - 1


def keep_freed() -> None:
    """Keep freed memory in the process for the next tensor, if glibc allocates it.

    By default glibc maps each block of more than 32 MiB separately and unmaps it when it is freed: at every layer the system
    provides a batch's activations page by page, filled with zeros. With this setting they are taken from the heap; up to 2 GiB
    of free memory at its end stay with the process. Nothing is changed if `MALLOC_MMAP_MAX_`, `MALLOC_TRIM_THRESHOLD_` or
    `GLIBC_TUNABLES` specify something else, or with another C library. Numerical results do not change.
    """
    is_said = {"MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"} & set(os.environ)
    if is_said or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "") or os.name != "posix":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)
