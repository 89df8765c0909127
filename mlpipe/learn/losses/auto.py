"""The usual loss of a task."""

from __future__ import annotations

from typing import Annotated

from torch import nn

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.losses.class_weights import ClassWeights
from mlpipe.learn.losses.cross_entropy import bce, ce
from mlpipe.learn.losses.labels import Labels
from mlpipe.learn.losses.numbers import mse
from mlpipe.learn.losses.yolov3 import OfNetwork, yolov3


def auto(
    labels: Labels,
    *,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """The usual loss of the task's kind: cross-entropy, binary cross-entropy for labels, squared error for numbers.

    For boxes it is the network's own where that computes one, else that of `yolov3` with complete intersection over union,
    of every anchor whose shape overlaps an object's by 0.4: a few epochs do what those of the paper's form do in many.

    Args:
        labels: What is known of the training images.
        label_smoothing: Share of the target spread evenly over all classes.
        class_weights: As for `ce`.

    Raises:
        ConfigError: When a key is given that the kind's loss does not take.
    """
    if labels.facts.excludes:
        return ce(labels, label_smoothing=label_smoothing, class_weights=class_weights)
    given = {"label_smoothing": label_smoothing, "class_weights": class_weights}
    if wrong := [name for name, value in given.items() if value]:
        fix = "leave it out" + (", or use loss.pos_weight with loss=bce" if labels.facts.of_labels else "")
        raise ConfigError([problem(f"loss.{name}", "is for classification tasks", fix=fix) for name in wrong])
    if labels.facts.of_boxes:
        return OfNetwork(yolov3(labels, box="ciou", match_iou=0.4))
    return bce(labels) if labels.facts.of_labels else mse(labels)
