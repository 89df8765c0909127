"""Intervals of unbounded values such as mean errors: Student's, on a scale where the value is nearly normal.

The jackknife pseudo-values (Tukey 1958) give the standard error and the skewness. The ends are the outer ones of Student's
and of Hall's 1992 interval, which corrects for the skewness. Rare large errors cannot be foreseen from rows without any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlpipe.post.rows import Floats

# With fewer units the coverage is too low, or the ends are so far apart that they say nothing.
LEAST_UNITS = 10


@dataclass(frozen=True)
class Scale:
    """A monotonic function and its inverse."""

    there: Callable[[Floats], Floats]
    back: Callable[[Floats], Floats]


PLAIN = Scale(np.asarray, np.asarray)
LOG = Scale(np.log, np.exp)
SHARE_LEFT = Scale(lambda values: -np.log1p(-values), lambda values: -np.expm1(-values))
FISHER = Scale(np.arctanh, np.tanh)


def ends(value: float, left_out: Floats, scale: Scale, level: float) -> tuple[float, float] | None:
    """Return the ends of a value; None if they are undetermined: nothing varies, or the value is outside the scale's domain.

    Args:
        value: The value of all rows.
        left_out: The value without each unit, shape (units,).
        scale: The scale on which it is nearly normal.
        level: The confidence level.
    """
    from scipy.special import stdtrit

    with np.errstate(all="ignore"):
        centre, others = scale.there(np.array(value)), scale.there(left_out)
        n = len(others)
        pseudo = n * centre - (n - 1) * others
        deviations = pseudo - pseudo.mean()
        spread = float(np.sqrt((deviations**2).sum() / (n - 1)))
        if not np.isfinite(pseudo).all() or not spread > 1e-9 * max(1.0, abs(float(centre))):
            return None
        skew = float((deviations**3).mean() / spread**3)
        student, wider = (float(stdtrit(freedom, (1 + level) / 2)) for freedom in (n - 1, max((n - 1) // 2, 1)))
        factors = [student, -student, _corrected_quantile(wider, skew, n), _corrected_quantile(-wider, skew, n)]
        both = scale.back(centre - np.array([max(factors), min(factors)]) * spread / np.sqrt(n))
    low, high = sorted(both.tolist())
    return (low, high) if np.isfinite([low, high]).all() else None


def _corrected_quantile(quantile: float, skew: float, n: int) -> float:
    """Return the quantile of a skewed Student's ratio: the inverse of Hall's cubic transformation."""
    rate = skew / (3 * np.sqrt(n))
    if abs(rate) < 1e-9:
        return quantile
    return float((np.cbrt(1 + 3 * rate * (quantile - skew / (6 * np.sqrt(n)))) - 1) / rate)
