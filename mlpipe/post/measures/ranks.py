"""Ranking metrics of a score: the area under the ROC curve, and average precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]


def midranks(values: Scores) -> npt.NDArray[np.float64]:
    """Ranks from 1, the mean of the ranks where values are tied, shape (n,)."""
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
    """Average precision, and what each row's weight changes of it, shape (n,): these sum to zero, and their squares to its
    variance (to the first order).

    Args:
        scores: Shape (n,).
        positive: Which rows are positive, shape (n,), one or more.
    """
    levels, place = np.unique(-scores, return_inverse=True)
    hits = np.bincount(place, weights=positive, minlength=len(levels))
    row_counts = np.cumsum(np.bincount(place, minlength=len(levels))).astype(np.float64)
    precision, positive_count = np.cumsum(hits) / row_counts, hits.sum()
    value = float((precision * hits).sum() / positive_count)
    # A row counts in the precision at its own level and at all below.
    as_hit, as_alarm = (
        np.cumsum((hits * terms / row_counts)[::-1])[::-1] / positive_count for terms in (1 - precision, -precision)
    )
    own = np.where(positive, (precision[place] - value) / positive_count + as_hit[place], as_alarm[place])
    return value, np.asarray(own)
