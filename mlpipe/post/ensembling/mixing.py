"""Predictions mixed by weights, and the loss that says how good a mixture is, by the kind of the task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from mlpipe.post.metrics import log_softmax
from mlpipe.post.rows import Floats

Loss = Callable[[Floats, Floats], float]


def mixed(predictions: Sequence[Floats], weights: Sequence[float] | Floats) -> Floats:
    """The weighted sum of arrays of one shape.

    Args:
        predictions: The arrays.
        weights: One number for each.
    """
    total = weights[0] * predictions[0]
    for weight, one in zip(weights[1:], predictions[1:], strict=True):
        total += weight * one
    return np.asarray(total)


def combine(parts: Sequence[Floats], weights: Sequence[float], kind: str, mixing: str) -> Floats:
    """Mixed predictions: log-probabilities of classes, log-odds of labels, or numbers, shape (n, outputs).

    Args:
        parts: One array (n, outputs) for each member.
        weights: One number for each, summing to one.
        kind: The kind of the task.
        mixing: `logits` or `probabilities`.
    """
    if mixing == "logits":
        total = mixed(parts, weights)
        return log_softmax(total) if kind == "classification" else total
    with np.errstate(divide="ignore"):
        shares = np.log(np.asarray(weights, np.float64))
    if kind == "classification":
        return np.asarray(
            logsumexp([log_softmax(one) + share for one, share in zip(parts, shares, strict=True)], axis=0)
        )
    yes = logsumexp([-np.logaddexp(0, -one) + share for one, share in zip(parts, shares, strict=True)], axis=0)
    no = logsumexp([-np.logaddexp(0, one) + share for one, share in zip(parts, shares, strict=True)], axis=0)
    return np.asarray(yes - no)


def cross_entropy(logits: Floats, targets: Floats) -> float:
    """Mean negative log-likelihood in nats, unclipped.

    Args:
        logits: Shape (n, classes).
        targets: Class numbers, shape (n,).
    """
    return column_cross_entropy(np.ascontiguousarray(logits.T), targets)


def column_cross_entropy(columns: Floats, targets: Floats) -> float:
    """The same for logits of the shape (classes, n): sums along the long axis are several times quicker.

    Args:
        columns: Shape (classes, n).
        targets: Class numbers, shape (n,).
    """
    top = columns.max(axis=0)
    own = columns[targets.astype(np.int64), np.arange(len(targets))]
    return float((np.log(np.exp(columns - top).sum(axis=0)) + top - own).mean())


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


def each_loss(outputs: Floats, targets: npt.NDArray[Any], kind: str) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The loss of every row (of labels: of every known answer) in nats, and which row it is of.

    Args:
        outputs: Logits of classes or log-odds of labels, shape (n, outputs).
        targets: Class numbers (n,), -1 for none; or labels (n, labels), NaN for unknown.
        kind: `classification` or `multilabel`.
    """
    if kind == "multilabel":
        known = ~np.isnan(targets)
        each = np.logaddexp(0, outputs) - outputs * np.where(known, targets, 0)
        return np.asarray(each[known]), np.nonzero(known)[0]
    there = np.flatnonzero(targets >= 0)
    return -log_softmax(outputs[there])[np.arange(len(there)), targets[there]], there


LOSSES: dict[str, Loss] = {
    "classification": cross_entropy,
    "multilabel": binary_cross_entropy,
    "regression": squared_error,
}
