"""The modules behind losses of classes, labels and numbers: means over what is known, with weights of classes and images.

They are called as `mlpipe.learn.losses.losses` says.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def probabilities(outputs: Tensor, kind: str) -> Tensor:
    """What outputs say as probabilities; numbers stay as they are.

    Args:
        outputs: Logits or numbers, shape (n, outputs), or (n, classes, height, width) for masks.
        kind: What is predicted.
    """
    if kind == "regression":
        return outputs
    return outputs.softmax(1) if kind in ("classification", "segmentation") else outputs.sigmoid()


def weighted_mean(total: Tensor, share: Tensor) -> Tensor:
    """A weighted sum over the sum of its weights; zero, and so its gradient, where these are zero.

    Every loss that divides by weights does it here: a batch may have nothing that counts, because its images, its classes
    or all its pixels have no weight.

    Args:
        total: The sum.
        share: The sum of weights, >= 0, of the same shape.
    """
    counts = share > 0
    return torch.where(counts, total / torch.where(counts, share, torch.ones_like(share)), torch.zeros_like(total))


def mean_of_known(values: Tensor, known: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over known entries, each row with its weight; zero, and so its gradient, where nothing is known.

    Args:
        values: Shape (n, outputs), or (n, channels, height, width).
        known: Which of them count, alike.
        weight: Of each row, shape (n,); None: all the same.
    """
    own = None if weight is None else weight.to(values.dtype).view(-1, *[1] * (values.ndim - 1))
    share = known.to(values.dtype) if own is None else known * own
    return weighted_mean((torch.where(known, values, values.new_zeros(())) * share).sum(), share.sum())


class OverClasses(nn.Module):
    """Losses over a distribution of classes: the sum over classes of `each`, which holds the target as a factor.

    Args:
        each: Logits and wanted shares of classes, both (n, classes), to values alike.
        weight: The weight of each class, shape (classes,); None: all the same.
        label_smoothing: Share of the target spread evenly over all classes.
    """

    def __init__(self, each: Callable[[Tensor, Tensor], Tensor], weight: Tensor | None, label_smoothing: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.weight: Tensor | None
        self._each, self._smoothing = each, label_smoothing
        self._can_vanish = weight is not None and bool((weight == 0).any())

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean loss of the rows whose target is known."""
        classes = logits.shape[1]
        hard = F.one_hot(target, classes).to(logits.dtype) if target.ndim == 1 else target.nan_to_num(0.0)
        wanted = hard * (1 - self._smoothing) + self._smoothing / classes
        share = hard.new_ones(len(hard)) if target.ndim == 1 else (~target.isnan().any(1)).to(hard.dtype)
        share = share if weight is None else share * weight.to(hard.dtype)
        values = self._each(logits, wanted)
        if self.weight is None:
            return weighted_mean((values.sum(dim=1) * share).sum(), share.sum())
        return weighted_mean(((values * self.weight).sum(dim=1) * share).sum(), ((hard @ self.weight) * share).sum())


class CrossEntropy(OverClasses):
    """The same through torch's fused kernel where that can say it."""

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean loss."""
        if target.ndim != 1 or weight is not None or self._has_no_weight(target):
            return super().forward(logits, target, weight)
        return F.cross_entropy(logits, target, self.weight, label_smoothing=self._smoothing)

    def _has_no_weight(self, target: Tensor) -> bool:
        """Whether torch would divide by zero; to look at a batch costs time on a GPU, so only where it can happen."""
        return self._can_vanish and self.weight is not None and not bool(self.weight[target].any())


def cross_entropies(logits: Tensor, wanted: Tensor) -> Tensor:
    """-wanted log p of each class, shape (n, classes).

    Args:
        logits: Shape (n, classes).
        wanted: The share that each class should have, alike.
    """
    return -wanted * logits.log_softmax(dim=1)


class EachLabel(nn.Module):
    """Binary cross-entropy of each label by itself.

    Args:
        pos_weight: How much more a label that holds counts, shape (outputs,); None: the same.
        weight: The weight of each label alike.
        label_smoothing: Share of the target spread evenly over the labels.
    """

    def __init__(self, pos_weight: Tensor | None, weight: Tensor | None, label_smoothing: float) -> None:
        super().__init__()
        self.register_buffer("pos_weight", pos_weight)
        self.register_buffer("weight", weight)
        self.pos_weight: Tensor | None
        self.weight: Tensor | None
        self._smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean loss."""
        outputs = logits.shape[1]
        wanted = F.one_hot(target, outputs).to(logits.dtype) if target.ndim == 1 else target
        known = ~wanted.isnan()
        wanted = wanted.nan_to_num(0.0) * (1 - self._smoothing) + self._smoothing / outputs
        values = F.binary_cross_entropy_with_logits(
            logits, wanted, weight=self.weight, pos_weight=self.pos_weight, reduction="none"
        )
        return mean_of_known(values, known, weight)


class FocalLabels(nn.Module):
    """The focal loss of each label by itself (Lin et al. 2017).

    Args:
        gamma: How much less easy labels count.
        alpha: The weight of labels that hold, 1 - alpha being that of the others; None: the same.
    """

    def __init__(self, gamma: float, alpha: float | None) -> None:
        super().__init__()
        self._gamma, self._alpha = gamma, alpha

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean loss."""
        known = ~target.isnan()
        wanted = target.nan_to_num(0.0)
        each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        probability = logits.sigmoid()
        right = probability * wanted + (1 - probability) * (1 - wanted)
        values = each * (1 - right) ** self._gamma
        if self._alpha is not None:
            values = values * (self._alpha * wanted + (1 - self._alpha) * (1 - wanted))
        return mean_of_known(values, known, weight)


class AsymmetricLabels(nn.Module):
    """The asymmetric loss of each label (Ridnik et al. 2021).

    Args:
        gamma_neg: How much less easy labels that do not hold count.
        gamma_pos: How much less easy ones that hold count.
        clip: Probabilities below it are zero where a label does not hold.
    """

    def __init__(self, gamma_neg: float, gamma_pos: float, clip: float) -> None:
        super().__init__()
        self._gamma_neg, self._gamma_pos, self._clip = gamma_neg, gamma_pos, clip

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean loss."""
        known = ~target.isnan()
        wanted = target.nan_to_num(0.0)
        positive = logits.sigmoid()
        negative = (1 - positive + self._clip).clamp(max=1)
        log_positive, log_negative = F.logsigmoid(logits), negative.clamp(min=1e-8).log()
        values = -wanted * (1 - positive) ** self._gamma_pos * log_positive
        values = values - (1 - wanted) * (1 - negative) ** self._gamma_neg * log_negative
        return mean_of_known(values, known, weight)


class Errors(nn.Module):
    """The mean of a function of errors, of the numbers that are known.

    Args:
        each: Errors to values of the same shape.
    """

    def __init__(self, each: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._each = each

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean loss."""
        known = ~target.isnan()
        return mean_of_known(self._each(outputs - target.nan_to_num(0.0)), known, weight)


class Between(nn.Module):
    """The mean of a function of outputs and targets, of the numbers that are known.

    Args:
        each: Outputs and targets to values of the same shape.
    """

    def __init__(self, each: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._each = each

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean loss."""
        known = ~target.isnan()
        return mean_of_known(self._each(outputs, target.nan_to_num(0.0)), known, weight)


def cross_entropy_of_values(outputs: Tensor, target: Tensor) -> Tensor:
    """-t log p - (1 - t) log(1 - p), p kept 1e-7 off 0 and 1.

    Args:
        outputs: p.
        target: t, of the same shape.
    """
    # torch's own refuses to run in half precision.
    chance = outputs.float().clamp(1e-7, 1 - 1e-7)
    return -(target * chance.log() + (1 - target) * (1 - chance).log())
