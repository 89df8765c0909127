"""Areas under the ROC curve and under the precision-recall curve, with each row's influence on their error.

DeLong, DeLong and Clarke-Pearson 1988, with the midranks of Sun and Xu 2014: n log n instead of n squared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.post.intervals.exact import Part, of_ranks
from mlpipe.post.measures.ranks import midranks, precision_influences
from mlpipe.post.rows import Floats, Integers

Bools = npt.NDArray[np.bool_]


def area_parts(scores: Floats, truth: npt.NDArray[Any], units: Integers, count: int) -> list[Part]:
    """Return the area of each class or label with rows on both sides, with the rows' components as influences.

    Args:
        scores: Shape (n, columns).
        truth: 1 for yes, 0 for no, NaN for unknown, shape (n, columns).
        units: The unit of each row, shape (n,).
        count: The number of units.
    """
    parts = []
    for score, column in zip(scores.T, truth.T, strict=True):
        placed, known = _area_of_column(score, column), ~np.isnan(column)
        if placed is not None:
            parts.append(of_ranks(*placed, column == 1, known, units, count))
    return parts


def precision_parts(scores: Floats, truth: npt.NDArray[Any], units: Integers, count: int) -> list[Part]:
    """Return the average precision of each class or label that occurs, with each row's influence.

    Args:
        scores: As for `area_parts`.
        truth: As for `area_parts`.
        units: As for `area_parts`.
        count: As for `area_parts`.
    """
    parts = []
    for score, column in zip(scores.T, truth.T, strict=True):
        known, influences = ~np.isnan(column), np.zeros(len(column))
        if (column == 1).any():
            value, influences[known] = precision_influences(score[known], column[known] == 1)
            parts.append(of_ranks(value, influences, column == 1, known, units, count))
    return parts


def _area_of_column(score: Floats, column: npt.NDArray[Any]) -> tuple[float, Floats] | None:
    """Return one area and the components of all rows; None without rows on both sides."""
    known = ~np.isnan(column)
    positive = column[known] == 1
    if not positive.any() or positive.all():
        return None
    above, below = _placements(score[known], positive)
    own = np.empty(int(known.sum()))
    own[positive] = _centred(above)
    own[~positive] = _centred(below)
    components = np.zeros(len(score))
    components[known] = own
    return float(above.mean()), components


def _centred(placements: Floats) -> Floats:
    """Return deviations whose squares add up to the variance of the mean, by n - 1."""
    n = len(placements)
    return np.asarray((placements - placements.mean()) / np.sqrt(n * max(n - 1, 1)))


def _placements(scores: Floats, positive: Bools) -> tuple[Floats, Floats]:
    """Return the share of negatives below each positive, and of positives above each negative; ties count half."""
    both = midranks(scores)
    first, second = midranks(scores[positive]), midranks(scores[~positive])
    above = (both[positive] - first) / max(len(second), 1)
    below = 1 - (both[~positive] - second) / max(len(first), 1)
    return above, below
