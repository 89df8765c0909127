"""Losses that down-weight easy samples: focal, PolyLoss, asymmetric."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.losses.class_weights import ClassWeights, weights
from mlpipe.learn.losses.cross_entropy import OverClasses, PixelCrossEntropy
from mlpipe.learn.losses.labels import Labels, refuse_keys, refuse_unless
from mlpipe.learn.losses.means import mean_of_known, power


def focal(
    labels: Labels,
    *,
    gamma: Annotated[float, ">= 0"] = 2.0,
    alpha: Annotated[float, "> 0", "< 1"] | None = None,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """Focal loss (Lin et al. 2017): cross-entropy times (1 - p)^gamma, where p is the probability of the true side.

    Uses a softmax for classes, of images or of pixels, and a sigmoid for each label.

    Args:
        labels: Facts about the training images.
        gamma: The focusing exponent; 0 is cross-entropy.
        alpha: For labels the weight of positives, with 1 - alpha for negatives; None: both have weight 1.
        label_smoothing: As for `ce`; classes only.
        class_weights: As for `ce`; classes only.
    """
    refuse_unless(lambda its: not its.of_numbers, "focal", labels)
    if labels.facts.of_labels:
        refuse_keys("multi-label", label_smoothing=label_smoothing, class_weights=class_weights)
        return FocalLabels(gamma, alpha)
    if alpha is not None:
        fix = "use loss.class_weights for classes"
        raise ConfigError(problem("loss.alpha", "is for multi-label tasks", got=alpha, fix=fix))
    if labels.facts.is_dense:
        return PixelCrossEntropy(weights(labels, class_weights, label_smoothing), label_smoothing, gamma)

    def each(logits: Tensor, shares: Tensor) -> Tensor:
        logs = logits.log_softmax(dim=1)
        return -shares * power(1 - logs.exp(), gamma) * logs

    return OverClasses(each, weights(labels, class_weights, label_smoothing), label_smoothing)


def poly1(
    labels: Labels,
    *,
    epsilon: float = 1.0,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """PolyLoss of the first order (Leng et al. 2022): cross-entropy plus epsilon (1 - p).

    Args:
        labels: Facts about the training images.
        epsilon: The weight of the second term; 0 is cross-entropy.
        label_smoothing: As for `ce`.
        class_weights: As for `ce`.
    """
    refuse_unless(lambda its: its.excludes and not its.is_dense, "poly1", labels)

    def each(logits: Tensor, shares: Tensor) -> Tensor:
        logs = logits.log_softmax(dim=1)
        return shares * (epsilon * (1 - logs.exp()) - logs)

    return OverClasses(each, weights(labels, class_weights, label_smoothing), label_smoothing)


def asymmetric(
    labels: Labels,
    *,
    gamma_neg: Annotated[float, ">= 0"] = 4.0,
    gamma_pos: Annotated[float, ">= 0"] = 1.0,
    clip: Annotated[float, ">= 0", "< 1"] = 0.05,
) -> nn.Module:
    """Asymmetric loss for labels (Ridnik et al. 2021): easy negatives are down-weighted more than easy positives.

    Args:
        labels: Facts about the training images.
        gamma_neg: Focusing exponent of negatives.
        gamma_pos: Focusing exponent of positives.
        clip: Probability below which a negative does not count.
    """
    refuse_unless(lambda its: its.of_labels, "asymmetric", labels)
    return AsymmetricLabels(gamma_neg, gamma_pos, clip)


class FocalLabels(nn.Module):
    """The focal loss of independent labels (Lin et al. 2017).

    Args:
        gamma: How strongly easy labels are down-weighted.
        alpha: The weight of positives, with 1 - alpha for negatives; None: equal weights.
    """

    def __init__(self, gamma: float, alpha: float | None) -> None:
        super().__init__()
        self._gamma, self._alpha = gamma, alpha

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean loss."""
        known = ~target.isnan()
        truth = target.nan_to_num(0.0)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        probability = logits.sigmoid()
        right = probability * truth + (1 - probability) * (1 - truth)
        values = cross_entropy * power(1 - right, self._gamma)
        if self._alpha is not None:
            values = values * (self._alpha * truth + (1 - self._alpha) * (1 - truth))
        return mean_of_known(values, known, weight)


class AsymmetricLabels(nn.Module):
    """The asymmetric loss of independent labels (Ridnik et al. 2021).

    Args:
        gamma_neg: How strongly easy negatives are down-weighted.
        gamma_pos: How strongly easy positives are down-weighted.
        clip: Probability below which a negative does not count.
    """

    def __init__(self, gamma_neg: float, gamma_pos: float, clip: float) -> None:
        super().__init__()
        self._gamma_neg, self._gamma_pos, self._clip = gamma_neg, gamma_pos, clip

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean loss."""
        known = ~target.isnan()
        truth = target.nan_to_num(0.0)
        positive = logits.sigmoid()
        negative = (1 - positive + self._clip).clamp(max=1)
        log_positive, log_negative = F.logsigmoid(logits), negative.clamp(min=1e-8).log()
        values = -truth * power(1 - positive, self._gamma_pos) * log_positive
        values = values - (1 - truth) * power(1 - negative, self._gamma_neg) * log_negative
        return mean_of_known(values, known, weight)
