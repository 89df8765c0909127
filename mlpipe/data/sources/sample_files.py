"""Samples in NumPy files, one in each .npy or many in an .npz, with class numbers in others or folders as classes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from mlpipe.data import task
from mlpipe.data.images import UnreadableImageError
from mlpipe.data.sources.class_folders import finished
from mlpipe.data.sources.embedded import pixel_digest
from mlpipe.data.task import NO_TARGET, Part, Row, Task
from mlpipe.errors import DataError, listing, no_such_file, problem

Array = np.ndarray[Any, Any]
_DAMAGED = (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile, MemoryError, OverflowError)
_ENDS = (".npy", ".npz")


def samples(
    *,
    train: str | None = None,
    train_targets: str | None = None,
    test: str | None = None,
    test_targets: str | None = None,
    labels: Literal["files", "folders", "none"] = "files",
    classes: list[str] | None = None,
    layout: Literal["chw", "hwc"] = "chw",
    name: str | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
) -> Task:
    """Arrays in .npy files (one sample each) and .npz files (many), read from a file or anywhere below a folder.

    Values reach the network as they are, as float32. Inputs and targets belong together in the order of their names.

    Args:
        train: The file or folder of training samples.
        train_targets: That of their class numbers.
        test: The file or folder of test samples.
        test_targets: That of their class numbers.
        labels: Where classes come from: `files` (the targets), `folders` (the folder that a sample lies in), or none.
        classes: The names of the classes; None: folders' names, or 0 to the largest number.
        layout: Where the channels of a sample of three axes are; one of two axes has one channel.
        name: The task's name before the hash; None takes the file's or folder's.
        max_unreadable: As for `folder`; what cannot be read is an error.
        allow_overlap: As for `folder`.

    Raises:
        DataError: When files are missing or damaged, counts differ, or targets are no class numbers.
    """
    source: dict[str, Any] = {"type": "samples", "layout": layout}
    found: list[tuple[Part, str, Array, str | int]] = []
    for part, inputs, targets in (("train", train, train_targets), ("test", test, test_targets)):
        if inputs is None:
            continue
        base = Path(inputs).expanduser().absolute()
        own: Part = "train" if part == "train" else "test"
        source[part] = str(base)
        taken = [(f"{part}/{key}", _oriented(value, layout, key)) for key, value in _arrays(base, f"task.{part}")]
        wanted = _labels(part, labels, targets, [key for key, _ in taken], base)
        found += [(own, key, value, label) for (key, value), label in zip(taken, wanted, strict=True)]
    if not found:
        raise DataError(problem("task.train", "a file or folder is needed", fix="add task.train=DIR"))
    names = classes or _classes([label for _, _, _, label in found])
    channels = {value.shape[2] for _, _, value, _ in found}
    if len(channels) > 1:
        fix = f"check task.layout, which is {layout}"
        raise DataError(problem("task.train", f"samples have {listing(sorted(channels))} channels", fix=fix))
    rows = [
        Row(key, part if label != "" else "unlabelled", _number(label, names, key), pixel_digest(value))
        for part, key, value, label in found
    ]
    title = name or Path(str(train or test)).expanduser().absolute().stem
    made = task.make(title, names, rows, channels=channels.pop(), dtype="float32", source=source)
    return finished(made, allow_overlap)


def rows_of(source: Mapping[str, Any]) -> Callable[[str], Array]:
    """A function from sample id to an array of shape (height, width, channels) for a stored `samples` source."""

    def read(name: str) -> Array:
        part, _, rest = name.partition("/")
        base = Path(source[part])
        file, _, key = rest.partition(":")
        path = base / file if base.is_dir() else base
        try:
            return _oriented(_opened(path)[key] if key else np.load(path, allow_pickle=False), source["layout"], rest)
        except (KeyError, *_DAMAGED) as error:
            raise UnreadableImageError(f"cannot be read ({error})") from error

    return read


def _arrays(base: Path, key: str) -> Iterator[tuple[str, Array]]:
    """Every array of a file or folder with its name, files in the order of their names."""
    if not base.exists():
        raise DataError(no_such_file(key, base, otherwise="name an existing file or folder"))
    paths = [base] if base.is_file() else sorted(path for path in base.rglob("*") if path.suffix in _ENDS)
    if not paths or paths[0].suffix not in _ENDS:
        raise DataError(problem(key, "holds no NumPy file", got=str(base), fix="its files end in .npy or .npz"))
    for path in paths:
        place = path.relative_to(base).as_posix() if path != base else path.name
        try:
            if path.suffix == ".npy":
                yield place, np.load(path, allow_pickle=False)
            else:
                yield from ((f"{place}:{name}", value) for name, value in _opened(path).items())
        except _DAMAGED as error:
            raise DataError(problem(str(path), f"cannot be read ({error})", fix="save it with numpy.save")) from error


@lru_cache(maxsize=4)
def _opened(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored}


def _oriented(value: Array, layout: str, key: str) -> Array:
    if value.ndim not in (2, 3) or 0 in value.shape or value.dtype.kind not in "buif":
        fix = "save arrays (channels, height, width) or (height, width) of numbers"
        wrong = f"is no image: {list(value.shape)} of {value.dtype}"
        raise DataError(problem(key, wrong, fix=fix))
    if value.ndim == 2:
        value = value[np.newaxis] if layout == "chw" else value[..., np.newaxis]
    return np.ascontiguousarray(value.transpose(1, 2, 0) if layout == "chw" else value, np.float32)


def _labels(part: str, labels: str, targets: str | None, keys: list[str], base: Path) -> list[str | int]:
    """The class of each sample; empty text: none."""
    if labels == "folders":
        return [(base / key.partition("/")[2]).parent.name for key in keys]
    if labels == "none" or (targets is None and part == "test"):
        return [""] * len(keys)
    if targets is None:
        raise DataError(problem(f"task.{part}_targets", "is needed", fix="name the file or folder of class numbers"))
    key, found = f"task.{part}_targets", list(_arrays(Path(targets).expanduser().absolute(), f"task.{part}_targets"))
    if len(found) != len(keys):
        fix = "give every sample one target, in the same order of names"
        raise DataError(problem(key, f"has {len(found)} targets for {len(keys)} samples", got=targets, fix=fix))
    odd = [name for name, value in found if value.size != 1 or value.dtype.kind not in "buif" or value.sum() % 1]
    if odd:
        wrong = f"holds targets that are no class numbers: {listing(odd, most=3)}"
        raise DataError(problem(key, wrong, got=targets, fix="save one whole number for each sample"))
    return [int(value.reshape(())) if value.ndim == 0 else int(value.ravel()[0]) for _, value in found]


def _classes(labels: list[str | int]) -> list[str]:
    numbers = [label for label in labels if isinstance(label, int)]
    if numbers:
        return [str(number) for number in range(max(numbers) + 1)]
    return sorted({str(label) for label in labels} - {""})


def _number(label: str | int, names: list[str], key: str) -> int:
    if isinstance(label, int):
        if not 0 <= label < len(names):
            fix = f"class numbers are 0 to {len(names) - 1}"
            raise DataError(problem(key, "its class number is none of the classes", got=label, fix=fix))
        return label
    if label and label not in names:
        raise DataError(problem(key, "lies in a folder that is no class", got=label, fix=f"use {listing(names)}"))
    return names.index(label) if label else NO_TARGET
