"""Targets of an equation: as for target images, because an equation as the loss turns such a task into `solutions`."""

from __future__ import annotations

import numpy as np

from mlpipe.data.number_targets import damage, shape, strata, unknown, unremovable
from mlpipe.data.number_targets import known_counts as counts

__all__ = ["counts", "damage", "shape", "strata", "unknown", "unremovable"]

DTYPE, OF_TASKS, IS_CLASS_NUMBER, IS_LABELS = np.float64, False, False, False
KEPT = ("target images have no classes", "leave the tag out")
