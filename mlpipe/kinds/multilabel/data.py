"""Multilabel targets, 0 or 1 for each label, shape (n, labels), float64; NaN where unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.number_targets import shape, strata, unknown, unremovable
from mlpipe.errors import listing

__all__ = ["shape", "strata", "unknown", "unremovable"]

DTYPE, OF_TASKS, IS_CLASS_NUMBER, IS_LABELS, KEPT = np.float64, True, False, True, None


def counts(targets: npt.NDArray[Any], outputs: int) -> npt.NDArray[np.int64]:
    """Return the number of samples that have each label, shape (outputs,)."""
    return np.asarray((targets == 1).sum(axis=0), np.int64)


def damage(targets: npt.NDArray[Any], outputs: int) -> str:
    """Return a sentence if a number is neither 0, 1 nor NaN, else an empty string."""
    odd = np.unique(targets[~np.isnan(targets) & ~np.isin(targets, (0, 1))])
    return f"has labels that are neither 0, 1 nor unknown: {listing(odd.tolist(), most=3)}" if len(odd) else ""
