"""The difference between the outputs of an exported file and those of the models that it was made from.

One rule determines which decisions may differ, for all kinds: each predicted value of a comparison may move by the limit.
So two predicted values, such as the probabilities of two classes, may swap if they are nearer than twice the limit; a
predicted value and a fixed number, such as the score of a box and its threshold, if they are nearer than the limit. If
all values lie within the limit, no other decision differs.
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
    """The difference between the file's values and this program's.

    Attributes:
        largest: The largest difference of a probability, or of a number as a share of the spread of numbers; for boxes
            in both outputs that of a score, or of a corner as a share of the longer side of the image.
        decided: Images, or pixels, whose most probable class differs although its probability leads by more than twice the
            limit; or boxes in only one of the outputs whose score exceeds the threshold by more than the limit.
        images: The number of compared images.
        alone: The share of boxes that are in only one of the outputs.
    """

    largest: float
    decided: int
    images: int
    alone: float = 0.0


def values_difference(references: Sequence[Array], outputs: Sequence[Array], limit: float) -> Difference:
    """Compare all images; maps have a row for each place.

    Args:
        references: The models' values of each image, shape (outputs,) or (height, width, outputs).
        outputs: The file's values.
        limit: The largest allowed difference.
    """
    spread = max(1.0, *(float(np.nanmax(np.abs(values), initial=0.0)) for values in references))
    largest, decided = 0.0, 0
    for reference, other in zip(references, outputs, strict=True):
        first, second = (part.reshape(-1, part.shape[-1]).astype(np.float64) for part in (reference, other))
        # Places that no network saw are NaN in both; NaN in one only is a difference, which Python's `max` would miss.
        apart = np.where(np.isnan(first) & np.isnan(second), 0.0, np.abs(first - second) / spread)
        largest = float(np.maximum(largest, apart.max()))
        if first.shape[1] > 1:
            top = np.sort(first, axis=1)
            leads = top[:, -1] - top[:, -2] > 2 * limit * spread
            decided += int((leads & (first.argmax(1) != second.argmax(1))).sum())
    return Difference(largest, decided, len(references))
