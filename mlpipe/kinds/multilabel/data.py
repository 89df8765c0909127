"""Multilabel targets, 0 or 1 for each label, shape (n, labels), float64; NaN where unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.number_targets import damage, shape, strata, unknown, unremovable

__all__ = ["damage", "shape", "strata", "unknown", "unremovable"]

DTYPE, OF_TASKS, IS_CLASS_NUMBER, IS_LABELS, KEPT = np.float64, True, False, True, None


def counts(targets: npt.NDArray[Any], outputs: int) -> npt.NDArray[np.int64]:
    """For how many each label holds, shape (outputs,)."""
    return np.asarray((targets == 1).sum(axis=0), np.int64)
