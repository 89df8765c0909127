"""Shared training code of kinds whose outputs are numbers for each place of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.arch.classifier import Head
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.learn.kind import Scale


def scale(targets: npt.NDArray[Any]) -> Scale | None:
    """None: values are compared as they are; see `mlpipe.learn.kind.Part`."""
    return None


def head(outputs: int, scale: Scale | None, activations: Sequence[tuple[str, int]]) -> Head:
    """A value of each channel for every pixel; see `mlpipe.learn.kind.Part`."""
    return Head(outputs, per_pixel=True, of_values=True)


def class_counts(task: Task, rows: Rows) -> npt.NDArray[np.int64]:
    """Zeros: values have no classes; see `mlpipe.learn.kind.Part`."""
    return np.zeros(len(task.classes), np.int64)


def known_counts(task: Task, rows: Rows) -> npt.NDArray[np.int64] | None:
    """None: what has a target has all of it; see `mlpipe.learn.kind.Part`."""
    return None


def positives(targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """None: no value stands for nothing; see `mlpipe.learn.kind.Part`."""
    return None
