"""Losses of overlap for segmentation by name: Dice, Jaccard and Lovász."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.losses.losses import ClassWeights, Labels, refuse_other_kinds, weights
from mlpipe.learn.losses.pixels import PixelLovasz, PixelOverlap


def dice(
    labels: Labels,
    *,
    smooth: Annotated[float, ">= 0"] = 0.0,
    eps: Annotated[float, "> 0"] = 1e-7,
    per_image: bool = False,
    square: bool = False,
    over: Literal["present", "all"] = "present",
    class_weights: ClassWeights = None,
) -> nn.Module:
    """1 - the soft Dice coefficient, the mean over classes (Milletari et al. 2016).

    Args:
        labels: What is known of the training images.
        smooth: Added above and below; 1 is usual where many images have nothing but background.
        eps: What the denominator is at least.
        per_image: Of each image instead of all pixels of a batch together.
        square: Squared probabilities in the denominator.
        over: The mean over classes that a batch has pixels of, or over `all`.
        class_weights: As for `ce`, in the mean over classes.
    """
    refuse_other_kinds("dice", labels, ("segmentation",))
    return PixelOverlap(
        "dice",
        smooth=smooth,
        eps=eps,
        per_image=per_image,
        square=square,
        over=over,
        weight=weights(labels, class_weights),
    )


def jaccard(
    labels: Labels,
    *,
    smooth: Annotated[float, ">= 0"] = 0.0,
    eps: Annotated[float, "> 0"] = 1e-7,
    per_image: bool = False,
    over: Literal["present", "all"] = "present",
    class_weights: ClassWeights = None,
) -> nn.Module:
    """1 - the soft intersection over union, the mean over classes (Rahman & Wang 2016).

    Args:
        labels: What is known of the training images.
        smooth: As for `dice`.
        eps: As for `dice`.
        per_image: As for `dice`.
        over: As for `dice`.
        class_weights: As for `dice`.
    """
    refuse_other_kinds("jaccard", labels, ("segmentation",))
    return PixelOverlap(
        "jaccard", smooth=smooth, eps=eps, per_image=per_image, over=over, weight=weights(labels, class_weights)
    )


def lovasz(labels: Labels, *, per_image: bool = False, hinge: bool = False) -> nn.Module:
    """The Lovász extension of the Jaccard loss (Berman et al. 2018), over softmax or as a hinge.

    Args:
        labels: What is known of the training images.
        per_image: The mean over images, instead of all pixels of a batch together.
        hinge: For two classes: the Lovász hinge of the second one's logit.

    Raises:
        ConfigError: When a hinge is wanted of more than two classes.
    """
    refuse_other_kinds("lovasz", labels, ("segmentation",))
    if hinge and len(labels.counts) != 2:
        fix = "leave it out, the softmax does for any number of classes"
        raise ConfigError(problem("loss.hinge", f"is for two classes, the task has {len(labels.counts)}", fix=fix))
    return PixelLovasz(per_image, hinge)
