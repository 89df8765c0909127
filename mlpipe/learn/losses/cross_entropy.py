"""Cross-entropies of classes, of independent labels, of pixels, and of values from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.data.task import IGNORED
from mlpipe.learn.losses.class_weights import ClassWeights, listed, of_positives, weights
from mlpipe.learn.losses.labels import Facts, Labels, refuse_keys, refuse_unless
from mlpipe.learn.losses.means import mean_of_known, power, weighted_mean


def ce(
    labels: Labels,
    *,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
) -> nn.Module:
    """Cross-entropy with softmax, for images or the pixels of masks.

    Args:
        labels: Facts about the training images.
        label_smoothing: Share of the target spread evenly over all classes (Szegedy et al. 2016).
        class_weights: `balanced` (n / (classes * count), as in scikit-learn; bounded, and 0 for classes absent from the
            training part, see `mlpipe.learn.losses.class_weights`), or one number for each class.
    """
    refuse_unless(_has_classes, "ce", labels)
    if labels.facts.is_dense:
        return PixelCrossEntropy(weights(labels, class_weights, label_smoothing), label_smoothing)
    return CrossEntropy(cross_entropies, weights(labels, class_weights, label_smoothing), label_smoothing)


def nll(labels: Labels, *, class_weights: ClassWeights = None) -> nn.Module:
    """Negative log-likelihood, torch.nn.NLLLoss, for images or pixels and networks that output log-probabilities.

    Args:
        labels: Facts about the training images.
        class_weights: As for `ce`.
    """
    refuse_unless(_has_classes, "nll", labels)
    if labels.facts.is_dense:
        return PixelCrossEntropy(weights(labels, class_weights), of_logs=True)
    return OverClasses(_log_losses, weights(labels, class_weights), 0.0)


def _log_losses(logs: Tensor, shares: Tensor) -> Tensor:
    # A class with probability 0 has an infinite log-probability, which must count only where that class is true.
    return torch.where(shares > 0, -shares * logs, torch.zeros_like(logs))


def bce(
    labels: Labels,
    *,
    label_smoothing: Annotated[float, ">= 0", "< 1"] = 0.0,
    class_weights: ClassWeights = None,
    pos_weight: ClassWeights = None,
) -> nn.Module:
    """Binary cross-entropy with sigmoid of each label, or each class against the rest; the mean over images and outputs.

    For target images it compares values from 0 to 1 (torch.nn.BCELoss), and the network must end in a sigmoid itself.

    Args:
        labels: Facts about the training images.
        label_smoothing: Targets t become t (1 - s) + s / 2 for labels (as in Keras), t (1 - s) + s / classes for classes (timm).
        class_weights: As for `ce`, but the mean is not divided by them (torch.nn.BCEWithLogitsLoss).
        pos_weight: The weight of positives, one for each output; `balanced`: negatives over positives in the training
            images with a known label, bounded in the same way.
    """
    refuse_unless(_is_binary, "bce", labels)
    if labels.facts.is_dense:
        refuse_keys("images", label_smoothing=label_smoothing, class_weights=class_weights, pos_weight=pos_weight)
        return Between(cross_entropy_of_values)
    if pos_weight == "balanced":
        positive: Tensor | None = of_positives(labels.counts, labels.known_counts).values
    else:
        positive = listed("pos_weight", labels, pos_weight)
    middle = 1 / len(labels.counts) if labels.facts.excludes else 0.5
    return EachLabel(positive, weights(labels, class_weights), label_smoothing, middle)


def _has_classes(its: Facts) -> bool:
    return its.excludes


def _is_binary(its: Facts) -> bool:
    """Whether outputs are binary: a class against the rest, a label, or a value from 0 to 1."""
    return its.of_labels or (its.excludes and not its.is_dense) or (its.of_numbers and its.is_dense)


class OverClasses(nn.Module):
    """A loss over a distribution of classes: the sum over classes of `formula`, which includes the target as a factor.

    Args:
        formula: Maps logits and target shares, both (n, classes), to values of the same shape.
        weight: The weight of each class, shape (classes,); None: all equal.
        label_smoothing: Share of the target spread evenly over all classes.
    """

    def __init__(
        self, formula: Callable[[Tensor, Tensor], Tensor], weight: Tensor | None, label_smoothing: float
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.weight: Tensor | None
        self._class_losses, self._smoothing = formula, label_smoothing
        self._can_vanish = weight is not None and bool((weight == 0).any())

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean loss of the rows with a known target."""
        classes = logits.shape[1]
        hard = F.one_hot(target, classes).to(logits.dtype) if target.ndim == 1 else target.nan_to_num(0.0)
        soft_target = hard * (1 - self._smoothing) + self._smoothing / classes
        share = hard.new_ones(len(hard)) if target.ndim == 1 else (~target.isnan().any(1)).to(hard.dtype)
        share = share if weight is None else share * weight.to(hard.dtype)
        values = self._class_losses(logits, soft_target)
        if self.weight is None:
            return weighted_mean((values.sum(dim=1) * share).sum(), share.sum())
        total = ((values * self.weight).sum(dim=1) * share).sum()
        return weighted_mean(total, ((hard * self.weight).sum(dim=1) * share).sum())


class CrossEntropy(OverClasses):
    """Cross-entropy over classes, with torch's fused kernel where it applies."""

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean loss."""
        if target.ndim != 1 or weight is not None or self._has_no_weight(target):
            return super().forward(logits, target, weight)
        return F.cross_entropy(logits, target, self.weight, label_smoothing=self._smoothing)

    def _has_no_weight(self, target: Tensor) -> bool:
        """Whether torch would divide by zero; checked only where it can happen, because it costs a GPU synchronisation."""
        return self._can_vanish and self.weight is not None and not bool(self.weight[target].any())


def cross_entropies(logits: Tensor, shares: Tensor) -> Tensor:
    """Return -share * log p of each class, shape (n, classes).

    Args:
        logits: Shape (n, classes).
        shares: The target share of each class, of the same shape.
    """
    return -shares * logits.log_softmax(dim=1)


class EachLabel(nn.Module):
    """Binary cross-entropy of independent labels.

    Args:
        pos_weight: The weight of positives relative to negatives, shape (outputs,); None: equal.
        weight: The weight of each label, of the same shape; None: all equal.
        label_smoothing: Share of the target that is replaced by `middle`.
        middle: The target of an output about which nothing is known: 1/2 for a label, 1 / classes for a class.
    """

    def __init__(
        self, pos_weight: Tensor | None, weight: Tensor | None, label_smoothing: float, middle: float = 0.5
    ) -> None:
        super().__init__()
        self.register_buffer("pos_weight", pos_weight)
        self.register_buffer("weight", weight)
        self.pos_weight: Tensor | None
        self.weight: Tensor | None
        self._smoothing, self._middle = label_smoothing, middle

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean loss."""
        truth = F.one_hot(target, logits.shape[1]).to(logits.dtype) if target.ndim == 1 else target
        known = ~truth.isnan()
        truth = truth.nan_to_num(0.0) * (1 - self._smoothing) + self._smoothing * self._middle
        values = F.binary_cross_entropy_with_logits(
            logits, truth, weight=self.weight, pos_weight=self.pos_weight, reduction="none"
        )
        return mean_of_known(values, known, weight)


class Between(nn.Module):
    """The mean over known targets of a function of outputs and targets.

    Args:
        formula: Maps outputs and targets to values of the same shape.
    """

    def __init__(self, formula: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._elementwise_loss = formula

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean loss."""
        known = ~target.isnan()
        return mean_of_known(self._elementwise_loss(outputs, target.nan_to_num(0.0)), known, weight)


def cross_entropy_of_values(outputs: Tensor, target: Tensor) -> Tensor:
    """Return -t log p - (1 - t) log(1 - p), with p kept 1e-7 away from 0 and 1.

    Args:
        outputs: p.
        target: t, of the same shape.
    """
    # torch's own function refuses half precision.
    chance = outputs.float().clamp(1e-7, 1 - 1e-7)
    return -(target * chance.log() + (1 - target) * (1 - chance).log())


class PixelCrossEntropy(nn.Module):
    """-(1 - p)^gamma log p of the true class of each pixel (Lin et al. 2017), which is cross-entropy for gamma 0.

    With label smoothing it is the sum over classes of this times the share of each, as for images. The mean over pixels is
    weighted by class and by image, as in torch.nn.CrossEntropyLoss.

    Args:
        weight: The weight of each class, shape (classes,); None: all equal.
        label_smoothing: Share of the target spread evenly over all classes.
        gamma: How strongly easy pixels are down-weighted.
        of_logs: Whether outputs are log-probabilities, used as they are (torch.nn.NLLLoss).
    """

    def __init__(
        self, weight: Tensor | None, label_smoothing: float = 0.0, gamma: float = 0.0, *, of_logs: bool = False
    ) -> None:
        super().__init__()
        self._of_logs = of_logs
        self.register_buffer("weight", weight)
        self.weight: Tensor | None
        self._smoothing, self._gamma = label_smoothing, gamma

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean over the pixels that count; zero if none does."""
        known = target != IGNORED
        if self._of_logs:
            values = F.nll_loss(logits, target, self.weight, ignore_index=IGNORED, reduction="none")
        else:
            values = F.cross_entropy(
                logits, target, self.weight, ignore_index=IGNORED, reduction="none", label_smoothing=self._smoothing
            )
        safe = torch.where(known, target, 0)
        if self._gamma and self._smoothing:
            logs = logits.log_softmax(1)
            losses = -power(1 - logs.exp(), self._gamma) * logs
            if self.weight is not None:
                losses = losses * self.weight.view(1, -1, *[1] * (logits.ndim - 2))
            true = losses.gather(1, safe[:, None])[:, 0]
            values = ((1 - self._smoothing) * true + self._smoothing * losses.mean(1)) * known
        elif self._gamma:
            chance = logits.softmax(1).gather(1, safe[:, None])[:, 0]
            values = values * power(1 - chance, self._gamma)
        share = known.to(values.dtype) if self.weight is None else self.weight[safe] * known
        if weight is not None:
            own = weight.view(-1, *[1] * (values.ndim - 1))
            share, values = share * own, values * own
        return weighted_mean(values.sum(), share.sum())
