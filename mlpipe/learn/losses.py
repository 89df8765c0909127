"""Losses by name. A loss takes logits (n, classes) and class numbers (n,) and gives the mean over the images.

The program gives each the number of training images of every class, from the training folds only.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.errors import ConfigError, problem

ClassWeights = Literal["balanced"] | list[float] | None


def auto(
    class_counts: Tensor,
    *,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """The usual loss of the task's kind: cross-entropy for classification.

    Args:
        class_counts: Training images of each class, shape (classes,).
        label_smoothing: Share of the target spread evenly over all classes.
        class_weights: As for `ce`.
    """
    return ce(class_counts, label_smoothing=label_smoothing, class_weights=class_weights)


def ce(
    class_counts: Tensor,
    *,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """Cross-entropy over softmax, torch.nn.CrossEntropyLoss.

    Args:
        class_counts: Training images of each class, shape (classes,).
        label_smoothing: Share of the target spread evenly over all classes (Szegedy et al. 2016).
        class_weights: `balanced` (n / (classes * count), as scikit-learn), or one number for each class.
    """
    return nn.CrossEntropyLoss(weight=weights(class_counts, class_weights), label_smoothing=label_smoothing)


def bce(
    class_counts: Tensor,
    *,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """Binary cross-entropy of each class against the rest, over sigmoid; the mean over images and classes.

    Args:
        class_counts: Training images of each class, shape (classes,).
        label_smoothing: Targets become `label_smoothing / classes` and `1 - label_smoothing + label_smoothing / classes`.
        class_weights: As for `ce`.
    """
    return _OneVsRest(weights(class_counts, class_weights), label_smoothing)


def focal(
    class_counts: Tensor,
    *,
    gamma: Annotated[float, ">= 0"] = 2.0,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """Focal loss over softmax (Lin et al. 2017): each image's cross-entropy times (1 - p)^gamma, p its class's probability.

    Args:
        class_counts: Training images of each class, shape (classes,).
        gamma: 0 is cross-entropy.
        label_smoothing: As for `ce`.
        class_weights: As for `ce`.
    """
    return _Focal(weights(class_counts, class_weights), gamma, label_smoothing)


def weights(class_counts: Tensor, wanted: str | list[float] | None) -> Tensor | None:
    """The weight of each class, shape (classes,).

    Raises:
        ConfigError: When a list has another length than there are classes, or is not positive.
    """
    if wanted is None:
        return None
    if wanted == "balanced":
        return class_counts.sum() / (len(class_counts) * class_counts.clamp(min=1).float())
    if len(wanted) != len(class_counts) or min(float(value) for value in wanted) <= 0:
        fix = f"give {len(class_counts)} positive numbers, or balanced"
        raise ConfigError(problem("loss.class_weights", "does not fit the classes", got=wanted, fix=fix))
    return torch.tensor([float(value) for value in wanted])


class _OneVsRest(nn.Module):
    def __init__(self, weight: Tensor | None, label_smoothing: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.weight: Tensor | None
        self._smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        classes = logits.shape[1]
        wanted = F.one_hot(target, classes).to(logits.dtype)
        wanted = wanted * (1 - self._smoothing) + self._smoothing / classes
        return F.binary_cross_entropy_with_logits(logits, wanted, weight=self.weight)


class _Focal(nn.Module):
    def __init__(self, weight: Tensor | None, gamma: float, label_smoothing: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.weight: Tensor | None
        self._gamma, self._smoothing = gamma, label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        each = F.cross_entropy(logits, target, self.weight, reduction="none", label_smoothing=self._smoothing)
        probability = logits.softmax(dim=1).gather(1, target[:, None])[:, 0]
        each = each * (1 - probability) ** self._gamma
        return each.mean() if self.weight is None else each.sum() / self.weight[target].sum()
