"""How far what a file gives for some images lies from what the models give that it was made of.

One rule says which decisions may differ, whatever is predicted: each predicted value of a comparison may move by the limit.
So two of them, such as the probabilities of two classes, may change places where they are nearer than twice the limit; a
predicted value and a fixed number, such as the score of a box and its threshold, where they are nearer than the limit. Where
all values lie within the limit no other decision differs.
"""

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
        decided: Images, or pixels, whose likeliest class is another one, though its probability leads by more than twice the
            limit; or boxes with a score that keeps them, by more than the limit, which only one of the two has.
        images: How many images were compared.
        alone: The share of boxes that only one of the two has.
    """

    largest: float
    decided: int
    images: int
    alone: float = 0.0


def values_difference(references: Sequence[Array], outputs: Sequence[Array], limit: float) -> Difference:
    """Over all images; what is predicted for places of images has a row for each place.

    Args:
        references: The models' values of each image, shape (outputs,) or (height, width, outputs).
        outputs: The file's.
        limit: How far values may lie apart.
    """
    spread = max(1.0, *(float(np.nanmax(np.abs(values), initial=0.0)) for values in references))
    largest, decided = 0.0, 0
    for reference, other in zip(references, outputs, strict=True):
        first, second = (part.reshape(-1, part.shape[-1]).astype(np.float64) for part in (reference, other))
        # What no network saw is NaN in both; NaN in one alone is a difference, which the maximum of Python would leave out.
        apart = np.where(np.isnan(first) & np.isnan(second), 0.0, np.abs(first - second) / spread)
        largest = float(np.maximum(largest, apart.max()))
        if first.shape[1] > 1:
            top = np.sort(first, axis=1)
            leads = top[:, -1] - top[:, -2] > 2 * limit * spread
            decided += int((leads & (first.argmax(1) != second.argmax(1))).sum())
    return Difference(largest, decided, len(references))
