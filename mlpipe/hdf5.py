"""HDF5 arrays, and nothing that such a file only points to: no other file is opened in passing."""

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
    """Every dataset of a file with its name (groups divided by slashes), in the order of the names, one at a time.

    Raises:
        OSError: When the file cannot be opened.
        ValueError: When it is damaged, something in it is a link, lies in another file, or says to be far larger than it is.
    """
    # One array may stand under many names, and many that hold nothing be just small enough.
    stored, unpacked = limits.require_ordinary(path), 0
    with opened(path) as file:
        for name, value in _arrays_below(file, "", set(), [0]):
            unpacked += value.nbytes
            limits.require_growth(stored, unpacked, path.name)
            yield name, value


def array(path: Path, name: str) -> Array:
    """One dataset of a file.

    Raises:
        OSError: When the file cannot be opened.
        ValueError: When there is no such dataset, and as `arrays` raises it.
    """
    with opened(path) as file:
        place = file
        for part in name.split("/"):
            place = _own(place, part)
        return values(place)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file that is open for reading; what the library says of a damaged one, in many ways, is one kind of error.

    Raises:
        OSError: When it cannot be opened, or is no ordinary file.
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
    """Demand that an open file is all in itself.

    Raises:
        ValueError: When there is a link to another file.
    """

    def outside(name: str, link: Any) -> str | None:
        return name if isinstance(link, h5py.ExternalLink) else None

    name = file.visititems_links(outside)
    if name is not None:
        raise ValueError(f"{name} is a link to another file")


def lies_elsewhere(dataset: Any) -> bool:
    """Whether the numbers of a dataset are in other files."""
    return bool(dataset.external or dataset.is_virtual)


def require_chunks(dataset: Any) -> None:
    """Refuse a dataset one chunk of which, that is unpacked whole, is far larger than what is stored; it may be larger than all.

    Raises:
        ValueError: When it is.
    """
    chunk = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
    limits.require_growth(dataset.id.get_storage_size(), chunk, f"a chunk of {dataset.name}")


def values(dataset: Any) -> Array:
    """The numbers of a dataset.

    Raises:
        ValueError: When it is none, its numbers are in another file, or it says to be far larger than it is.
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
    """The arrays below a group.

    Args:
        group: The group.
        above: Its name.
        addresses: The groups that were gone through.
        empty: How many of them hold nothing.
    """
    # A group may lie in itself.
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
