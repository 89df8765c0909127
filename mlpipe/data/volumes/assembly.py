"""Volume predictions written to one HDF5 file slice by slice, while the next slices are computed."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe import files
from mlpipe.data.volumes import slices
from mlpipe.data.volumes.arrays import release
from mlpipe.data.volumes.slices import Floats, Grid
from mlpipe.errors import DataError, problem
from mlpipe.lazy_imports import LazyModule

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]
else:
    h5py = LazyModule("h5py")

Precision = Literal["single", "half"]
Layout = Literal["channels_last", "channels_first"]

# Batches that wait for the writer; more would only take memory.
_IN_FLIGHT = 2
# Bytes of predictions after which mapped pages are released, and bytes of a band that is converted at once.
_RELEASE_AFTER = 16 << 20
_BAND = 16 << 20


@contextmanager
def assembled(
    path: Path, grids: Sequence[Grid], *, precision: Precision = "single", layout: Layout = "channels_last"
) -> Iterator[Assembly]:
    """Write a file with one dataset per slice set; it appears under its name only when all predictions are in it.

    Args:
        path: The file; an existing file of this name is kept until then.
        grids: The slices of each set.
        precision: 32-bit or 16-bit floats.
        layout: The position of the channel axis of datasets.

    Raises:
        DataError: If a value is too large for half precision, or predictions are missing at the end.
        OSError: If there is not enough disk space for the file.
    """
    with files.durable(path) as temporary, ExitStack() as stack:
        assembly = Assembly(temporary, grids, precision, layout, stack)
        yield assembly
        assembly.finish()


class Assembly:
    """Receives predictions batch by batch and writes them in a separate thread.

    Overlapping predictions are summed in the file, each weighted with its share of the mean, which is known in advance; half
    precision is converted from 32-bit sums at the end. Files are mapped, so that only waiting batches take memory.

    Args:
        path: The file to write.
        grids: The slices of each set.
        precision: 32-bit or 16-bit floats.
        layout: The position of the channel axis of datasets.
        stack: Closes what is opened.
    """

    def __init__(
        self, path: Path, grids: Sequence[Grid], precision: Precision, layout: Layout, stack: ExitStack
    ) -> None:
        self._path, self._grids, self._stack = path, grids, stack
        self._dtype = np.dtype(np.float16 if precision == "half" else np.float32)
        self._layout, self._unreleased_bytes = layout, 0
        # The number of predicted values written so far that are NaN or infinite.
        self.odd = 0
        self._missing = [len(grid) for grid in grids]
        self._stored: list[Floats] = []
        self._sums: list[Floats] = []
        self._writer = stack.enter_context(ThreadPoolExecutor(1, "slices"))
        self._waiting: deque[Future[None]] = deque()

    def put(self, which: int, first: int, predictions: npt.NDArray[np.float32]) -> None:
        """Queue the predictions of the next slices of a set; waits while too many are not yet written.

        Args:
            which: The index of the set.
            first: The index of the first slice.
            predictions: Shape (slices, channels, *seen); must not be changed afterwards.

        Raises:
            DataError: If a value of an earlier batch is too large for half precision.
            ValueError: If the slices are not the next ones.
        """
        if first != len(self._grids[which]) - self._missing[which]:
            raise ValueError(f"slice {first} of {self._grids[which].cut.name} is not the next one")
        if not self._stored:
            self._make(predictions.shape[1])
        while len(self._waiting) >= _IN_FLIGHT:
            self._waiting.popleft().result()
        self._missing[which] -= len(predictions)
        self._waiting.append(self._writer.submit(self._write, which, first, predictions))

    def finish(self) -> None:
        """Wait for the writer, and convert sums to the stored values.

        Raises:
            DataError: If predictions are missing, or too large for half precision.
        """
        for future in self._waiting:
            future.result()
        if any(self._missing):
            raise DataError(problem(self._path.name, f"{sum(self._missing)} predictions are missing"))
        for stored, sums in zip(self._stored, self._sums, strict=True):
            if sums is not stored:
                rows = max(1, _BAND // max(sums[0].nbytes, 1))
                for at in range(0, len(sums), rows):
                    self._convert(stored[at : at + rows], sums[at : at + rows])
                    release(sums)
                    release(stored)

    def _make(self, channels: int) -> None:
        """Create the file with all its datasets, and reserve their disk space."""
        shapes = [
            (*grid.extent, channels) if self._layout == "channels_last" else (channels, *grid.extent)
            for grid in self._grids
        ]
        with h5py.File(self._path, "w") as file:
            offsets = [
                _dataset(file, grid.cut.name, shape, self._dtype)
                for grid, shape in zip(self._grids, shapes, strict=True)
            ]
        with self._path.open("r+b") as opened:
            _reserve(opened, self._path.stat().st_size)
        for grid, shape, offset in zip(self._grids, shapes, offsets, strict=True):
            stored = np.memmap(self._path, self._dtype, "r+", offset, shape)
            self._stored.append(stored)
            is_summed_apart = grid.overlaps and self._dtype == np.float16
            self._sums.append(self._scratch(shape) if is_summed_apart else stored)

    def _scratch(self, shape: tuple[int, ...]) -> Floats:
        """Return 32-bit zeros in an unnamed file beside the other."""
        opened = self._stack.enter_context(tempfile.TemporaryFile(dir=self._path.parent))  # noqa: SIM115
        _reserve(opened, int(np.prod(shape, dtype=np.int64)) * 4)
        return np.memmap(opened, np.float32, "r+", 0, shape)

    def _write(self, which: int, first: int, predictions: npt.NDArray[np.float32]) -> None:
        sums, grid = self._sums[which], self._grids[which]
        joined = np.moveaxis(sums, -1, 0) if self._layout == "channels_last" else sums
        self.odd += predictions.size - int(np.count_nonzero(np.isfinite(predictions)))
        for number, prediction in enumerate(predictions):
            try:
                slices.put(joined, grid, first + number, prediction)
            except FloatingPointError:
                raise _too_large(prediction) from None
        self._unreleased_bytes += predictions.nbytes
        if self._unreleased_bytes >= _RELEASE_AFTER:
            self._unreleased_bytes = 0
            release(sums)

    def _convert(self, stored: Floats, sums: Floats) -> None:
        try:
            with np.errstate(over="raise"):
                stored[...] = sums
        except FloatingPointError:
            raise _too_large(sums) from None


def _dataset(file: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Create a contiguous, still unwritten dataset, and return its offset in the file."""
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(dtype), space, how)
    return int(dataset.get_offset())


def _reserve(opened: IO[bytes], size: int) -> None:
    """Extend a file so that later writes cannot fail for lack of disk space."""
    opened.truncate(size)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(opened.fileno(), 0, size)


def _too_large(values: Floats) -> DataError:
    finite = np.abs(values[np.isfinite(values)])
    fix = "use single precision"
    return DataError(problem("half precision", "holds numbers up to 65,504", got=float(finite.max()), fix=fix))
