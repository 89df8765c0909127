"""Picklable loader arguments for processes that are not forked: memory maps by file name, own steps by their recipes.

Under `spawn` (macOS, Windows) and `forkserver` (Linux from Python 3.14 on) everything that a loader process works with is
pickled. The cache would be sent byte by byte; a step that a user's own function returns is often a function within it,
which cannot be sent at all.
"""

from __future__ import annotations

import io
import logging
import mmap
import multiprocessing
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.errors import first_line

log = logging.getLogger("mlpipe")


@dataclass(frozen=True)
class _Mapped:
    """A memory-mapped array by its place."""

    file: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int


def packed(values: npt.NDArray[Any]) -> Any:
    """An array as it is to be pickled: a whole memory-mapped file by its name, anything else as it is."""
    if not isinstance(values, np.memmap):
        return values
    # A part of one has the file's offset all the same.
    whole: object = values.base
    return (
        _Mapped(str(values.filename), values.dtype, values.shape, values.offset)
        if isinstance(whole, mmap.mmap)
        else values
    )


def unpacked(stored: Any) -> npt.NDArray[Any]:
    """The array again; a memory-mapped one is opened for reading."""
    if not isinstance(stored, _Mapped):
        values: npt.NDArray[Any] = stored
        return values
    return np.memmap(stored.file, stored.dtype, "r", stored.offset, stored.shape)


class OwnStep:
    """A step that is made anew where it is sent to.

    Args:
        make: Makes the step; it can be pickled.
        step: The step, where it is made already.
    """

    def __init__(self, make: Callable[[], Any], step: Any = None) -> None:
        self._make, self._step = make, make() if step is None else step

    def __reduce__(self) -> tuple[Any, ...]:
        return OwnStep, (self._make,)

    def __call__(self, *given: Any, **named: Any) -> Any:
        """The output of the step."""
        return self._step(*given, **named)


def workers_for(dataset: Any, workers: int) -> int:
    """The number of loader processes for a data set: none, with a line in the log, where it cannot be sent to them.

    Args:
        dataset: What they would load from.
        workers: How many are wanted.
    """
    if workers == 0 or multiprocessing.get_start_method() == "fork":
        return workers
    try:
        pickle.Pickler(_Nothing(), pickle.HIGHEST_PROTOCOL).dump(dataset)
    except Exception as error:
        # Classes of a user's own may raise anything here.
        log.warning(
            f"sys.num_workers: images are loaded by the training process itself, because loader processes that are started "
            f"by {multiprocessing.get_start_method()} cannot be given them ({first_line(error)})"
        )
        return 0
    return workers


class _Nothing(io.RawIOBase):
    """Takes what is written and keeps nothing."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)
