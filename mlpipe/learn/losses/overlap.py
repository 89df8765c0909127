"""Losses of overlap for masks: Dice, Jaccard and Lovász."""

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
    """1 - the soft Dice coefficient, the mean over classes (Milletari et al. 2016).

    Args:
        labels: What is known of the training images.
        smooth: Added above and below; 1 is usual where many images have nothing but background.
        eps: The smallest value of the denominator.
        per_image: Of each image instead of all pixels of a batch together.
        square: Squared probabilities in the denominator.
        over: The mean over classes that a batch has pixels of, or over `all`.
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
    """1 - the soft intersection over union, the mean over classes (Rahman & Wang 2016).

    Args:
        labels: What is known of the training images.
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
    """1 - the overlap with `eps` added to the denominator alone, over a batch's pixels and the mean over all classes.

    Args:
        labels: What is known of the training images.
        of: `dice` or `jaccard`.
        eps: Added to the denominator.
        class_weights: As for `ce`, in the mean over classes.
    """
    refuse_unless(_has_masks, "overlap", labels)
    return PixelOverlap(of, over="all", eps=eps, adds_eps=True, weight=weights(labels, class_weights))


def pixel_mse(labels: Labels) -> nn.Module:
    """The mean squared difference of each pixel's probabilities and its class as 0 or 1 (Brier 1950).

    Args:
        labels: What is known of the training images.
    """
    refuse_unless(_has_masks, "pixel_mse", labels)
    return PixelSquares()


def lovasz(labels: Labels, *, per_image: bool = False, hinge: bool = False) -> nn.Module:
    """The Lovász extension of the Jaccard loss (Berman et al. 2018), over softmax or as a hinge.

    Args:
        labels: What is known of the training images.
        per_image: The mean over images, instead of all pixels of a batch together.
        hinge: For two classes: the Lovász hinge of the second one's logit.

    Raises:
        ConfigError: When a hinge is wanted of more than two classes.
    """
    refuse_unless(_has_masks, "lovasz", labels)
    if hinge and len(labels.counts) != 2:
        fix = "leave it out, the softmax does for any number of classes"
        raise ConfigError(problem("loss.hinge", f"is for two classes, the task has {len(labels.counts)}", fix=fix))
    return PixelLovasz(per_image, hinge)


def _has_masks(its: Facts) -> bool:
    return its.excludes and its.is_dense


def dice_of(shared: Tensor, total: Tensor, smooth: float, eps: float = 1e-7) -> Tensor:
    """(2 I + s) / (P + T + s), Dice of soft sets (Milletari et al. 2016).

    Metrics count pixels or sides of one half in NumPy: `mlpipe.post.measures.mask_metrics.dice_of`, `elementwise.dice` beside it.

    Args:
        shared: I, the sum of products.
        total: P + T.
        smooth: s.
        eps: The smallest value of the denominator.
    """
    return (2 * shared + smooth) / (total + smooth).clamp(min=eps)


def jaccard_of(shared: Tensor, total: Tensor, smooth: float, eps: float = 1e-7) -> Tensor:
    """(I + s) / (P + T - I + s), the intersection over the union of soft sets (Rahman & Wang 2016).

    Args:
        shared: As for `dice_of`.
        total: As for `dice_of`.
        smooth: As for `dice_of`.
        eps: As for `dice_of`.
    """
    return (shared + smooth) / (total - shared + smooth).clamp(min=eps)


class PixelSquares(nn.Module):
    """The squared distance of probabilities to classes, the mean over known pixels and classes."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch; zero where no pixel counts."""
        known = (target != IGNORED)[:, None].expand_as(logits)
        true = F.one_hot(torch.where(target != IGNORED, target, 0), logits.shape[1]).movedim(-1, 1)
        squares = (logits.float().softmax(1) - true) ** 2
        return weighted_mean((squares * known).sum(), known.float().sum())


class PixelOverlap(nn.Module):
    """1 - the overlap of each class's probabilities with its pixels, the mean over classes.

    The overlap is that of `dice_of` or `jaccard_of`, with I the sum of the true class's probabilities, P and T the sums of
    probabilities and of pixels over the batch.

    Args:
        name: Which of the two.
        smooth: s; larger values make small objects count less.
        per_image: Sums over each image instead of the batch, and the mean over images.
        square: Squares in P, as in V-Net.
        over: The mean over the classes that the sums have pixels of, or over all: a class without any then asks for
            probabilities of zero.
        eps: What a denominator is at least.
        adds_eps: Add `eps` to the denominator in place of that.
        weight: The weight of each class in the mean, shape (classes,); None: all the same.
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
        """The loss of a batch; zero where no pixel counts."""
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
    """The Lovász extension of the Jaccard loss (Berman, Rannen Triki & Blaschko 2018), of a softmax or as a hinge.

    Args:
        per_image: The mean over images, instead of all pixels of the batch together.
        hinge: For two classes the hinge of the second one's logit, in place of the softmax's errors of both.
    """

    def __init__(self, per_image: bool = False, hinge: bool = False) -> None:
        super().__init__()
        from segmentation_models_pytorch.losses import LovaszLoss  # type: ignore[import-untyped]

        kind = "binary" if hinge else "multiclass"
        self._loss, self._per_image = LovaszLoss(kind, ignore_index=IGNORED, from_logits=True), per_image
        self._hinge = hinge

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch; zero where no pixel counts."""
        # float16 loses the order of errors that it is made of.
        logits, known = logits.float(), (target != IGNORED).flatten(1).any(1)
        if not known.any():
            return logits.sum() * 0
        # The order of pixels matters nowhere, and the library knows maps of two axes only.
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
