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
from mlpipe.learn.per_image import check as check
from mlpipe.learn.per_image import kept as kept
from mlpipe.learn.per_image import loading as loading
from mlpipe.learn.per_image import prediction as prediction
from mlpipe.learn.per_image import rows as rows
from mlpipe.learn.per_image import validated as validated

default_loss = "bce"
fitting_losses = ("auto", "bce", "focal", "asymmetric")
is_dense = False
predicts_numbers = False
targets_are_class_numbers = False
targets_have_own_shape = False
needs_all_digits = False
views_agree = True


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
