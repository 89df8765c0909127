"""Train on numbers, in standard deviations of the training images' targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import torch

from mlpipe.arch.classifier import Head
from mlpipe.data import number_targets
from mlpipe.learn.kind import Scale
from mlpipe.learn.kind import all_known as known_counts
from mlpipe.learn.kind import no_classes as class_counts
from mlpipe.learn.kind import no_positives as positives
from mlpipe.learn.losses.numbers import mse
from mlpipe.learn.per_image import answer_shape, check, kept, rows, validated

__all__ = ["answer_shape", "check", "class_counts", "kept", "known_counts", "positives", "rows", "validated"]

FITTING_LOSSES = ("auto", "mse", "mae", "huber")
TARGETS_HAVE_OWN_SHAPE = False
NEEDS_ALL_DIGITS = False
USUAL_LOSS = mse
OF_NUMBERS = True
VIEWS_HAVE_MEAN = True
CHECKS_OUTPUTS = False


def scale(targets: npt.NDArray[Any]) -> Scale | None:
    """Return the mean and standard deviation of each number, see `mlpipe.data.number_targets.unit`."""
    mean, spread = number_targets.unit(targets)
    return torch.tensor(mean).float(), torch.tensor(spread).float()


def head(outputs: int, scale: Scale | None, activations: Sequence[tuple[str, int]]) -> Head:
    """Return a head for numbers in their unit, which starts at their mean, or with the given activations."""
    if activations:
        return Head(outputs, activations=tuple(activations))
    if scale is None:
        return Head(outputs, (0.0,) * outputs, (1.0,) * outputs)
    return Head(outputs, tuple(scale[0].tolist()), tuple(scale[1].tolist()))
