"""Overlap losses for masks: Dice, Jaccard and Lovász."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.data.task import IGNORED
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.losses.class_weights import ClassWeights, weights
from mlpipe.learn.losses.labels import Facts, Labels, refuse_unless
from mlpipe.learn.losses.means import weighted_mean

Over = Literal["present", "all"]


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
    """1 - the soft Dice coefficient, averaged over classes (Milletari et al. 2016).

    Args:
        labels: Facts about the training images.
        smooth: Added to numerator and denominator; 1 is usual where many images show nothing but background.
        eps: The smallest value of the denominator.
        per_image: Compute it for each image instead of over all pixels of a batch together.
        square: Square the probabilities in the denominator.
        over: Classes to average over: those `present` in the batch, or `all`.
        class_weights: As for `ce`, in the mean over classes.
    """
    refuse_unless(_has_masks, "dice", labels)
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
    """1 - the soft intersection over union, averaged over classes (Rahman & Wang 2016).

    Args:
        labels: Facts about the training images.
        smooth: As for `dice`.
        eps: As for `dice`.
        per_image: As for `dice`.
        over: As for `dice`.
        class_weights: As for `dice`.
    """
    refuse_unless(_has_masks, "jaccard", labels)
    return PixelOverlap(
        "jaccard", smooth=smooth, eps=eps, per_image=per_image, over=over, weight=weights(labels, class_weights)
    )


def overlap(
    labels: Labels,
    *,
    of: Literal["dice", "jaccard"] = "dice",
    eps: Annotated[float, "> 0"] = 1.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """1 - the overlap of a batch's pixels with `eps` added to the denominator only, averaged over all classes.

    Args:
        labels: Facts about the training images.
        of: `dice` or `jaccard`.
        eps: Added to the denominator.
        class_weights: As for `ce`, in the mean over classes.
    """
    refuse_unless(_has_masks, "overlap", labels)
    return PixelOverlap(of, over="all", eps=eps, adds_eps=True, weight=weights(labels, class_weights))


def pixel_mse(labels: Labels) -> nn.Module:
    """The mean squared difference between each pixel's probabilities and its one-hot class (Brier 1950).

    Args:
        labels: Facts about the training images.
    """
    refuse_unless(_has_masks, "pixel_mse", labels)
    return PixelSquares()


def lovasz(labels: Labels, *, per_image: bool = False, hinge: bool = False) -> nn.Module:
    """The Lovász extension of the Jaccard loss (Berman et al. 2018), with softmax or as a hinge.

    Args:
        labels: Facts about the training images.
        per_image: Average over images, instead of using all pixels of a batch together.
        hinge: For two classes: use the Lovász hinge of the second class's logit.

    Raises:
        ConfigError: When `hinge` is set for more than two classes.
    """
    refuse_unless(_has_masks, "lovasz", labels)
    if hinge and len(labels.counts) != 2:
        fix = "leave it out, the softmax does for any number of classes"
        raise ConfigError(problem("loss.hinge", f"is for two classes, the task has {len(labels.counts)}", fix=fix))
    return PixelLovasz(per_image, hinge)


def _has_masks(its: Facts) -> bool:
    return its.excludes and its.is_dense


def dice_of(shared: Tensor, total: Tensor, smooth: float, eps: float = 1e-7) -> Tensor:
    """Return (2 I + s) / (P + T + s), the Dice coefficient of soft sets (Milletari et al. 2016).

    Metrics count pixels in NumPy instead, with `mlpipe.post.measures.mask_metrics.dice_of` and `elementwise.dice` beside it.

    Args:
        shared: I, the sum of products.
        total: P + T.
        smooth: s.
        eps: The smallest value of the denominator.
    """
    return (2 * shared + smooth) / (total + smooth).clamp(min=eps)


def jaccard_of(shared: Tensor, total: Tensor, smooth: float, eps: float = 1e-7) -> Tensor:
    """Return (I + s) / (P + T - I + s), the intersection over union of soft sets (Rahman & Wang 2016).

    Args:
        shared: As for `dice_of`.
        total: As for `dice_of`.
        smooth: As for `dice_of`.
        eps: As for `dice_of`.
    """
    return (shared + smooth) / (total - shared + smooth).clamp(min=eps)


class PixelSquares(nn.Module):
    """The mean squared difference between probabilities and one-hot classes over known pixels and classes."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch; zero if no pixel counts."""
        known = (target != IGNORED)[:, None].expand_as(logits)
        true = F.one_hot(torch.where(target != IGNORED, target, 0), logits.shape[1]).movedim(-1, 1)
        squares = (logits.float().softmax(1) - true) ** 2
        return weighted_mean((squares * known).sum(), known.float().sum())


class PixelOverlap(nn.Module):
    """1 - the overlap of each class's probabilities with its pixels, averaged over classes.

    The overlap is `dice_of` or `jaccard_of`, where I is the sum of the true class's probabilities, and P and T are the sums
    of probabilities and of pixels over the batch.

    Args:
        name: `dice` or `jaccard`.
        smooth: s; larger values make small objects count less.
        per_image: Sum over each image instead of the batch, and average over images.
        square: Square the probabilities in P, as in V-Net.
        over: Average over the classes present in the sums, or over `all`: a class without pixels then demands
            probabilities of zero.
        eps: The smallest value of a denominator.
        adds_eps: Add `eps` to the denominator instead.
        weight: The weight of each class in the mean, shape (classes,); None: all equal.
    """

    def __init__(
        self,
        name: Literal["dice", "jaccard"],
        *,
        smooth: float = 0.0,
        per_image: bool = False,
        square: bool = False,
        over: Over = "present",
        eps: float = 1e-7,
        adds_eps: bool = False,
        weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.weight: Tensor | None
        self._name, self._smooth, self._square, self._over, self._eps = name, smooth, square, over, eps
        self._per_image, self._adds_eps = per_image, adds_eps

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch; zero if no pixel counts."""
        known = (target != IGNORED)[:, None]
        chance = logits.float().softmax(1) * known
        true = F.one_hot(torch.where(known[:, 0], target, 0), logits.shape[1]).movedim(-1, 1) * known
        spatial = tuple(range(2, logits.ndim))
        axes = spatial if self._per_image else (0, *spatial)
        shared, pixels = (chance * true).sum(axes), true.sum(axes)
        predicted_pixels = (chance**2 if self._square else chance).sum(axes)
        formula = dice_of if self._name == "dice" else jaccard_of
        more = self._eps if self._adds_eps else 0.0
        overlap = formula(shared, predicted_pixels + pixels + more, self._smooth, self._eps)
        counted = (pixels > 0).float() if self._over == "present" else torch.ones_like(overlap)
        counted = counted * (known.flatten(1).any(1)[:, None] if self._per_image else known.any()).float()
        if self.weight is not None:
            counted = counted * self.weight
        return weighted_mean(((1 - overlap) * counted).sum(), counted.sum())


class PixelLovasz(nn.Module):
    """The Lovász extension of the Jaccard loss (Berman, Rannen Triki & Blaschko 2018), with softmax or as a hinge.

    Args:
        per_image: Average over images, instead of using all pixels of the batch together.
        hinge: For two classes, use the hinge of the second class's logit instead of the softmax errors of both.
    """

    def __init__(self, per_image: bool = False, hinge: bool = False) -> None:
        super().__init__()
        from segmentation_models_pytorch.losses import LovaszLoss  # type: ignore[import-untyped]

        kind = "binary" if hinge else "multiclass"
        self._loss, self._per_image = LovaszLoss(kind, ignore_index=IGNORED, from_logits=True), per_image
        self._hinge = hinge

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch; zero if no pixel counts."""
        # The loss sorts errors, whose order is lost in float16.
        logits, known = logits.float(), (target != IGNORED).flatten(1).any(1)
        if not known.any():
            return logits.sum() * 0
        # The order of pixels does not matter, and the library accepts only maps of two axes.
        logits, target = logits.flatten(2)[:, :, None], target.flatten(1)[:, None]
        if self._hinge:
            logits = logits[:, 1] - logits[:, 0]
        if not self._per_image:
            loss: Tensor = self._loss(logits, target)
            return loss
        places = known.nonzero()[:, 0].tolist()
        return torch.stack(
            [self._loss(logits[place : place + 1], target[place : place + 1]) for place in places]
        ).mean()
