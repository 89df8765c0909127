"""Boxes as targets: as stored in a task, as rows of one width, and in the coordinates that a network sees.

A box is x0, y0, x1, y1 in pixels of its upright image: x to the right, y down, x1 and y1 exclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import files
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task, origins
from mlpipe.errors import ConfigError, problem

# Columns of a row of a target box: its corners, and its class number.
COLUMNS = 5
UNKNOWN = -1.0
# Corners are rounded to this fraction of a pixel.
_STEP = 1000
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Boxes:
    """The boxes of a task's samples.

    Attributes:
        values: All boxes, concatenated, shape (boxes, 5): corners in pixels of the file, and a class number.
        starts: Where the boxes of each sample begin, and where the last ones end, shape (samples + 1,).
        known: Whether a sample is labelled, shape (samples,).
        sizes: Width and height of each sample's file, upright, shape (samples, 2); 0 for a file that is not an image.
        most: The largest number of boxes of a sample, 1 or more.
    """

    values: npt.NDArray[np.float64]
    starts: npt.NDArray[np.int64]
    known: npt.NDArray[np.bool_]
    sizes: npt.NDArray[np.int64]
    most: int

    def of_row(self, row: int) -> npt.NDArray[np.float64]:
        """Return the boxes of a sample, shape (boxes, 5)."""
        return self.values[self.starts[row] : self.starts[row + 1]]

    def rows(self, rows: Rows) -> Boxes:
        """Return the boxes of some samples, in the order of `rows`; `most` stays."""
        parts = [self.of_row(row) for row in rows.tolist()]
        values = np.concatenate(parts) if parts else self.values[:0]
        return Boxes(values, _starts([len(part) for part in parts]), self.known[rows], self.sizes[rows], self.most)

    def padded(self) -> npt.NDArray[np.float32]:
        """Return rows of one width, shape (samples, most, 5), NaN if there is no box; see the module's `padded`."""
        return padded([self.of_row(row) for row in range(len(self.known))], self.known, self.most)


def padded(boxes: Sequence[Array], known: npt.NDArray[np.bool_], most: int) -> npt.NDArray[np.float32]:
    """Return the boxes of several samples in one array.

    Args:
        boxes: The boxes of each sample, shape (boxes, 5).
        known: Whether each sample is labelled, shape (samples,).
        most: The largest number of boxes of a sample.

    Returns:
        Shape (samples, most, 5), NaN if there is no box; the first class of an unlabelled sample is `UNKNOWN`.
    """
    rows = np.full((len(boxes), most, COLUMNS), np.nan, np.float32)
    for row, own in zip(rows, boxes, strict=True):
        row[: len(own)] = own
    rows[~known, 0, COLUMNS - 1] = UNKNOWN
    return rows


def described(boxes: Sequence[Array | None], sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Return boxes as keys of a task's source; those of a sample are one text, `x0 y0 x1 y1 class` separated by commas.

    Args:
        boxes: The boxes of each sample in the order of ids, shape (boxes, 5); None: it is unlabelled.
        sizes: Width and height of each sample's file.
    """
    most = max([1, *(len(own) for own in boxes if own is not None)])
    rows = [None if own is None else as_text(own) for own in boxes]
    return {"most": most, "sizes": [f"{width} {height}" for width, height in sizes], "rows": rows}


def stored(plain: Mapping[str, Any]) -> Boxes:
    """Return the boxes that `described` wrote."""
    rows = plain["rows"]
    lengths = [own.count(",") + 1 if own else 0 for own in rows]
    numbers = " ".join(own.replace(",", " ") for own in rows if own).split()
    known = np.array([own is not None for own in rows], np.bool_)
    sizes = np.array(" ".join(plain["sizes"]).split(), np.int64).reshape(-1, 2)
    values = np.array(numbers, np.float64).reshape(-1, COLUMNS)
    return Boxes(values, _starts(lengths), known, sizes, int(plain["most"]))


def of_task(task: Task) -> Boxes:
    """Return the boxes of a task, or of a variant of one.

    Args:
        task: A task with boxes.
    """
    if not task.bases:
        return stored(task.source["boxes"])
    box_sets = [stored(base.source["boxes"]) for base in task.bases]
    first = np.cumsum([0, *(len(box_set.known) for box_set in box_sets)])
    joined = Boxes(
        np.concatenate([box_set.values for box_set in box_sets]),
        _starts([count for box_set in box_sets for count in np.diff(box_set.starts).tolist()]),
        np.concatenate([box_set.known for box_set in box_sets]),
        np.concatenate([box_set.sizes for box_set in box_sets]),
        max(box_set.most for box_set in box_sets),
    )
    part, row = origins(task)
    return joined.rows(first[part] + row)


def counts(boxes: Array, classes: int) -> tuple[float, ...]:
    """Return the number of boxes of each class.

    Args:
        boxes: Shape (boxes, 5).
        classes: The number of classes.
    """
    return tuple(np.bincount(boxes[:, COLUMNS - 1].astype(np.int64), minlength=classes).astype(float).tolist())


def as_text(boxes: Array) -> str:
    """Return a sample's boxes as they are stored.

    Args:
        boxes: Shape (boxes, 5).
    """
    lines = (f"{x0:.10g} {y0:.10g} {x1:.10g} {y1:.10g} {int(label)}" for x0, y0, x1, y1, label in boxes.tolist())
    return ", ".join(lines)


def digest_of(boxes: Array) -> str:
    """Return the hash of a sample's boxes.

    Args:
        boxes: Shape (boxes, 5).
    """
    return files.digest_bytes(as_text(boxes).encode())


def rows_of(task: Task) -> Callable[[int], npt.NDArray[np.float32]]:
    """Return a function from row number to the boxes of a sample in pixels of its file, shape (most, 5), as in `padded`.

    Args:
        task: A task with boxes.

    Raises:
        UnreadableImageError: By the function, for an unlabelled row.
    """
    boxes = of_task(task)

    def read(row: int) -> npt.NDArray[np.float32]:
        if not boxes.known[row]:
            raise UnreadableImageError("has no boxes")
        rows: npt.NDArray[np.float32] = boxes.rows(np.array([row])).padded()[0]
        return rows

    return read


def check(preprocessing: Preprocessing) -> None:
    """Refuse preprocessing that would change images without their boxes.

    Args:
        preprocessing: The preprocessing of the images.

    Raises:
        ConfigError: If it has transforms before the resize.
    """
    if preprocessing.before is not None:
        fix = "use augmentations.cpu.pipeline, which moves images and boxes together"
        raise ConfigError(problem("preprocessing.before", "moves no boxes", fix=fix))


def placing(preprocessing: Preprocessing, sizes: Array) -> npt.NDArray[np.float64]:
    """Return the map from points of image files to the network's input before any augmentation: x' = a x + b.

    Args:
        preprocessing: The preprocessing of the images.
        sizes: Width and height of each file, shape (n, 2).

    Returns:
        Shape (n, 2, 2): for x and for y the factor a and the offset b.
    """
    whole = np.maximum(np.asarray(sizes, np.float64), 1)
    maps = np.zeros((len(whole), 2, 2))
    maps[:, :, 0] = 1
    if preprocessing.sides is None:
        return maps
    sides = np.array(preprocessing.sides[::-1], np.float64)
    shares = sides / whole
    if preprocessing.resize == "squash":
        maps[:, :, 0] = shares
        return maps
    share = (np.max if preprocessing.resize == "short_side" else np.min)(shares, axis=1, keepdims=True)
    scaled = np.maximum(np.rint(whole * share), 1)
    maps[:, :, 0] = scaled / whole
    # As `Preprocessing.sized` crops to the middle, or places the image.
    maps[:, :, 1] = np.where(scaled > sides, -((scaled - sides) // 2), (sides - scaled) // 2)
    return maps


def stretching(sizes: Array, others: Array) -> npt.NDArray[np.float64]:
    """Return the map of points from images of some sizes to images of other sizes, in the form of `placing`.

    Args:
        sizes: Width and height of each image, shape (n, 2).
        others: Width and height afterwards.
    """
    maps = np.zeros((len(sizes), 2, 2))
    maps[:, :, 0] = others / np.maximum(sizes, 1)
    return maps


def seen(
    boxes: Boxes, rows: Rows, preprocessing: Preprocessing, images: Array | Sequence[Array]
) -> list[npt.NDArray[Any]]:
    """Return the boxes of some samples in the coordinates of their cached images, before any augmentation.

    Args:
        boxes: The boxes of the task.
        rows: Row numbers.
        preprocessing: The preprocessing of the images; if it is ragged, images differ in size.
        images: The cached images, each of shape (height, width, channels).
    """
    sizes = boxes.sizes[rows]
    # A file may have been reduced when it was cached.
    places = stretching(sizes, sides_of(images)) if preprocessing.is_ragged else placing(preprocessing, sizes)
    return placed([boxes.of_row(row) for row in rows.tolist()], places)


def sides_of(images: Array | Sequence[Array]) -> npt.NDArray[np.int64]:
    """Return width and height of each image, shape (n, 2).

    Args:
        images: Each of shape (height, width, channels).
    """
    return np.array([image.shape[1::-1] for image in images], np.int64).reshape(-1, 2)


def placed(boxes: Sequence[Array], places: Array) -> list[npt.NDArray[Any]]:
    """Map boxes of files to the coordinates that a network sees.

    Args:
        boxes: The boxes of each image, shape (boxes, 4 or more), of which the first four columns are corners.
        places: The result of `placing`, shape (n, 2, 2).
    """
    return [_scaled(own, place[:, 0], place[:, 1]) for own, place in zip(boxes, places, strict=True)]


def unplaced(boxes: Sequence[Array], places: Array) -> list[npt.NDArray[Any]]:
    """Map boxes from the coordinates that a network sees to pixels of files; the inverse of `placed`.

    Args:
        boxes: The boxes of each image, shape (boxes, 4 or more).
        places: The result of `placing`, shape (n, 2, 2).
    """
    return [_scaled(own, 1 / place[:, 0], -place[:, 1] / place[:, 0]) for own, place in zip(boxes, places, strict=True)]


def _scaled(own: Array, factors: Array, shifts: Array) -> npt.NDArray[Any]:
    moved = np.array(own)
    moved[:, :4] = own[:, :4] * np.tile(factors, 2) + np.tile(shifts, 2)
    return moved


def _starts(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))]).astype(np.int64)


def rounded(corners: Sequence[float]) -> tuple[float, ...]:
    """Round corners to a thousandth of a pixel, as they are stored."""
    return tuple(round(value * _STEP) / _STEP for value in corners)
