"""Train on labels: a logit for each label, of which several may hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.learn.kind import no_scale as scale
from mlpipe.learn.losses.cross_entropy import bce
from mlpipe.learn.per_image import answer_shape, check, class_counts, kept, rows, validated
from mlpipe.learn.per_image import logits as head

__all__ = ["answer_shape", "check", "class_counts", "head", "kept", "rows", "scale", "validated"]

FITTING_LOSSES = ("auto", "bce", "focal", "asymmetric")
TARGETS_HAVE_OWN_SHAPE = False
NEEDS_ALL_DIGITS = False
USUAL_LOSS = bce
OF_NUMBERS = False
VIEWS_HAVE_MEAN = True
CHECKS_OUTPUTS = False


def known_counts(task: Task, rows: Rows) -> npt.NDArray[np.int64] | None:
    """Return the number of images for which each label is known."""
    return np.asarray((~np.isnan(task.samples.learned[rows])).sum(axis=0), np.int64)


def positives(targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Return which images have at least one label."""
    return np.asarray((targets == 1).any(axis=1))
