"""Boxes as targets: the number of boxes of each class, shape (n, classes), float64; NaN where boxes are unknown.

The boxes themselves lie in the task's source, see `mlpipe.data.sources.targets.boxes`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.number_targets import positive_counts as counts
from mlpipe.data.number_targets import shape, strata, unknown, unremovable

__all__ = ["counts", "damage", "shape", "strata", "unknown", "unremovable"]

DTYPE, OF_TASKS, IS_CLASS_NUMBER, IS_LABELS = np.float64, True, False, False
KEPT = ("the classes of boxes cannot be changed by a tag", "leave the tag out, or make the task with other classes")


def damage(targets: npt.NDArray[Any], outputs: int) -> str:
    """Return what is wrong if a row has a negative or fractional number of boxes, or is known only in part."""
    known = targets[~np.isnan(targets).all(axis=1)]
    if np.isnan(known).any() or (known < 0).any() or (known != np.floor(known)).any():
        return "has targets that are no numbers of boxes"
    return ""
