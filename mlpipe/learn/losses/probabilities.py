"""Losses of probabilities (or of numbers) for `loss=composite`: overlap, hinge, divergences and plain errors.

Each function gets targets t and probabilities p of shape (n, outputs), and a mask of known targets. Those in `EACH` return a
value for every image, shape (n,); those in `TOGETHER` return one number for the batch, and cannot weight images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mlpipe.learn.losses.means import mean_of_each
from mlpipe.learn.losses.overlap import dice_of, jaccard_of

_TINY = 1e-7
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def dice(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """1 - (2 sum tp + 1) / (sum t^2 + sum p^2 + 1) of each image (Milletari et al. 2016, smoothed by 1)."""
    t, p = t * known, p * known
    return 1 - dice_of((t * p).sum(1), (t**2).sum(1) + (p**2).sum(1), 1)


def jaccard(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """100 (1 - (I + 100) / (S - I + 100)) with I = sum |tp|, S = sum |t| + |p|: the smoothed Jaccard distance of an image."""
    t, p = t * known, p * known
    return 100 * (1 - jaccard_of((t * p).abs().sum(1), (t.abs() + p.abs()).sum(1), 100))


def iou(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """-2 (I + 1) / (sum t + sum p + 1) of each image, a negative number; smaller is better."""
    t, p = t * known, p * known
    return -2 * ((t * p).sum(1) + 1) / (t.sum(1) + p.sum(1) + 1)


def elementwise_bce(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy of every output, also for softmax outputs; p is kept 1e-7 away from 0 and 1."""
    p = p.clamp(_TINY, 1 - _TINY)
    return mean_of_each(-(t * p.log() + (1 - t) * (1 - p).log()), known)


def normalized_ce(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy of probabilities normalised to sum 1, as Keras computes it after a sigmoid."""
    p = p * known
    p = (p / p.sum(1, keepdim=True).clamp(min=_TINY)).clamp(_TINY, 1 - _TINY)
    return -(t * p.log() * known).sum(1)


def squared_error(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """The mean squared difference."""
    return mean_of_each((t - p) ** 2, known)


def absolute_error(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """The mean absolute difference."""
    return mean_of_each((t - p).abs(), known)


def squared_log_error(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """The mean squared difference of log(1 + x), x at least 1e-7."""
    return mean_of_each((p.clamp(min=_TINY).log1p() - t.clamp(min=_TINY).log1p()) ** 2, known)


def percentage_error(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """100 times the mean of |t - p| / max(|t|, 1e-7)."""
    return 100 * mean_of_each((t - p).abs() / t.abs().clamp(min=_TINY), known)


def log_cosh(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """The mean logarithm of the hyperbolic cosine of the difference."""
    error = p - t
    return mean_of_each(error + F.softplus(-2 * error) - math.log(2), known)


def huber_error(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """Huber's loss (1964) with delta 1."""
    return mean_of_each(F.huber_loss(p, t, reduction="none"), known)


def hinge(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """The mean of max(0, 1 - tp), t of 0 and 1 taken as -1 and 1."""
    return _hinge_mean(_signed(t) * p, known)


def squared_hinge(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """The mean of max(0, 1 - tp)^2, t of 0 and 1 taken as -1 and 1."""
    return _hinge_mean(_signed(t) * p, known, power=2)


def _signed(t: Tensor) -> Tensor:
    """Return targets as -1 and 1 if all targets of a batch are 0 or 1, otherwise unchanged, as Keras does."""
    return torch.where(((t == 0) | (t == 1)).all(), 2 * t - 1, t)


def _hinge_mean(margins: Tensor, known: Tensor, *, power: int = 1) -> Tensor:
    return mean_of_each((1 - margins).clamp(min=0) ** power, known)


def _hinge_of_shares(t: Tensor, p: Tensor, known: Tensor, *, power: int = 1) -> Tensor:
    """`hinge` of targets from 0 to 1 in any batch; soft targets of blended images need not be 0 or 1."""
    return _hinge_mean((2 * t - 1) * p, known, power=power)


def categorical_hinge(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """max(0, max((1 - t) p) - sum(tp) + 1) of each image."""
    return (((1 - t) * p * known).amax(1) - (t * p * known).sum(1) + 1).clamp(min=0)


def kl_divergence(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """The sum of t log(t / p) of each image, both kept between 1e-7 and 1."""
    t, p = t.clamp(_TINY, 1), p.clamp(_TINY, 1)
    return (t * (t / p).log() * known).sum(1)


def poisson(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """The deviance of counts, the mean of p - t log(p + 1e-7); `loss=poisson` is an equation."""
    return mean_of_each(p - t * (p + _TINY).log(), known)


def cosine(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """Minus the cosine between targets and outputs of each image."""
    return -(F.normalize(t * known, dim=1) * F.normalize(p * known, dim=1)).sum(1)


def focal_sum(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """Focal loss (Lin et al. 2017), gamma 2 and alpha 0.25, summed over the batch instead of averaged."""
    p = p.clamp(1e-15, 1 - _TINY)
    positive = t * 0.25 * (1 - p) ** 2 * p.log()
    negative = (1 - t) * 0.75 * p**2 * (1 - p).log()
    return -((positive + negative) * known).sum()


def squared_sum(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """The squared differences summed over the batch."""
    return ((t - p) ** 2 * known).sum()


def soft_f1(t: Tensor, p: Tensor, known: Tensor) -> Tensor:
    """1 - the mean F1 of outputs over the batch, probabilities used as counts; outputs without known targets are left out."""
    t, p = t * known, p * known
    hits = (t * p).sum(0)
    precision, recall = hits / (p.sum(0) + _TINY), hits / (t.sum(0) + _TINY)
    some = (known.sum(0) > 0).to(p.dtype)
    scores = 2 * precision * recall / (precision + recall + _TINY)
    return (1 - (scores * some).sum() / some.sum().clamp(min=1)) * some.amax()


def lovasz(t: Tensor, logits: Tensor, known: Tensor) -> Tensor:
    """The Lovasz hinge (Berman et al. 2018) of each output over the batch's images, with elu instead of relu.

    The loss of masks, `loss=lovasz`, is computed over pixels and uses relu.

    This function gets logits instead of probabilities. Unknown targets, and outputs without known ones, are left out.
    """
    values = []
    for column in (known > 0).any(0).nonzero()[:, 0].tolist():
        truth, score = t[known[:, column] > 0, column], logits[known[:, column] > 0, column]
        errors, order = (1 - score * (2 * truth - 1)).sort(descending=True)
        values.append((F.elu(errors) * _lovasz_gradient(truth[order])).sum())
    return torch.stack(values).mean() if values else logits.sum() * 0


def _lovasz_gradient(truth: Tensor) -> Tensor:
    positives = truth.sum()
    index = 1 - (positives - truth.cumsum(0)) / (positives + (1 - truth).cumsum(0))
    return torch.cat([index[:1], index[1:] - index[:-1]])


EACH: dict[str, Loss] = {
    "dice": dice,
    "jaccard": jaccard,
    "iou": iou,
    "elementwise_bce": elementwise_bce,
    "normalized_ce": normalized_ce,
    "squared_error": squared_error,
    "absolute_error": absolute_error,
    "squared_log_error": squared_log_error,
    "percentage_error": percentage_error,
    "log_cosh": log_cosh,
    "huber_error": huber_error,
    "hinge": hinge,
    "squared_hinge": squared_hinge,
    "categorical_hinge": categorical_hinge,
    "kl_divergence": kl_divergence,
    "poisson": poisson,
    "cosine": cosine,
}
TOGETHER: dict[str, Loss] = {
    "focal_sum": focal_sum,
    "squared_sum": squared_sum,
    "soft_f1": soft_f1,
    "lovasz": lovasz,
}
ALL: dict[str, Loss] = {**EACH, **TOGETHER}
# Losses that treat targets of classes and labels, shares from 0 to 1, differently from numbers.
OF_SHARES: dict[str, Loss] = {"hinge": _hinge_of_shares, "squared_hinge": partial(_hinge_of_shares, power=2)}
# Losses that are meaningful for numbers in any unit.
OF_NUMBERS = frozenset(
    {"squared_error", "absolute_error", "log_cosh", "huber_error", "squared_sum", "cosine", "percentage_error"}
)
# Losses that are meaningful for numbers in their own unit only: counts, shares, or signed sides.
OF_UNITS = frozenset({"squared_log_error", "poisson", "kl_divergence", "hinge", "squared_hinge", "categorical_hinge"})
