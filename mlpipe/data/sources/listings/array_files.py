"""NumPy and HDF5 files with arrays of samples: the names of all arrays, and one array by its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe import hdf5, limits
from mlpipe.data import visible_files
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.sources.error_lists import raise_some
from mlpipe.data.sources.listings.array_layout import Form, oriented
from mlpipe.errors import DataError, first_line, listing, no_such_file, problem

Array = np.ndarray[Any, Any]
_DAMAGED = (*limits.DAMAGED_ARRAY, MemoryError, OverflowError)
ENDS = (".npy", ".npz", *hdf5.ENDS)
# The memory that samples with an extreme compression ratio may take: a share of the machine's memory, and bytes.
_SMALL_SHARE, _SMALL = 0.25, 2 << 30


def arrays(base: Path, key: str) -> Iterator[tuple[str, Array]]:
    """Yield every stored array of a file or folder with its name; files sorted by name.

    Args:
        base: The file or folder.
        key: The configuration key, for error messages.

    Raises:
        DataError: If there is none, or one is damaged.
    """
    if not base.exists():
        raise DataError(no_such_file(key, base, otherwise="name an existing file or folder"))
    paths = [base] if base.is_file() else [path for path in visible_files.files_below(base) if path.suffix in ENDS]
    if not paths or paths[0].suffix not in ENDS:
        wrong = "holds no NumPy or HDF5 file"
        raise DataError(problem(key, wrong, got=str(base), fix=f"its files end in {listing(ENDS)}"))
    has_some = False
    for path in paths:
        place = path.relative_to(base).as_posix() if path != base else path.name
        try:
            for name, value in _arrays_in_file(path):
                yield f"{place}:{name}" if name else place, value
                has_some = True
        except _DAMAGED as error:
            fix = "save it again with numpy.save or h5py"
            raise DataError(problem(str(path), f"cannot be read ({first_line(error)})", fix=fix)) from error
    if not has_some:
        raise DataError(problem(key, "holds no array", got=str(base), fix="save arrays in it with numpy.save or h5py"))


def _arrays_in_file(path: Path) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of one file with their names in it; the only one of a .npy has none."""
    if path.suffix == ".npy":
        yield "", _array(path)
    elif path.suffix in hdf5.ENDS:
        yield from hdf5.arrays(path)
    else:
        yield from _arrays_of_npz(path).items()


def arrays_below(base: Path, key: str, form: Form) -> Iterator[tuple[str, Array]]:
    """Yield every array of a file or folder with its name, shape (*spatial, channels), float32.

    Args:
        base: The file or folder.
        key: The configuration key, for error messages.
        form: The axis order of arrays.

    Raises:
        DataError: If there is none, or one is damaged or has other axes.
    """
    files, wide = visible_files.files_below(base) if base.is_dir() else [base] * base.is_file(), 0
    stored = sum(path.stat().st_size for path in files)
    # A byte becomes a float of four bytes, and all samples are in memory at the same time.
    width, small = np.dtype(np.float32).itemsize, min(limits.machine_memory() * _SMALL_SHARE, _SMALL)
    for name, value in arrays(base, key):
        wide += value.size * width
        # Class numbers may compress a thousandfold; this is only accepted if they take little memory.
        most = width * (limits.DEFLATED if wide <= small else limits.GROWTH)
        try:
            limits.require_growth(stored, wide, base.name, most)
        except ValueError as error:
            raise DataError(problem(key, str(error), fix="give files that hold what they say")) from error
        yield name, oriented(value, form, name)


def array_of(parts: Mapping[str, Any], name: str, form: Form) -> Array:
    """Return the array of a name, `PART/FILE:KEY`, shape (*spatial, channels), float32.

    Args:
        parts: The file or folder of each part.
        name: Its part, followed by its name as returned by `arrays`.
        form: The axis order of arrays.

    Raises:
        UnreadableImageError: If it cannot be read.
        DataError: If its axes have changed.
    """
    part, _, rest = name.partition("/")
    base = Path(parts[part])
    file, _, key = rest.partition(":")
    path = base / file if base.is_dir() else base
    try:
        if path.suffix in hdf5.ENDS:
            return oriented(hdf5.array(path, key), form, rest)
        return oriented(_arrays_of_npz(path)[key] if key else _array(path), form, rest)
    except (KeyError, *_DAMAGED) as error:
        raise UnreadableImageError(f"cannot be read ({first_line(error)})") from error


def require_numbers(samples: Iterable[tuple[str, Array]]) -> None:
    """Refuse samples with values that are not finite.

    Args:
        samples: Name and values of each.

    Raises:
        DataError: With a sentence for each that has NaN or infinite values.
    """
    odd = [name for name, value in samples if not np.isfinite(value).all()]
    raise_some([problem(name, "has values that are no numbers (NaN or infinite)", fix="replace them") for name in odd])


def channels_of(values: list[Array], form: Form) -> int:
    """Return the number of channels that all samples have.

    Args:
        values: The samples, shape (*spatial, channels) each.
        form: Their axis order.

    Raises:
        DataError: If they differ.
    """
    counts = sorted({value.shape[-1] for value in values})
    if len(counts) > 1:
        fix = f"check task.layout, which is {form.layout}"
        raise DataError(problem("task.train", f"samples have {listing(counts)} channels", fix=fix))
    return int(counts[0])


def _arrays_of_npz(path: Path) -> dict[str, Array]:
    """Return the arrays of an .npz in its current state."""
    state = path.stat()
    return _remembered(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _remembered(path: Path, changed: int, size: int) -> dict[str, Array]:
    limits.require_ordinary(path)
    with np.load(path, allow_pickle=False) as stored:
        limits.require_members(stored.zip)
        return {name: stored[name] for name in stored}


def _array(path: Path) -> Array:
    limits.require_ordinary(path)
    return np.asarray(np.load(path, allow_pickle=False))
