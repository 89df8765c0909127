"""The simplest of several methods: a more complicated one must be better by more than noise, and is never worse.

Every way is judged by its loss of the same rows, so that what makes a row hard for all of them drops out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mlpipe.post.rows import Floats

# How many standard errors of the paired difference are noise.
ERRORS = 2.0


def standard_error(values: Floats, groups: npt.ArrayLike | None = None) -> float:
    """The standard error of a mean of rows, or of rows that come in groups and are alike within them.

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
    """The first way, unless a later one is better by more than noise and not worse than any that is simpler.

    Args:
        losses: Each way's loss of every row, shape (n,) each, the simplest way first.
        errors: How many standard errors of the paired difference are noise.
        groups: What rows belong together, shape (n,); None: every row by itself.
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
