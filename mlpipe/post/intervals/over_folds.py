"""Intervals of a recipe's mean score over the folds of its cross-validation, whose training sets overlap.

The variance of the mean is s^2 (1 / k + n_test / n_train): the second term accounts for the correlation of folds whose
training sets overlap. Nadeau and Bengio 2003; for r times k folds k is their product, Bouckaert and Frank 2004.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlpipe.post.sums import bounds

# Scores differ by more than rounding if their distance exceeds this share of the largest of them.
_ROUNDING = 1e-9


def is_spread(values: npt.NDArray[np.float64], *scores: npt.NDArray[np.float64]) -> bool:
    """Return whether folds differ by more than rounding, so that the variance of a score can be estimated.

    Args:
        values: A score, or a difference of scores, of each fold, shape (k,).
        scores: The scores that it is a difference of, which determine its rounding error.
    """
    return bool(np.ptp(values) > _ROUNDING * max(float(np.abs(one).max()) for one in (values, *scores)))


def standard_error(values: npt.ArrayLike, *, n_train: float, n_test: float) -> float:
    """Return the corrected standard error of a mean over folds.

    Args:
        values: A score, or a difference of scores, of each fold, shape (k,), two or more.
        n_train: The number of images that a fold's model was fitted on.
        n_test: The number of images that it was judged on.
    """
    scores = np.asarray(values, np.float64)
    return float(np.sqrt(scores.var(ddof=1) * (1 / len(scores) + n_test / n_train)))


def student_bound(freedom: int, level: float) -> float:
    """Return the two-sided quantile t of Student's distribution: |T| is below it with the given probability.

    The series of Abramowitz and Stegun 1964 (26.7.3, 26.7.4) in the angle atan(t / sqrt(freedom)), solved by bisection,
    because `mml info` shows intervals over folds, and importing scipy would take a fifth of its time.

    Args:
        freedom: Degrees of freedom, one or more.
        level: The probability, above 0 and below 1.
    """
    low, high = 0.0, np.pi / 2
    for _ in range(64):
        angle = (low + high) / 2
        low, high = (angle, high) if _student_share(freedom, angle) < level else (low, angle)
    return float(np.sqrt(freedom) * np.tan(low))


def _student_share(freedom: int, angle: float) -> float:
    """Return the probability of a smaller |T| than that of an angle."""
    odd = freedom % 2
    steps = np.arange(1, (freedom - odd) // 2)
    ratios = (2 * steps / (2 * steps + 1) if odd else (2 * steps - 1) / (2 * steps)) * np.cos(angle) ** 2
    series = np.sin(angle) * (1 + np.cumprod(ratios).sum())
    if not odd:
        return float(series)
    return float(2 / np.pi * (angle + (series * np.cos(angle) if freedom > 1 else 0.0)))


def corrected_interval(
    name: str, values: npt.ArrayLike, *, n_train: float, n_test: float, level: float = 0.95
) -> tuple[float, float] | None:
    """Return the interval of a recipe's mean score over all training sets of this size, by Student's distribution.

    Args:
        name: The metric, whose bounds also limit the ends.
        values: Its value in each fold, shape (k,).
        n_train: As for `standard_error`.
        n_test: Likewise.
        level: The confidence level.

    Returns:
        Its ends; None for fewer than two folds, without numbers of images, or where folds do not differ.
    """
    scores = np.asarray(values, np.float64)
    if len(scores) < 2 or not np.isfinite(scores).all() or n_train <= 0 or n_test <= 0 or not is_spread(scores):
        return None
    half = student_bound(len(scores) - 1, level) * standard_error(scores, n_train=n_train, n_test=n_test)
    least, most = bounds(name)
    return max(least, float(scores.mean()) - half), min(most, float(scores.mean()) + half)
