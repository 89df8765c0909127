"""Masks as targets: the share of each class among the pixels that count, shape (n, classes), float64; NaN without a mask."""

from __future__ import annotations

import numpy as np

from mlpipe.data.number_targets import damage, shape, strata, unknown, unremovable
from mlpipe.data.number_targets import positive_counts as counts

__all__ = ["counts", "damage", "shape", "strata", "unknown", "unremovable"]

DTYPE, OF_TASKS, IS_CLASS_NUMBER, IS_LABELS = np.float64, True, False, False
KEPT = ("the classes of masks cannot be changed by a tag", "leave the tag out, or make other masks")
