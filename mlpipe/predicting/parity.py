"""How far what a file gives for some images lies from what the models give that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """How far the file's values lie from this program's.

    Attributes:
        largest: The largest difference of a probability, or of a number as a share of the spread of numbers; of boxes that are
            there twice that of a score, or of a corner as a share of the longer side of the image.
        decided: Images, or pixels, whose likeliest class is another one, though its probability leads by more than the limit; or
            boxes with a score that keeps them which only one of the two has.
        images: How many images were compared.
        alone: The share of boxes that only one of the two has.
    """

    largest: float
    decided: int
    images: int
    alone: float = 0.0


def of_values(wanted: Sequence[Array], found: Sequence[Array], limit: float) -> Difference:
    """Over all images; what is predicted for places of images has a row for each place.

    Args:
        wanted: The models' values of each image, shape (outputs,) or (height, width, outputs).
        found: The file's.
        limit: How far values may lie apart.
    """
    spread = max(1.0, *(float(np.abs(one).max()) for one in wanted))
    largest, decided = 0.0, 0
    for one, other in zip(wanted, found, strict=True):
        first, second = (part.reshape(-1, part.shape[-1]).astype(np.float64) for part in (one, other))
        apart = np.abs(first - second) / spread
        largest = max(largest, float(apart.max()))
        if first.shape[1] > 1:
            top = np.sort(first, axis=1)
            leads = top[:, -1] - top[:, -2] > limit * spread
            decided += int((leads & (first.argmax(1) != second.argmax(1))).sum())
    return Difference(largest, decided, len(wanted))


def of_boxes(
    wanted: Sequence[Array], found: Sequence[Array], sides: Sequence[int], least: Array, limit: float
) -> Difference:
    """Over all images: a box is there twice where both have one of its class within the limit.

    One that only one of the two has is none to speak of where its score is nearer than the limit to that of the last box of the
    image.

    Args:
        wanted: The models' boxes of each image: corners, score and class number, shape (k, 6).
        found: The file's, those without a score included.
        sides: The longer side of each image in pixels.
        least: The score of each class that keeps a box.
        limit: How far boxes may lie apart.
    """
    largest, decided, alone, many = 0.0, 0, 0, 0
    for one, given, side in zip(wanted, found, sides, strict=True):
        other = given[given[:, 4] > 0].astype(np.float64)
        apart = np.abs(one[:, None, :5] - other[None, :, :5]) / np.array([side, side, side, side, 1.0])
        far = np.where(one[:, None, 5] == other[None, :, 5], apart.max(axis=2), np.inf)
        last = min([*one[:, 4], *other[:, 4]], default=0.0)
        for boxes, nearest in ((one, far.min(axis=1, initial=np.inf)), (other, far.min(axis=0, initial=np.inf))):
            is_alone = (nearest > limit) & (boxes[:, 4] > last + limit)
            is_kept = boxes[:, 4] > least[boxes[:, 5].astype(np.int64)] + limit
            largest = max(largest, float(nearest[nearest <= limit].max(initial=0.0)))
            decided, alone, many = (
                decided + int((is_alone & is_kept).sum()),
                alone + int(is_alone.sum()),
                many + len(boxes),
            )
    return Difference(largest, decided, len(wanted), alone / max(many, 1))
