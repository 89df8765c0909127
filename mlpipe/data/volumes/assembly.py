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

# Batches that wait for the writer; more would only need memory.
_IN_FLIGHT = 2
# Bytes of predictions after which mapped pages are given back, and bytes of a band that is converted at once.
_RELEASE_AFTER = 16 << 20
_BAND = 16 << 20


@contextmanager
def assembled(
    path: Path, grids: Sequence[Grid], *, precision: Precision = "single", layout: Layout = "channels_last"
) -> Iterator[Assembly]:
    """A file with one dataset for each slice set, there when all predictions are in it and not before.

    Args:
        path: The file; another one of this name stays as it is until then.
        grids: The slices of each set.
        precision: Numbers of 32 or 16 bit.
        layout: Where a dataset's channels are.

    Raises:
        DataError: When a number is too large for half precision, or predictions are missing at the end.
        OSError: When there is no disk space for the file.
    """
    with files.durable(path) as temporary, ExitStack() as stack:
        assembly = Assembly(temporary, grids, precision, layout, stack)
        yield assembly
        assembly.finish()


class Assembly:
    """Takes predictions batch by batch, and writes them in a thread of its own.

    Overlaps are summed in the file, each prediction with its share of their mean, which is known beforehand; half
    precision is made of 32-bit sums at the end. Files are mapped, so that memory is bounded by the batches that wait.

    Args:
        path: The file to make.
        grids: The slices of each set.
        precision: Numbers of 32 or 16 bit.
        layout: Where a dataset's channels are.
        stack: Closes what it opens.
    """

    def __init__(
        self, path: Path, grids: Sequence[Grid], precision: Precision, layout: Layout, stack: ExitStack
    ) -> None:
        self._path, self._grids, self._stack = path, grids, stack
        self._dtype = np.dtype(np.float16 if precision == "half" else np.float32)
        self._layout, self._unreleased_bytes = layout, 0
        # How many predicted values are NaN or infinite, as far as they are written.
        self.odd = 0
        self._missing = [len(grid) for grid in grids]
        self._stored: list[Floats] = []
        self._sums: list[Floats] = []
        self._writer = stack.enter_context(ThreadPoolExecutor(1, "slices"))
        self._waiting: deque[Future[None]] = deque()

    def put(self, which: int, first: int, predictions: npt.NDArray[np.float32]) -> None:
        """Hand on the predictions of the next slices of a set; waits while too many are not written yet.

        Args:
            which: The set's position.
            first: The first slice.
            predictions: Shape (slices, channels, *seen); not to be changed afterwards.

        Raises:
            DataError: When a number of an earlier batch is too large for half precision.
            ValueError: When slices are not the next ones.
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
        """Wait for the writer, and turn sums into what is stored.

        Raises:
            DataError: When predictions are missing, or too large for half precision.
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
        """Make the file with all its datasets, and reserve their disk space."""
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
        """Zeros of 32 bit in a file without a name beside the other."""
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
    """Make a dataset in one piece that nothing is written into yet, and say where in the file it begins."""
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple(shape)
    dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(dtype), space, how)
    return int(dataset.get_offset())


def _reserve(opened: IO[bytes], size: int) -> None:
    """Make a file so large that writing to it cannot fail for want of disk space."""
    opened.truncate(size)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(opened.fileno(), 0, size)


def _too_large(values: Floats) -> DataError:
    finite = np.abs(values[np.isfinite(values)])
    fix = "use single precision"
    return DataError(problem("half precision", "holds numbers up to 65,504", got=float(finite.max()), fix=fix))
