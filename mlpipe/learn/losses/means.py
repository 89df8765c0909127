"""Means of losses over known targets, with weights, and the probabilities of outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from mlpipe.learn.losses.labels import facts


def probabilities(outputs: Tensor, kind: str) -> Tensor:
    """Probabilities from outputs; numbers stay as they are.

    Args:
        outputs: Logits or numbers, shape (n, outputs), or (n, classes, height, width) for masks.
        kind: What is predicted.
    """
    its = facts(kind)
    if its.of_numbers:
        return outputs
    return outputs.softmax(1) if its.excludes else outputs.sigmoid()


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


def mean_of_rows(values: Tensor, weight: Tensor | None) -> Tensor:
    """The mean over rows, each with its weight; zero, and so its gradient, where none has weight.

    Args:
        values: Shape (n,).
        weight: Of each row, alike; None: all the same.
    """
    return values.mean() if weight is None else weighted_mean((values * weight).sum(), weight.sum())


def power(base: Tensor, exponent: float) -> Tensor:
    """A share to a power, whose slope is finite at zero for powers below 1 too.

    What is surely right has the share 0, where the slope is infinite, and its loss 0: their product would be no number.

    Args:
        base: From 0 to 1.
        exponent: 0 or more.
    """
    least = torch.finfo(base.dtype).eps if 0 < exponent < 1 else None
    return base**exponent if least is None else base.clamp(min=least) ** exponent


def mean_of_each(values: Tensor, known: Tensor) -> Tensor:
    """The mean over what is known of each row, shape (n,); zero where nothing is.

    Args:
        values: Shape (n, outputs).
        known: 1 for what is known, 0 for the rest, alike.
    """
    return (values * known).sum(1) / known.sum(1).clamp(min=1)
