"""Train on masks: logits of classes for every pixel, of which counts are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlpipe.arch.classifier import Head
from mlpipe.config.schema import Recipe
from mlpipe.data.sampling import Rows
from mlpipe.data.task import IGNORED, Task
from mlpipe.learn import per_pixel
from mlpipe.learn.kind import Loss, Scale
from mlpipe.learn.kind import all_known as known_counts
from mlpipe.learn.kind import no_scale as scale
from mlpipe.learn.losses.cross_entropy import ce
from mlpipe.learn.per_pixel import answer_shape, validated

__all__ = ["answer_shape", "known_counts", "scale", "validated"]

FITTING_LOSSES = ("auto", "ce", "focal", "dice", "jaccard", "lovasz")
TARGETS_HAVE_OWN_SHAPE = False
NEEDS_ALL_DIGITS = False
USUAL_LOSS = ce
OF_NUMBERS = False
VIEWS_HAVE_MEAN = True
CHECKS_OUTPUTS = True


def head(outputs: int, scale: Scale | None, activations: Sequence[tuple[str, int]]) -> Head:
    """Return a head with one logit per class for every pixel."""
    return per_pixel.head(outputs)


def class_counts(task: Task, rows: Rows) -> npt.NDArray[np.int64]:
    """Return the pixels of each class, in millionths of an image."""
    shares = np.nansum(task.samples.targets[rows], axis=0)
    # A class with a single pixel in large masks still counts as present.
    return np.asarray(np.maximum(np.rint(shares * 1e6), shares > 0), np.int64)


def positives(targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Return which images have a pixel of a class other than the first, the background."""
    return np.asarray((targets[:, 1:] > 0).any(axis=1))


def check(recipe: Recipe, task: Task, batch: Mapping[str, Tensor], outputs: Tensor, loss: Loss) -> None:
    """Refuse components that cannot handle masks."""
    per_pixel.refuse_parts(recipe, "masks")


def rows(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return counts of pixels, see `counted`."""
    return counted(outputs.argmax(1), target.long(), outputs.shape[1])


def kept(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return counts of pixels, and the batch's loss."""
    target = target.long()
    mean = loss(outputs, target)
    return per_pixel.with_loss(rows(loss, outputs, target), mean)


def counted(predicted: Tensor, target: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Count the pixels of each image, on the device of the tensors.

    Args:
        predicted: Class numbers, shape (n, height, width), or with other spatial axes.
        target: The same, `IGNORED` where pixels do not count.
        classes: The number of classes.

    Returns:
        Predicted pixels and hits, shape (n, 2 * classes), and true pixels, shape (n, classes), both float64.
    """
    known = target != IGNORED
    first = torch.arange(len(target), device=target.device).view(-1, *[1] * (target.ndim - 1)) * classes

    def count(numbers: Tensor, where: Tensor) -> Tensor:
        counts = torch.bincount((numbers + first)[where], minlength=len(target) * classes)
        return counts.view(len(target), classes).double()

    hits = known & (predicted == target)
    return torch.cat([count(predicted, known), count(predicted, hits)], 1), count(target, known)
