"""Targets of drawn images: those of the task that the images come from, which an adversarial loss ignores."""

from __future__ import annotations

import numpy as np

from mlpipe.data.number_targets import damage, shape, strata, unknown, unremovable
from mlpipe.data.number_targets import known_counts as counts

__all__ = ["counts", "damage", "shape", "strata", "unknown", "unremovable"]

DTYPE, OF_TASKS, IS_CLASS_NUMBER, IS_LABELS = np.float64, False, False, False
KEPT = ("images that are learned to be drawn have no targets", "leave the tag out")
