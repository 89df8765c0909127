"""Weighted mixtures of predictions, and the losses that they are judged by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlpipe.post import kind as post_kind
from mlpipe.post.rows import Floats


def mixed(predictions: Sequence[Floats], weights: Sequence[float] | Floats) -> Floats:
    """Return the weighted sum of arrays of one shape.

    Args:
        predictions: The arrays.
        weights: One number for each.
    """
    total = weights[0] * predictions[0]
    for weight, prediction in zip(weights[1:], predictions[1:], strict=True):
        total += weight * prediction
    return np.asarray(total)


def combine(parts: Sequence[Floats], weights: Sequence[float], kind: str, mixing: str) -> Floats:
    """Mix predictions: log-probabilities of classes, log-odds of labels, or numbers, shape (n, outputs).

    Args:
        parts: One array (n, outputs) for each member.
        weights: One number for each, summing to one.
        kind: The kind of the task.
        mixing: `logits` or `probabilities`.
    """
    return post_kind.ensembling(kind).combine(parts, weights, mixing)


def log_shares(weights: Sequence[float]) -> Floats:
    """Return the logarithms of weights, minus infinity for zero.

    Args:
        weights: One number for each member.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.asarray(weights, np.float64)))


def cross_entropy(logits: Floats, targets: Floats) -> float:
    """Mean negative log-likelihood in nats, unclipped.

    Args:
        logits: Shape (n, classes).
        targets: Class numbers, shape (n,).
    """
    return column_cross_entropy(np.ascontiguousarray(logits.T), targets)


def column_cross_entropy(columns: Floats, targets: Floats) -> float:
    """The same for logits of the shape (classes, n), because sums along the long axis are several times faster.

    Args:
        columns: Shape (classes, n).
        targets: Class numbers, shape (n,).
    """
    top = columns.max(axis=0)
    own = columns[targets.astype(np.int64), np.arange(len(targets))]
    powers = columns - top
    np.exp(powers, out=powers)
    return float((np.log(powers.sum(axis=0)) + top - own).mean())


def binary_cross_entropy(logits: Floats, targets: Floats) -> float:
    """Mean negative log-likelihood of the known labels in nats.

    Args:
        logits: Log-odds, shape (n, labels).
        targets: 0, 1 or NaN (unknown), shape (n, labels).
    """
    known = ~np.isnan(targets)
    return float((np.logaddexp(0, logits) - logits * np.where(known, targets, 0))[known].mean())


def squared_error(predicted: Floats, targets: Floats) -> float:
    """Mean squared error over known numbers.

    Args:
        predicted: Shape (n, outputs).
        targets: NaN where unknown, shape (n, outputs).
    """
    return float(np.nanmean((predicted - targets) ** 2))
