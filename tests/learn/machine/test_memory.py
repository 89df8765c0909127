"""Freed memory is used again."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
import numpy as np
from mlpipe.learn.machine import memory
if sys.argv[1] == "kept":
    memory.keep_freed()
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(48 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
pages()
print(min(pages() for _ in range(3)))
"""


@pytest.mark.skipif(
    os.name != "posix" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="needs the C library glibc"
)
def test_a_large_block_is_handed_out_by_the_system_once() -> None:
    def faults(word: str, **around: str) -> int:
        huge = {"NUMPY_MADVISE_HUGEPAGE": "0"}
        command = [sys.executable, "-c", _FAULTS, word]
        ended = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, **huge, **around}
        )
        return int(ended.stdout)

    # 48 MiB are 12,288 pages of 4 KiB.
    assert faults("") > 700
    assert faults("kept") < 20
    # Somebody's own setting stays.
    assert faults("kept", MALLOC_MMAP_MAX_="65536") > 700
    assert faults("kept", GLIBC_TUNABLES="glibc.malloc.mmap_threshold=33554432") > 700
