"""Memory of the processor's tensors: what a network frees it takes again, without asking the system each time."""

from __future__ import annotations

import ctypes
import os

# Of glibc's malloc.h: up to how many blocks are mapped singly, and how many free bytes are kept at the end of the heap.
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1
_MOST_KEPT = 2**31 - 1


def keep_freed() -> None:
    """Keep freed memory in the process for the next tensor, where glibc allocates it.

    By default glibc maps each block of more than 32 MiB singly and unmaps it when it is freed: a batch's activations are
    handed out by the system, and filled with zeros, page by page at every layer. Kept, they are taken from the heap; up to
    2 GiB that are free at its end stay with the process. Where `MALLOC_MMAP_MAX_`, `MALLOC_TRIM_THRESHOLD_` or `GLIBC_TUNABLES`
    say something else, and with another C library, nothing is changed. Numbers are not touched.
    """
    is_said = {"MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"} & set(os.environ)
    if is_said or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "") or os.name != "posix":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)
