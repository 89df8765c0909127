"""Image-valued targets: 1 for each channel of a target image, shape (n, channels), float64; NaN without one."""

from __future__ import annotations

import numpy as np

from mlpipe.data.number_targets import damage, shape, strata, unknown, unremovable
from mlpipe.data.number_targets import known_counts as counts

__all__ = ["counts", "damage", "shape", "strata", "unknown", "unremovable"]

DTYPE, OF_TASKS, IS_CLASS_NUMBER, IS_LABELS = np.float64, True, False, False
KEPT = ("target images have no classes", "leave the tag out")
