"""Loader processes: their inputs can be pickled, they end with their parent process, and they leave signals to it.

With `spawn` (macOS, Windows) and `forkserver` (Linux from Python 3.14 on), everything that a loader process uses is
pickled. The cache would be sent byte by byte, so memory maps are sent as file names; a step from a user's function is
often a nested function, which cannot be pickled, so such steps are sent as the recipe that makes them.

A signal to a whole process group (Ctrl-C in a terminal, a cluster that preempts a job) also reaches loader processes. They
ignore it, so that the current batch is finished; their parent ends them, and if the parent dies, even by SIGKILL, the
system does.
"""

from __future__ import annotations

import ctypes
import io
import logging
import mmap
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.errors import first_line

log = logging.getLogger("mlpipe")

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class _Mapped:
    """A memory-mapped array by its file."""

    file: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int


def packed(values: npt.NDArray[Any]) -> Any:
    """Return an array in the form to pickle: a file name for a whole memory-mapped file, anything else as it is."""
    if not isinstance(values, np.memmap):
        return values
    # A slice of a memory map also has the file's offset.
    whole: object = values.base
    return (
        _Mapped(str(values.filename), values.dtype, values.shape, values.offset)
        if isinstance(whole, mmap.mmap)
        else values
    )


def unpacked(stored: Any) -> npt.NDArray[Any]:
    """Return the array again; a memory-mapped one is opened for reading."""
    if not isinstance(stored, _Mapped):
        values: npt.NDArray[Any] = stored
        return values
    return np.memmap(stored.file, stored.dtype, "r", stored.offset, stored.shape)


class OwnStep:
    """Step that is made again in the process it is sent to.

    Args:
        make: Makes the step; can be pickled.
        step: The step, if it is already made.
    """

    def __init__(self, make: Callable[[], Any], step: Any = None) -> None:
        self._make, self._step = make, make() if step is None else step

    def __reduce__(self) -> tuple[Any, ...]:
        return OwnStep, (self._make,)

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Return the output of the step."""
        return self._step(*given, **named)


def workers_for(dataset: Any, workers: int) -> int:
    """Return the number of loader processes for a data set: none, with a log message, if it cannot be pickled.

    Args:
        dataset: The data set to load from.
        workers: The wanted number.
    """
    if workers == 0 or multiprocessing.get_start_method() == "fork":
        return workers
    try:
        pickle.Pickler(_Nothing(), pickle.HIGHEST_PROTOCOL).dump(dataset)
    except Exception as error:
        # A user's own classes may raise anything here.
        log.warning(
            f"sys.num_workers: images are loaded by the training process itself, because loader processes that are started "
            f"by {multiprocessing.get_start_method()} cannot be given them ({first_line(error)})"
        )
        return 0
    return workers


class _Nothing(io.RawIOBase):
    """A file that discards what is written."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


def begin(worker: int) -> None:
    """Prepare a loader process, as a DataLoader's `worker_init_fn`.

    Args:
        worker: The worker's number, not used.
    """
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if sys.platform != "linux" or parent is None:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_end_at_sigterm, args=(parent.pid,), daemon=True).start()
    if multiprocessing.get_start_method() == "forkserver":
        # The parent of this process is the fork server, which outlives the process that it works for.
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:
        # The parent died before the system was told to watch it.
        os._exit(0)


def _end_with(sentinel: int) -> None:
    """End when the process that this one works for has ended, for whatever reason."""
    connection.wait([sentinel])
    os._exit(0)


def _end_at_sigterm(parent: int | None) -> None:
    """End at a SIGTERM from the parent; only a thread that waits for signals learns the sender."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)
