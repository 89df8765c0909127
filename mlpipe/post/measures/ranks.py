"""Ranking metrics of a score: the area under the ROC curve, and average precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]


def midranks(values: Scores) -> npt.NDArray[np.float64]:
    """Return ranks from 1, with tied values at the mean of their ranks, shape (n,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])


def area_under_roc(scores: Scores, positive: Mask) -> float:
    """Area under the ROC curve by midranks (Mann-Whitney): ties count one half; NaN when one side is empty."""
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    ranks = midranks(scores)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def average_precision_of(scores: Scores, positive: Mask) -> float:
    """Sum of precision times the step in recall, tied scores taken together; NaN when nothing is positive."""
    if not positive.any():
        return float("nan")
    levels, inverse = np.unique(-scores, return_inverse=True)
    hits = np.bincount(inverse, weights=positive, minlength=len(levels))
    row_counts = np.cumsum(np.bincount(inverse, minlength=len(levels)))
    return float((np.cumsum(hits) / row_counts * hits).sum() / positive.sum())


def precision_influences(scores: Scores, positive: Mask) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the average precision, and the influence of each row's weight, shape (n,), which sum to zero; the sum of their
    squares is the variance (to the first order).

    Args:
        scores: Shape (n,).
        positive: Which rows are positive, shape (n,), one or more.
    """
    levels, place = np.unique(-scores, return_inverse=True)
    hits = np.bincount(place, weights=positive, minlength=len(levels))
    row_counts = np.cumsum(np.bincount(place, minlength=len(levels))).astype(np.float64)
    precision, positive_count = np.cumsum(hits) / row_counts, hits.sum()
    value = float((precision * hits).sum() / positive_count)
    # A row counts in the precision at its own level and at all lower ones.
    as_hit, as_alarm = (
        np.cumsum((hits * terms / row_counts)[::-1])[::-1] / positive_count for terms in (1 - precision, -precision)
    )
    own = np.where(positive, (precision[place] - value) / positive_count + as_hit[place], as_alarm[place])
    return value, np.asarray(own)
