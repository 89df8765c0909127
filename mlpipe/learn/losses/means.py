"""Weighted means of losses over known targets, and probabilities from outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from mlpipe.learn.losses.labels import facts


def probabilities(outputs: Tensor, kind: str) -> Tensor:
    """Return probabilities from outputs; numbers are returned unchanged.

    Args:
        outputs: Logits or numbers, shape (n, outputs), or (n, classes, height, width) for masks.
        kind: The kind of predictions.
    """
    its = facts(kind)
    if its.of_numbers:
        return outputs
    return outputs.softmax(1) if its.excludes else outputs.sigmoid()


def weighted_mean(total: Tensor, share: Tensor) -> Tensor:
    """Divide a weighted sum by the sum of its weights; the result and its gradient are zero if the weights sum to zero.

    Every loss that divides by weights uses this, because the images, the classes or all pixels of a batch may have weight
    zero.

    Args:
        total: The weighted sum.
        share: The sum of weights, >= 0, of the same shape.
    """
    counts = share > 0
    return torch.where(counts, total / torch.where(counts, share, torch.ones_like(share)), torch.zeros_like(total))


def mean_of_known(values: Tensor, known: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean over known entries, weighted by row; zero, with zero gradient, if nothing is known.

    Args:
        values: Shape (n, outputs), or (n, channels, height, width).
        known: Which entries count, of the same shape.
        weight: The weight of each row, shape (n,); None: all equal.
    """
    own = None if weight is None else weight.to(values.dtype).view(-1, *[1] * (values.ndim - 1))
    share = known.to(values.dtype) if own is None else known * own
    return weighted_mean((torch.where(known, values, values.new_zeros(())) * share).sum(), share.sum())


def mean_of_rows(values: Tensor, weight: Tensor | None) -> Tensor:
    """Return the weighted mean over rows; zero, with zero gradient, if the weights sum to zero.

    Args:
        values: Shape (n,).
        weight: The weight of each row, shape (n,); None: all equal.
    """
    return values.mean() if weight is None else weighted_mean((values * weight).sum(), weight.sum())


def power(base: Tensor, exponent: float) -> Tensor:
    """Raise a share to a power, with a finite gradient at zero for exponents below 1 as well.

    For a certain and right prediction the share is 0, where the gradient is infinite, and its loss is 0: their product
    would be NaN.

    Args:
        base: From 0 to 1.
        exponent: >= 0.
    """
    least = torch.finfo(base.dtype).eps if 0 < exponent < 1 else None
    return base**exponent if least is None else base.clamp(min=least) ** exponent


def mean_of_each(values: Tensor, known: Tensor) -> Tensor:
    """Return the mean over the known entries of each row, shape (n,); zero for rows without any.

    Args:
        values: Shape (n, outputs).
        known: 1 for known entries, 0 for the rest, of the same shape.
    """
    return (values * known).sum(1) / known.sum(1).clamp(min=1)
