"""The usual loss of a task."""

from __future__ import annotations

from typing import Annotated, Any

from torch import nn

from mlpipe.errors import ConfigError, problem
from mlpipe.learn import kind
from mlpipe.learn.losses.class_weights import ClassWeights
from mlpipe.learn.losses.labels import Labels


def auto(
    labels: Labels,
    *,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """The default loss of the task's kind: cross-entropy, binary cross-entropy for labels, squared error for numbers.

    For boxes it is the network's own loss where it computes one, otherwise `yolov3` with complete intersection over union
    and match_iou 0.4, which learns as much in a few epochs as the form of the paper in many.

    Args:
        labels: Facts about the training images.
        label_smoothing: Share of the target spread evenly over all classes.
        class_weights: As for `ce`.

    Raises:
        ConfigError: When a key is given that the loss of this kind does not take.
    """
    build = kind.of(labels.kind).USUAL_LOSS
    assert build is not None, labels.kind
    options: dict[str, Any] = {"label_smoothing": label_smoothing, "class_weights": class_weights}
    if labels.facts.excludes:
        return build(labels, **options)
    if wrong := [name for name, value in options.items() if value]:
        fix = "leave it out" + (", or use loss.pos_weight with loss=bce" if labels.facts.of_labels else "")
        raise ConfigError([problem(f"loss.{name}", "is for classification tasks", fix=fix) for name in wrong])
    return build(labels)
