"""Train detectors: a network returns raw rows in training and detections in evaluation; both are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpipe.arch import boxes
from mlpipe.arch.classifier import Head
from mlpipe.config.schema import Recipe
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, problem
from mlpipe.learn import per_pixel
from mlpipe.learn.build.loss import try_own
from mlpipe.learn.kind import Loss, Scale
from mlpipe.learn.kind import all_known as known_counts
from mlpipe.learn.kind import no_scale as scale
from mlpipe.learn.losses.labels import Labels
from mlpipe.learn.losses.yolov3 import OfNetwork, Yolov3, yolov3
from mlpipe.learn.per_pixel import validated

__all__ = ["known_counts", "scale", "validated"]

FITTING_LOSSES = ("auto", "yolov3")
TARGETS_HAVE_OWN_SHAPE = False
NEEDS_ALL_DIGITS = False
OF_NUMBERS = False
VIEWS_HAVE_MEAN = False
CHECKS_OUTPUTS = True


def usual_loss(labels: Labels) -> nn.Module:
    """Return the network's own loss if it computes one, else that of `yolov3` with complete intersection over union.

    Every anchor whose shape overlaps that of an object by 0.4 learns the object, because this needs far fewer epochs than the
    assignment of the paper.

    Args:
        labels: What is known of the training images.
    """
    return OfNetwork(yolov3(labels, box="ciou", match_iou=0.4))


USUAL_LOSS = usual_loss


def head(outputs: int, scale: Scale | None, activations: Sequence[tuple[str, int]]) -> Head:
    """Return a head for boxes, each with the scores of all classes."""
    networks = "arch=yolo arch.backbone={name}, or fasterrcnn, retinanet, fcos, ssd"
    return Head(outputs, most=boxes.MOST, each="object", networks=networks)


def answer_shape(outputs: int, sides: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the detections: corners, score and class number of each."""
    return boxes.MOST, boxes.COLUMNS


def class_counts(task: Task, rows: Rows) -> npt.NDArray[np.int64]:
    """Return the number of boxes of each class."""
    return np.asarray(np.nansum(task.samples.targets[rows], axis=0), np.int64)


def positives(targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Return which images have a box."""
    return np.asarray((targets > 0).any(axis=1))


def check(recipe: Recipe, task: Task, batch: Mapping[str, Tensor], outputs: Tensor, loss: Loss) -> None:
    """Refuse components that cannot handle boxes, and another loss for a network that computes its own."""
    per_pixel.refuse_parts(recipe, "boxes")
    if not isinstance(loss, Yolov3 | OfNetwork) and not recipe.loss.is_users:
        fix = f"use {' or '.join(FITTING_LOSSES)}"
        raise ConfigError(problem("loss", "knows nothing of boxes", got=recipe.loss.name, fix=fix))
    if outputs.ndim == 2 and not isinstance(loss, OfNetwork):
        wrong = f"{recipe.arch.title} computes its own loss"
        raise ConfigError(problem("loss", wrong, got=recipe.loss.name, fix="use loss=auto, or arch=yolo"))
    if outputs.ndim == 2 and task.samples.weights is not None:
        fix = "use arch=yolo, or leave the column of weights out"
        raise ConfigError(
            problem("loss", f"that of {recipe.arch.title} takes no weights of images, the task has them", fix=fix)
        )
    try_own(recipe, loss, outputs, batch["target"], batch.get("weight"))
    if recipe.metrics.while_training:
        fix = "leave it out"
        raise ConfigError(problem("metrics.while_training", "raw rows of training images have no metrics", fix=fix))


def rows(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return detections and true boxes of each image, flattened.

    Args:
        loss: The head's.
        outputs: Detections, shape (n, most, 6), padded with NaN.
        target: Shape (n, boxes, 5), padded with NaN; the class of the first box is -1 where nothing is known.

    Returns:
        Detections, shape (n, most * 6), zeros where there is none; and the number of boxes with the boxes, shape
        (n, 1 + boxes * 5), NaN in all columns of an image where nothing is known.
    """
    count = (target[..., 4] >= 0).sum(1, keepdim=True).to(target.dtype)
    true = torch.cat([count, target.flatten(1)], 1)
    is_unknown = target[:, :1, 4] == -1
    return outputs.nan_to_num(0.0).flatten(1), true.masked_fill(is_unknown, torch.nan)


def kept(loss: Loss, outputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return detections and true boxes, and the batch's loss."""
    return per_pixel.with_loss(rows(loss, outputs, target), loss(outputs, target))
