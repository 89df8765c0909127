"""Learn numbers, in standard deviations of the training images' targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mlpipe.arch.classifier import Head
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
    """Mean and standard deviation of each number; one that never differs has the deviation 1."""
    std = np.nanstd(targets, axis=0)
    spread = np.where(std > 0, std, 1.0)
    return torch.tensor(np.nanmean(targets, axis=0)).float(), torch.tensor(spread).float()


def head(outputs: int, scale: Scale | None, activations: Sequence[tuple[str, int]]) -> Head:
    """Numbers in their unit, so that a new head starts at their mean; as activations give them where there are some."""
    if activations:
        return Head(outputs, activations=tuple(activations))
    if scale is None:
        return Head(outputs, (0.0,) * outputs, (1.0,) * outputs)
    return Head(outputs, tuple(scale[0].tolist()), tuple(scale[1].tolist()))
