"""Array files (.npy, .npz, HDF5) that are read piece by piece, whatever their size."""

from __future__ import annotations

import errno
import math
import mmap
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlpipe import hdf5, limits
from mlpipe.data import visible_files
from mlpipe.errors import DataError, did_you_mean, in_short, listing, no_such_file, problem
from mlpipe.lazy_imports import LazyModule

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]
else:
    h5py = LazyModule("h5py")

ENDS = (".npy", ".npz", *hdf5.ENDS)
DAMAGED = (*limits.DAMAGED_ARRAY, KeyError, RuntimeError, OverflowError)
_PIECE = 1 << 20
# The share of the free disk space that an array with an extreme compression ratio may take.
_SMALL_SHARE = 0.1
# Bytes of slices after which the mapped pages of a volume are released.
RELEASE_AFTER = 16 << 20


class Volume:
    """An array in a file, of which only the requested parts are read.

    Args:
        array: A memory map, or an HDF5 dataset.
        name: Its name in the file; empty: none.
    """

    def __init__(self, array: Any, name: str) -> None:
        self.name, self._array = name, array
        self.shape: tuple[int, ...] = tuple(array.shape)

    def __getitem__(self, where: Any) -> Any:
        return self._array[where]

    def release(self) -> None:
        """Let the system reclaim the memory of what was read; it is read again when needed."""
        release(self._array)


def release(array: Any) -> None:
    """Release the mapped pages of a file; written data stay in the system's file cache.

    Args:
        array: A memory map of a file; anything else is left unchanged.
    """
    mapping = getattr(array, "base", None)
    if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def file_of(path: Path, key: str) -> Path:
    """Return the single file of a volume; `path` may be a folder.

    Raises:
        DataError: If it does not exist, or a folder holds no file or several.
    """
    if path.is_file():
        if path.suffix.lower() not in ENDS:
            raise DataError(problem(key, "is no array", got=str(path), fix=f"use a file in {listing(ENDS)}"))
        return path
    if not path.is_dir():
        raise DataError(no_such_file(key, path))
    array_files = [file for file in visible_files.entries(path) if file.suffix.lower() in ENDS]
    if len(array_files) != 1:
        wrong = f"holds {len(array_files)} arrays, slices are cut from one"
        raise DataError(problem(key, wrong, got=str(path), fix=f"name a file in {listing(ENDS)}"))
    return array_files[0]


@contextmanager
def opened(
    path: Path,
    key: str,
    *,
    dataset: str | None = None,
    dataset_key: str | None = None,
    scratch: Path | None = None,
) -> Iterator[Volume]:
    """Open the only array of a file, or the named one.

    Args:
        path: A .npy file, an .npz file (its array is unpacked to an unnamed file), or HDF5.
        key: The configuration key, for error messages.
        dataset: The name of the array, if an .npz or HDF5 file holds several.
        dataset_key: The configuration key of that name; None: `dataset` in the section of `key`.
        scratch: The folder to unpack an .npz in; None: the system's folder for temporary files.

    Raises:
        DataError: If it is damaged, holds no such array, or no array of numbers.
    """
    with ExitStack() as stack:
        yield _opened(stack, path, key, dataset, dataset_key, scratch)


def kept(path: Path, key: str, *, dataset: str | None = None, dataset_key: str | None = None) -> Volume:
    """Open a volume as `opened` does, for as long as it is used.

    Args:
        path: As for `opened`.
        key: As for `opened`.
        dataset: As for `opened`.
        dataset_key: As for `opened`.

    Raises:
        DataError: As for `opened`.
    """
    with ExitStack() as stack:
        volume = _opened(stack, path, key, dataset, dataset_key, None)
        weakref.finalize(volume, stack.pop_all().close)
    return volume


def _opened(
    stack: ExitStack, path: Path, key: str, dataset: str | None, dataset_key: str | None, scratch: Path | None
) -> Volume:
    """Return the array for `opened`; `stack` closes what is opened for it."""
    place = dataset_key or f"{key.rpartition('.')[0]}.dataset".lstrip(".")
    try:
        return _volume(stack, path, place, dataset, scratch)
    except DAMAGED as error:
        wrong = f"cannot be read ({in_short(error)})"
        raise DataError(problem(key, wrong, got=str(path), fix="save it again")) from error


def _volume(stack: ExitStack, path: Path, place: str, dataset: str | None, scratch: Path | None) -> Volume:
    match path.suffix.lower():
        case ".npy":
            return Volume(_mapped(stack.enter_context(path.open("rb"))), "")
        case ".npz":
            archive = stack.enter_context(zipfile.ZipFile(path))
            name = _array_name(
                [member[:-4] for member in archive.namelist() if member.endswith(".npy")], dataset, path, place
            )
            return Volume(_unpacked(archive, f"{name}.npy", stack, scratch), name)
        case _:
            file = stack.enter_context(h5py.File(path, "r"))
            name = _array_name(_datasets(file), dataset, path, place)
            return Volume(_hdf5_array(path, file[name]), name)


def _array_name(names: list[str], name: str | None, path: Path, place: str) -> str:
    """Return the name of the requested array, or of the only one.

    Raises:
        DataError: If there is none.
    """
    if name is None and len(names) == 1:
        return names[0]
    if name in names:
        return str(name)
    if name is not None:
        fix = did_you_mean(name, names, otherwise=f"there are {listing(names) or 'none'}")
        raise DataError(problem(place, f"{path.name} has no such array", got=name, fix=fix))
    fix = f"name one of {listing(names)}" if names else "save one array of numbers in it"
    raise DataError(problem(place, f"{path.name} holds {len(names)} arrays, slices are cut from one", fix=fix))


def _mapped(file: IO[bytes]) -> npt.NDArray[Any]:
    """Return the array of an open .npy file as a memory map.

    Raises:
        ValueError: If it is not such a file, or holds anything but numbers.
    """
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if header is None:
        raise ValueError(f"it is of version {version} of the format")
    shape, is_fortran, dtype = header(file)
    _require_numbers(shape, dtype)
    return np.memmap(file, dtype, "r", file.tell(), shape, "F" if is_fortran else "C")


def _unpacked(archive: zipfile.ZipFile, member: str, stack: ExitStack, scratch: Path | None) -> npt.NDArray[Any]:
    """Return a member of an .npz as a memory map of an unnamed file.

    Raises:
        OSError: If there is not enough disk space.
    """
    folder = Path(tempfile.gettempdir()) if scratch is None else scratch
    info = archive.getinfo(member)
    size, free = info.file_size, shutil.disk_usage(folder).free
    # Volumes of class numbers may compress a thousandfold; this is only accepted if little disk space is needed.
    most = limits.DEFLATED if size <= free * _SMALL_SHARE else limits.GROWTH
    limits.require_growth(info.compress_size, size, member, most)
    if size > free:
        raise OSError(errno.ENOSPC, f"{size:,} bytes are to be unpacked in {folder}, {free:,} are free")
    unpacked = stack.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
    with archive.open(member) as packed:
        shutil.copyfileobj(packed, unpacked, _PIECE)
    unpacked.seek(0)
    return _mapped(unpacked)


def _datasets(file: Any) -> list[str]:
    """Return the names of all datasets; links are not followed."""
    names: list[str] = []
    file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
    return names


def _hdf5_array(path: Path, dataset: Any) -> Any:
    """Return a dataset as a memory map if it is contiguous, else unchanged.

    Raises:
        ValueError: If its data are in other files, or it holds anything but numbers.
    """
    if hdf5.lies_elsewhere(dataset):
        raise ValueError("its numbers are in other files")
    _require_numbers(dataset.shape, dataset.dtype)
    hdf5.require_chunks(dataset)
    # A chunked dataset is read slice by slice and chunk by chunk, whatever its size.
    size, chunk = (math.prod(shape) * dataset.dtype.itemsize for shape in (dataset.shape, dataset.chunks or ()))
    most = limits.DEFLATED if chunk <= limits.UNPACKED else limits.GROWTH
    limits.require_growth(dataset.id.get_storage_size(), size, dataset.name, most)
    offset = dataset.id.get_offset()
    if offset is None or dataset.chunks is not None or dataset.id.get_create_plist().get_nfilters():
        return dataset
    return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)


def _require_numbers(shape: Any, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "buif" or not shape or 0 in shape:
        raise ValueError(f"it holds {list(shape or ())} of {dtype}, and is to be an array of numbers")
