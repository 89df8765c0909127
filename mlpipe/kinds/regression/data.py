"""Numbers as targets, shape (n, numbers), float64; NaN where unknown."""

from __future__ import annotations

import numpy as np

from mlpipe.data.number_targets import damage, shape, strata, unknown
from mlpipe.data.number_targets import known_counts as counts

__all__ = ["counts", "damage", "shape", "strata", "unknown"]

DTYPE, OF_TASKS, IS_CLASS_NUMBER, IS_LABELS, KEPT = np.float64, True, False, False, None


def unremovable(outputs: int) -> str:
    """Return a sentence if there is only one number, which cannot be removed."""
    return "there is a single number to predict" if outputs == 1 else ""
