"""Predictions in one HDF5 file: a dataset for each sample, named by the sample's file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe import files
from mlpipe.errors import DataError, problem
from mlpipe.lazy_imports import LazyModule
from mlpipe.runs.sinks import Predicted, Sink

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]
else:
    h5py = LazyModule("h5py")

Precision = Literal["single", "half"]
# The largest finite 16-bit number.
_LARGEST = float(np.finfo(np.float16).max)


class Hdf5Sink:
    """Add a dataset of float32 or float16 for each sample; folders in its name become groups.

    Args:
        file: The open file.
        parts: Leading folders of names to omit: the part of a task to which a sample belongs.
        precision: The precision of numbers, 32 (`single`) or 16 bits (`half`).
    """

    def __init__(self, file: Any, parts: Collection[str] = (), precision: Precision = "single") -> None:
        self._file, self._parts, self._half = file, parts, precision == "half"

    def add(self, predicted: Predicted) -> None:
        """Write the arrays of some samples, or their rows if they have no arrays.

        Args:
            predicted: The samples.
        """
        values = predicted.outputs if predicted.arrays is None else predicted.arrays
        for name, array in zip(predicted.ids, values, strict=True):
            part, _, rest = name.partition("/")
            self._file[rest if part in self._parts and rest else name] = self._stored_values(
                name, np.asarray(array, np.float32)
            )

    def _stored_values(self, name: str, values: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        if not self._half:
            return values
        if (largest := float(np.abs(values[np.isfinite(values)]).max(initial=0))) > _LARGEST:
            raise DataError(problem(name, "is too large for half precision", got=largest, fix="use single precision"))
        return values.astype(np.float16)


@contextmanager
def opened(path: Path, parts: Collection[str] = (), precision: Precision = "single") -> Iterator[Sink]:
    """Open a sink whose file appears once everything is written.

    Args:
        path: The file; its folder is created.
        parts: As in `Hdf5Sink`.
        precision: As in `Hdf5Sink`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.durable(path) as temporary, h5py.File(temporary, "w") as file:
        yield Hdf5Sink(file, parts, precision)
