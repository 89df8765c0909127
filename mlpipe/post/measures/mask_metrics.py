"""Metrics of masks from counts of pixels: Dice, intersection over union and accuracy, exact over all images.

Three counts per class are enough for each image: pixels predicted as the class, pixels that truly are of it, and pixels that
are both. `outputs` (n, 2 * classes) holds the first and the last, `targets` (n, classes) the second; ignored pixels
are in none of them. A class that no image has, truly or predicted, is in no mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[Any]
Sums = npt.NDArray[np.float64]


def dice(outputs: Counts, targets: Counts) -> float:
    """2 I / (P + T) over the pixels of all images, the mean over classes (Dice 1945)."""
    return _mean(dice_of(*_sums(outputs, targets)))


def iou(outputs: Counts, targets: Counts) -> float:
    """I / (P + T - I) over the pixels of all images, the mean over classes (Jaccard 1901)."""
    return _mean(iou_of(*_sums(outputs, targets)))


def foreground_dice(outputs: Counts, targets: Counts) -> float:
    """Dice without the first class."""
    return _mean(dice_of(*_sums(outputs, targets))[1:])


def foreground_iou(outputs: Counts, targets: Counts) -> float:
    """Intersection over union without the first class."""
    return _mean(iou_of(*_sums(outputs, targets))[1:])


def pixel_accuracy(outputs: Counts, targets: Counts) -> float:
    """The share of pixels whose class is right."""
    hits, _, true = _sums(outputs, targets)
    return float(hits.sum() / true.sum()) if true.sum() else float("nan")


def dice_of(hits: Sums, predicted: Sums, true: Sums) -> Sums:
    """Return Dice from counts, NaN where all are 0, in the counts' shape."""
    return _quotient(2 * hits, predicted + true)


def iou_of(hits: Sums, predicted: Sums, true: Sums) -> Sums:
    """Return intersection over union from counts, NaN where all are 0, in the counts' shape."""
    return _quotient(hits, predicted + true - hits)


def _quotient(part: Sums, whole: Sums) -> Sums:
    out = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def _mean(values: Sums) -> float:
    known_values = values[~np.isnan(values)]
    return float(known_values.mean()) if len(known_values) else float("nan")


# The value of an image without any pixel of a class, true or predicted.
_OF_NOTHING = {"zero": 0.0, "one": 1.0, "skip": float("nan")}


def map10_of(hits: Sums, predicted: Sums, true: Sums) -> Sums:
    """The share of the overlaps 0.5, 0.55, ..., 0.95 that an intersection over union exceeds; NaN where all counts are 0."""
    return np.asarray(np.ceil(np.clip(20 * iou_of(hits, predicted, true) - 10, 0, 10) - 1e-9) / 10)


def _of_each_image(
    outputs: Counts, targets: Counts, *, measure: Callable[[Sums, Sums, Sums], Sums], nothing: float, first: int
) -> Sums:
    """Return a measure per image, averaged over its classes from `first` on; shape (n,), NaN where no class counts."""
    predicted, hits = np.split(outputs.astype(np.float64), 2, axis=1)
    scores = measure(hits[:, first:], predicted[:, first:], targets.astype(np.float64)[:, first:])
    scores = np.where(np.isnan(scores), nothing, scores)
    count = (~np.isnan(scores)).sum(axis=1)
    return np.asarray(np.nansum(scores, axis=1) / np.where(count, count, np.nan))


def of_images(outputs: Counts, targets: Counts) -> Sums:
    """Return each image's Dice, averaged over the classes that are true or predicted in it; shape (n,).

    Args:
        outputs: Shape (n, 2 * classes).
        targets: Shape (n, classes).
    """
    return _of_each_image(outputs, targets, measure=dice_of, nothing=float("nan"), first=0)


# Metrics that are means over images, each as a function that returns one number per image; for some, empty images count.
OF_IMAGES: dict[str, Callable[[Counts, Counts], Sums]] = {
    "image_dice": of_images,
    **{
        f"{'foreground_' if first else ''}image_{name}_empty_{word}": partial(
            _of_each_image, measure=measure, nothing=nothing, first=first
        )
        for name, measure in (("dice", dice_of), ("iou", iou_of), ("map10", map10_of))
        for word, nothing in _OF_NOTHING.items()
        for first in (0, 1)
    },
}


def _mean_over_images(outputs: Counts, targets: Counts, *, of: str) -> float:
    return _mean(OF_IMAGES[of](outputs, targets))


METRICS: dict[str, Callable[[Counts, Counts], float]] = {
    "dice": dice,
    "iou": iou,
    "pixel_accuracy": pixel_accuracy,
    "foreground_dice": foreground_dice,
    "foreground_iou": foreground_iou,
    **{name: partial(_mean_over_images, of=name) for name in OF_IMAGES},
}


def table(outputs: Counts, targets: Counts, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per class: images that have it, its share of the pixels, Dice, IoU, precision and recall.

    Args:
        outputs: Shape (n, 2 * classes).
        targets: Shape (n, classes).
        classes: Their names.
    """
    hits, predicted, true = _sums(outputs, targets)
    columns = {
        "pixels": true / max(true.sum(), 1),
        "dice": dice_of(hits, predicted, true),
        "iou": iou_of(hits, predicted, true),
        "precision": _quotient(hits, predicted),
        "recall": _quotient(hits, true),
    }
    images = (targets > 0).sum(axis=0)
    return [
        {"class": name, "images": int(images[place]), **{key: float(values[place]) for key, values in columns.items()}}
        for place, name in enumerate(classes)
    ]


def _sums(outputs: Counts, targets: Counts) -> tuple[Sums, Sums, Sums]:
    """Return hits, predicted and true pixels of each class in all images."""
    predicted, hits = np.split(outputs.astype(np.float64).sum(axis=0), 2)
    return hits, predicted, targets.astype(np.float64).sum(axis=0)
