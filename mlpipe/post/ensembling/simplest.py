"""The choice of the simplest of several methods: a more complex one must be better by more than noise, and never worse.

All methods are judged by their losses on the same rows, so that what makes a row hard for all of them cancels out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mlpipe.post.rows import Floats

# The number of standard errors of the paired difference that counts as noise.
ERRORS = 2.0


def standard_error(values: Floats, groups: npt.ArrayLike | None = None) -> float:
    """Return the standard error of a mean over rows, or over groups of similar rows.

    Args:
        values: One number for each row, shape (n,).
        groups: The group of each row, shape (n,); None: every row by itself.
    """
    away = values - values.mean()
    if groups is not None:
        away = np.bincount(np.unique(np.asarray(groups), return_inverse=True)[1], weights=away)
    unit_count = len(away)
    return (
        float(np.sqrt(unit_count / (unit_count - 1) * (away @ away)) / len(values)) if unit_count > 1 else float("inf")
    )


def simplest(losses: Mapping[str, Floats], *, errors: float = ERRORS, groups: npt.ArrayLike | None = None) -> str:
    """Return the first method, unless a later one is better by more than noise and not worse than any simpler one.

    Args:
        losses: Each method's loss of every row, shape (n,) each, the simplest method first.
        errors: The number of standard errors of the paired difference that counts as noise.
        groups: The group of each row, shape (n,); None: every row by itself.
    """
    names = list(losses)
    winner = names[0]
    least = float(losses[winner].mean())
    for name in names[1:]:
        mean, off = float(losses[name].mean()), losses[name] - losses[winner]
        if mean <= least and off.mean() < -errors * standard_error(off, groups):
            winner = name
        least = min(least, mean)
    return winner
