"""Memory that runs out is known as such, in whatever words, and is one sentence for whoever typed the command."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mlpipe import cli, errors
from mlpipe.errors import is_out_of_memory
from mlpipe.learn import recovery

WORDS = [
    "could not create a primitive",
    "could not create a primitive descriptor for a convolution forward propagation primitive",
    "std::bad_alloc",
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9",
    "CUDA out of memory. Tried to allocate 2.00 GiB",
]


@pytest.mark.parametrize("words", WORDS)
def test_the_words_of_libraries(words: str) -> None:
    assert is_out_of_memory(RuntimeError(words)) and recovery.is_out_of_memory(RuntimeError(words))
    assert not is_out_of_memory(ValueError(words))
    assert not recovery.is_out_of_memory(RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\n{words}"))
    assert recovery.memory_shortage(lambda: (_ for _ in ()).throw(RuntimeError(words))) == words


def test_errors_that_are_of_memory_by_their_kind() -> None:
    for error in (
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((10**6,), np.dtype(float)),
        torch.OutOfMemoryError("x"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ):
        assert is_out_of_memory(error) and recovery.memory_shortage(lambda error=error: (_ for _ in ()).throw(error))
    for other in (RuntimeError("shapes do not fit"), OSError(errno.ENOSPC, "full"), KeyError("bad_alloc")):
        assert not is_out_of_memory(other)


def test_a_thread_that_does_not_start_is_of_memory_where_its_stack_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = RuntimeError("can't start new thread")
    assert not is_out_of_memory(error)

    def full(*_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", full)
    assert is_out_of_memory(error)


def test_a_command_ends_with_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def short(*_: object) -> int:
        raise MemoryError("Unable to allocate 7.45 TiB for an array")

    monkeypatch.setattr(cli, "_run", short)
    assert cli.main(["post"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "memory ran out (Unable to allocate 7.45 TiB for an array); free memory, or use less at a time"
    )
    assert "unexpected" not in line and errors.in_short(MemoryError()).startswith("memory ran out (MemoryError)")


def test_onednn_without_memory_is_known(tmp_path: Path) -> None:
    """A real shortage: a convolution under a limit of the address space, whatever the library then says."""
    script = """
import resource, torch
from mlpipe.errors import is_out_of_memory
torch.set_num_threads(1)
layer, images = torch.nn.Conv2d(3, 64, 7), torch.zeros(64, 3, 256, 256)
layer(images[:1, :, :16, :16])
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 2**25
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    layer(images)
    print("fits")
except Exception as error:
    print(is_out_of_memory(error), error)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("limits of the address space are Linux's")
    top = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": top},
    )
    assert done.stdout.startswith("True"), done
