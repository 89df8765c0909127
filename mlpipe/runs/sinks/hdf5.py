"""Predictions in one HDF5 file: a dataset for each sample, named by the sample's file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np

from mlpipe import files
from mlpipe.runs.sinks import Predicted, Sink


class Hdf5Sink:
    """Adds a dataset of float32 for each sample; folders in its name become groups.

    Args:
        file: The open file.
        parts: First folders of names that are left out: the part of a task that a sample came with.
    """

    def __init__(self, file: Any, parts: Collection[str] = ()) -> None:
        self._file, self._parts = file, parts

    def add(self, predicted: Predicted) -> None:
        """Write the arrays of some samples, or their rows where they have no arrays.

        Args:
            predicted: The samples.
        """
        values = predicted.outputs if predicted.arrays is None else predicted.arrays
        for name, one in zip(predicted.ids, values, strict=True):
            part, _, rest = name.partition("/")
            self._file[rest if part in self._parts and rest else name] = np.asarray(one, np.float32)


@contextmanager
def opened(path: Path, parts: Collection[str] = ()) -> Iterator[Sink]:
    """A sink whose file is there when everything was written.

    Args:
        path: The file; its folder is made.
        parts: As for `Hdf5Sink`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.durable(path) as temporary, h5py.File(temporary, "w") as file:
        yield Hdf5Sink(file, parts)
