"""Read arrays of HDF5 files without following links to other files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpipe import limits
from mlpipe.errors import first_line, is_out_of_memory
from mlpipe.lazy_imports import LazyModule

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]
else:
    h5py = LazyModule("h5py")

Array = np.ndarray[Any, Any]
ENDS = (".h5", ".hdf5")


def arrays(path: Path) -> Iterator[tuple[str, Array]]:
    """Yield name (groups separated by slashes) and values of every dataset of a file, one at a time, sorted by name.

    Raises:
        OSError: When the file cannot be opened.
        ValueError: When it is damaged, contains a link, has data in another file, or claims to be far larger than it is.
    """
    # Check the total, too: one array may have many names, and many without stored data may each be just small enough.
    stored, unpacked = limits.require_ordinary(path), 0
    with opened(path) as file:
        for name, value in _arrays_below(file, "", set(), [0]):
            unpacked += value.nbytes
            limits.require_growth(stored, unpacked, path.name)
            yield name, value


def array(path: Path, name: str) -> Array:
    """Return one dataset of a file.

    Raises:
        OSError: When the file cannot be opened.
        ValueError: When there is no such dataset, and as for `arrays`.
    """
    with opened(path) as file:
        place = file
        for part in name.split("/"):
            place = _own(place, part)
        return values(place)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file for reading, and raise the library's various errors about damaged files as `ValueError`.

    Raises:
        OSError: When it cannot be opened, or is not an ordinary file.
        ValueError: When anything in it is damaged.
    """
    limits.require_ordinary(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (KeyError, RuntimeError, TypeError, AttributeError, OverflowError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(f"it is damaged ({first_line(error)})") from error


def require_whole(file: Any) -> None:
    """Require that an open file has no data in other files.

    Raises:
        ValueError: When there is a link to another file.
    """

    def outside(name: str, link: Any) -> str | None:
        return name if isinstance(link, h5py.ExternalLink) else None

    name = file.visititems_links(outside)
    if name is not None:
        raise ValueError(f"{name} is a link to another file")


def lies_elsewhere(dataset: Any) -> bool:
    """Return whether the values of a dataset are in other files."""
    return bool(dataset.external or dataset.is_virtual)


def require_chunks(dataset: Any) -> None:
    """Refuse a dataset with a chunk, which is decompressed as a whole, that is far larger than the stored data.

    Raises:
        ValueError: When a chunk is too large; it may be larger than the dataset itself.
    """
    chunk = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
    limits.require_growth(dataset.id.get_storage_size(), chunk, f"a chunk of {dataset.name}")


def values(dataset: Any) -> Array:
    """Return the values of a dataset.

    Raises:
        ValueError: When it is not a dataset, its values are in another file, or it claims to be far larger than it is.
    """
    if not isinstance(dataset, h5py.Dataset) or lies_elsewhere(dataset):
        raise ValueError(f"{getattr(dataset, 'name', dataset)} is no plain array")
    if dataset.dtype.kind == "O":
        raise ValueError(f"{dataset.name} holds objects, no numbers")
    require_chunks(dataset)
    limits.require_growth(dataset.id.get_storage_size(), dataset.size * dataset.dtype.itemsize, dataset.name)
    return np.asarray(dataset[()])


def _own(group: Any, name: str) -> Any:
    if not isinstance(group, h5py.Group) or name not in group:
        raise KeyError(f"there is no {name}")
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link")
    return group[name]


def _arrays_below(group: Any, above: str, addresses: set[int], empty: list[int]) -> Iterator[tuple[str, Array]]:
    """Yield the arrays below a group.

    Args:
        group: The group.
        above: Its name.
        addresses: The groups visited so far.
        empty: Number of empty groups so far.
    """
    # A group may contain itself.
    address = int(h5py.h5o.get_info(group.id).addr)
    if address in addresses:
        return
    addresses.add(address)
    names = sorted(group)
    empty[0] += not names
    if empty[0] > limits.EMPTY_GROUPS:
        raise ValueError(f"more than {limits.EMPTY_GROUPS:,} of its groups hold nothing")
    for name in names:
        item = _own(group, name)
        if isinstance(item, h5py.Group):
            yield from _arrays_below(item, f"{above}{name}/", addresses, empty)
        else:
            yield f"{above}{name}", values(item)
