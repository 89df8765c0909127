"""Predicted maps of a record in one `.npz` file: probabilities of each class in 255ths, and the true mask.

`numpy.load(file)["TASK/SPLIT/SAMPLE"]` has the shape (classes, height, width), uint8, at the size that the network
sees; its arg max is exactly the network's predicted mask. `TASK/SPLIT/SAMPLE/true` has the class numbers (height,
width), 255 for ignored pixels; images without a mask have none. If images are predicted, both are values, of 16-bit or
32-bit floating point and of shape (channels, height, width) each; a solution and its input differ in height. Samples
with one or three axes have maps with as many. One file holds many masks without a thousand small files, a single mask
is read without the others, and means over records need no network.
"""

from __future__ import annotations

import base64
import io
import math
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import files, limits
from mlpipe.errors import ProjectError, problem

Bytes = npt.NDArray[np.uint8]
# Predicted or true values of an image, in the stored precision.
Values = npt.NDArray[np.floating]

SUFFIX = ".npz"
IGNORED = 255
_TRUE = "/true"
_TYPES = {"u": (np.uint8,), "f": (np.float16, np.float32)}
# Exceptions of zipfile for files that are not archives or are damaged.
_DAMAGE = (*limits.DAMAGED_ARRAY, NotImplementedError)
_SUFFIX = ".npy"
# A fixed time, so that the same predictions give the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


class MapsWriter:
    """Add maps to a file."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, task: str, split: str, sample: str, chances: Bytes | Values, true: Bytes | Values | None) -> None:
        """Add a sample.

        Args:
            task: The task's name in the predictions.
            split: `val`, `test` or `unlabelled`.
            sample: The sample's id.
            chances: The result of `quantised`, shape (classes, height, width); or the values of an image.
            true: The class numbers, shape (height, width), or values; None without a mask or target.
        """
        name = _name(task, split, sample)
        self._write(name, chances)
        if true is not None:
            self._write(name + _TRUE, true)

    def _write(self, name: str, values: npt.NDArray[Any]) -> None:
        out = io.BytesIO()
        np.save(out, np.ascontiguousarray(values), allow_pickle=False)
        entry = zipfile.ZipInfo(name + _SUFFIX, _DATE)
        self._archive.writestr(entry, out.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=1)


@contextmanager
def writer(path: Path, replacing: Collection[tuple[str, str]] = ()) -> Iterator[MapsWriter]:
    """Open a writer whose file appears under its name only once everything is written.

    Args:
        path: The file. Maps already in it are kept.
        replacing: Pairs of (task, split) whose old maps are dropped.

    Raises:
        ProjectError: When the file exists and is damaged.
    """
    gone = tuple(f"{task}/{split}/" for task, split in replacing)
    with files.durable(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        if path.exists():
            with _opened(path) as before:
                for entry in before.infolist():
                    if not entry.filename.startswith(gone or ("\0",)):
                        content = _content(before, entry.filename, path)
                        header = zipfile.ZipInfo(entry.filename, _DATE)
                        archive.writestr(header, content, zipfile.ZIP_DEFLATED, compresslevel=1)
        yield MapsWriter(archive)


class Maps:
    """The maps of one file, read one at a time.

    Args:
        path: The file.

    Raises:
        ProjectError: When it is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._archive = path, _opened(path)
        self._names = set(self._archive.namelist())

    def __enter__(self) -> Maps:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def has(self, task: str, split: str, sample: str) -> bool:
        """Return whether there is a map of a sample."""
        return _name(task, split, sample) + _SUFFIX in self._names

    def chances(self, task: str, split: str, sample: str) -> Bytes:
        """Return the probabilities of a sample in 255ths, shape (classes, height, width).

        Raises:
            ProjectError: When there is none, or it is damaged.
        """
        return np.asarray(self._read(_name(task, split, sample), 2, "u"), np.uint8)

    def true(self, task: str, split: str, sample: str) -> Bytes | None:
        """Return the true class numbers, shape (height, width); None if the sample has no mask."""
        name = _name(task, split, sample) + _TRUE
        return np.asarray(self._read(name, 1, "u"), np.uint8) if name + _SUFFIX in self._names else None

    def values(self, task: str, split: str, sample: str) -> Values:
        """Return the predicted image of a sample, shape (channels, height, width).

        Raises:
            ProjectError: When there is none, or it is damaged.
        """
        return self._read(_name(task, split, sample), 2, "f")

    def true_values(self, task: str, split: str, sample: str) -> Values | None:
        """Return the target image, of the same shape; None if the sample has none."""
        name = _name(task, split, sample) + _TRUE
        return self._read(name, 2, "f") if name + _SUFFIX in self._names else None

    def _read(self, name: str, least: int, kind: str) -> npt.NDArray[Any]:
        """Read the array under a name, with `least` to `least + 2` axes."""
        content = _content(self._archive, name + _SUFFIX, self._path)
        try:
            values = np.load(io.BytesIO(content), allow_pickle=False)
        except limits.DAMAGED_ARRAY as error:
            raise _damaged(self._path, f"{name}: {error}") from error
        if values.dtype not in _TYPES[kind] or not least <= values.ndim <= least + 2:
            raise _damaged(self._path, f"{name} is no map")
        return np.asarray(values)


def first_damage(path: Path) -> str:
    """Return the first damage of a file of maps, by the checksums inside it; empty if there is none.

    Args:
        path: The file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except _DAMAGE as error:
        return str(error) or type(error).__name__
    return f"{broken} is damaged" if broken else ""


def quantised(chances: npt.NDArray[np.floating]) -> Bytes:
    """Return probabilities in 255ths with the same arg max as the probabilities.

    Args:
        chances: Shape (classes, ...).
    """
    levels: Bytes = np.rint(chances * 255).astype(np.uint8)
    top = chances.argmax(axis=0)[None]
    tied = levels.argmax(axis=0)[None] != top
    # Rounding keeps the order but may produce several equal maxima.
    largest = np.take_along_axis(levels, top, 0)
    np.put_along_axis(levels, top, np.where(tied, np.minimum(largest, 254) + 1, largest), 0)
    return levels


def mean(parts: Sequence[Bytes], weights: Sequence[float] | None = None) -> Bytes:
    """Return the mean of several records' probabilities of a sample, in 255ths.

    Args:
        parts: Each of shape (classes, height, width).
        weights: The weight of each; None: equal.
    """
    shares = np.full(len(parts), 1 / len(parts)) if weights is None else np.asarray(weights) / np.sum(weights)
    total = sum(part.astype(np.float64) * share for part, share in zip(parts, shares.tolist(), strict=True))
    return quantised(np.asarray(total) / 255)


def counts(predicted: npt.NDArray[np.integer], true: Bytes | None, classes: int) -> tuple[npt.NDArray[np.float32], ...]:
    """Return the pixel counts of one image, as `mlpipe.post.measures.mask_metrics` takes them.

    Args:
        predicted: Class numbers, shape (height, width).
        true: The same, `IGNORED` at ignored pixels; None: there is no mask.
        classes: The number of classes.

    Returns:
        Predicted pixels and hits of each class, shape (2 * classes,), and true pixels, shape (classes,), NaN without a
        mask.
    """
    known = np.ones(predicted.shape, bool) if true is None else true != IGNORED
    if true is None or not known.any():
        labels = np.bincount(predicted.ravel(), minlength=classes)
        nothing = np.full(classes, np.nan, np.float32)
        return np.concatenate([labels, np.zeros(classes)]).astype(np.float32), nothing
    labels, is_true = predicted[known], true[known]
    hits = np.bincount(labels[labels == is_true], minlength=classes)
    outputs = np.concatenate([np.bincount(labels, minlength=classes), hits]).astype(np.float32)
    return outputs, np.bincount(is_true, minlength=classes).astype(np.float32)


def errors(predicted: npt.NDArray[Any], true: npt.NDArray[Any] | None) -> tuple[npt.NDArray[np.float32], ...]:
    """Return sums of errors of one image, as `mlpipe.post.measures.image_metrics` takes them.

    Args:
        predicted: Shape (channels, height, width).
        true: The same; None: there is no target.

    Returns:
        Sums of squared and of absolute errors of each channel, shape (2 * channels,), and the number of compared
        values, shape (channels,), NaN without a target.
    """
    channels = len(predicted)
    if true is None or np.isnan(true).all():
        return np.zeros(2 * channels, np.float32), np.full(channels, np.nan, np.float32)
    error = predicted.astype(np.float64) - true
    spatial = tuple(range(1, error.ndim))
    sums = [(error**2).sum(axis=spatial), np.abs(error).sum(axis=spatial)]
    return np.concatenate(sums).astype(np.float32), np.full(channels, error[0].size, np.float32)


def as_text(classes: Bytes) -> dict[str, Any]:
    """Convert class numbers of some images to plain data for JSON: their shape and their compressed bytes.

    Args:
        classes: Of any shape.
    """
    content = zlib.compress(np.ascontiguousarray(classes, np.uint8).tobytes())
    return {"shape": list(classes.shape), "zlib": base64.b64encode(content).decode("ascii")}


def of_text(plain: Mapping[str, Any]) -> Bytes:
    """Return the class numbers that `as_text` wrote.

    Raises:
        ValueError: When it is damaged, or contains another number of them.
    """
    size = math.prod(plain["shape"])
    try:
        # Decompress only the expected number, because a few bytes may expand to billions.
        content = zlib.decompressobj().decompress(base64.b64decode(plain["zlib"]), size + 1)
    except zlib.error as error:
        raise ValueError(f"is damaged ({error})") from error
    return np.frombuffer(content, np.uint8).reshape(plain["shape"])


def _name(task: str, split: str, sample: str) -> str:
    return f"{task}/{split}/{sample}"


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        limits.require_ordinary(path)
        return zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise _damaged(path, str(error)) from error


def _content(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        entry = archive.getinfo(name)
        limits.require_growth(entry.compress_size, entry.file_size, name)
        return archive.read(entry)
    except (KeyError, *_DAMAGE) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, reason: str) -> ProjectError:
    return ProjectError(problem(str(path), f"cannot be read as maps ({reason})", fix="run mml predict"))
