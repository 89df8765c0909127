"""Learn labels: a logit of each, of which several may hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.arch.classifier import Head
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.learn.kind import Scale
from mlpipe.learn.per_image import check, kept, rows, validated

__all__ = ["check", "kept", "rows", "validated"]

FITTING_LOSSES = ("auto", "bce", "focal", "asymmetric")
TARGETS_HAVE_OWN_SHAPE = False
NEEDS_ALL_DIGITS = False


def scale(targets: npt.NDArray[Any]) -> Scale | None:
    """None: logits have no unit."""
    return None


def head(outputs: int, scale: Scale | None, activations: Sequence[tuple[str, int]]) -> Head:
    """A logit of each."""
    return Head(outputs)


def class_counts(task: Task, rows: Rows) -> npt.NDArray[np.int64]:
    """For how many images each label holds."""
    return task.class_counts(rows, learned=True)


def known_counts(task: Task, rows: Rows) -> npt.NDArray[np.int64] | None:
    """For how many images each label is known."""
    return np.asarray((~np.isnan(task.samples.learned[rows])).sum(axis=0), np.int64)


def positives(targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Images of which some label holds."""
    return np.asarray((targets == 1).any(axis=1))
