"""Learn classes: logits of which one is true."""

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

default_loss = "ce"
fitting_losses = ("auto", "ce", "bce", "focal")
is_dense = False
predicts_numbers = False
targets_are_class_numbers = True
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
    """How many images each class has."""
    return task.class_counts(rows, learned=True)


def known_counts(task: Task, rows: Rows) -> npt.NDArray[np.int64] | None:
    """None: what has a target has all of it."""
    return None


def positives(targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """None: no class stands for nothing."""
    return None
