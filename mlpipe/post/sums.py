"""Metrics as functions of sums over rows, so that thousands of bootstrap draws are one matrix product.

Most metrics need only a few sums: the hits, predicted and true rows of each class, or the sum of a loss.
A draw that takes row i w_i times has the sums `weights @ contributions`. Rank metrics take the weights themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.post.rows import Floats, Integers

Bools = npt.NDArray[np.bool_]

# The most entries of one block of weights, to bound memory.
_BLOCK = 4_000_000
# The largest number of scores for which the order of rows by every column is kept.
_MOST_SORTED = 1_000_000
# The number of parts in the leave-one-out values of rank metrics: enough for their spread and skewness.
_PARTS = 200


@dataclass(frozen=True)
class Statistic:
    """A metric of weighted rows: either `contributions` (n, sums) with a function of their sums, or a function of the weights.

    Contributions that are mostly 0 are a sparse array of SciPy.
    """

    contributions: Any
    function: Callable[[Floats], Floats]

    def of_weights(self, weights: Floats, units: Integers) -> Floats:
        """Return the metric of each draw, shape (draws,).

        Args:
            weights: How often each unit (a row or a group of rows) is drawn, shape (draws, units).
            units: The unit of each row, shape (n,).
        """
        if self.contributions is None:
            return self.function(weights[:, units])
        return self.function(np.asarray(weights @ self.unit_contributions(units, weights.shape[1])))

    def unit_contributions(self, units: Integers, count: int) -> Any:
        """Return the contributions of each unit, shape (units, sums).

        Args:
            units: The unit of each row, shape (n,).
            count: The number of units.
        """
        assert self.contributions is not None
        if count == len(units):
            return self.contributions[np.argsort(units)]
        if not isinstance(self.contributions, np.ndarray):
            from scipy.sparse import csr_array

            return (
                csr_array((np.ones(len(units)), (units, np.arange(len(units)))), (count, len(units)))
                @ self.contributions
            )
        summed = np.zeros((count, self.contributions.shape[1]))
        np.add.at(summed, units, self.contributions)
        return summed


def leave_out(metric: Statistic, units: Integers, count: int, seed: int = 0) -> Floats:
    """Return the metric without each unit; for rank metrics without each of at most 200 random parts.

    Args:
        metric: The metric.
        units: The unit of each row, shape (n,).
        count: The number of units.
        seed: Seed of the parts.
    """
    if metric.contributions is not None:
        by_unit = metric.unit_contributions(units, count)
        if isinstance(by_unit, np.ndarray):
            return metric.function(by_unit.sum(axis=0) - by_unit)
        total, some = by_unit.sum(axis=0), max(1, _BLOCK // by_unit.shape[1])
        blocks = (by_unit[start : start + some].toarray() for start in range(0, count, some))
        return np.concatenate([metric.function(total - block) for block in blocks])
    parts = min(count, _PARTS)
    part = np.random.default_rng(seed).permutation(count) % parts
    block = max(1, _BLOCK // len(units))
    values = []
    for start in range(0, parts, block):
        numbers = np.arange(start, min(parts, start + block))
        values.append(metric.of_weights((part != numbers[:, None]).astype(np.float64), units))
    return np.concatenate(values)


def cells(guess: Integers, true: Integers, classes: int) -> Any:
    """Return hits, predicted and true rows of each class as a sparse indicator array of shape (n, 3 classes).

    Args:
        guess: Predicted class numbers, shape (n,).
        true: True ones, shape (n,).
        classes: The number of classes.
    """
    from scipy.sparse import csr_array

    rows, hits = np.arange(len(true)), np.flatnonzero(guess == true)
    places = np.concatenate([true[hits], classes + guess, 2 * classes + true])
    return csr_array((np.ones(len(places)), (np.concatenate([hits, rows, rows]), places)), (len(true), 3 * classes))


def ratio(sums: Floats) -> Floats:
    """Return the second sum divided by the first, such as a mean: shape (draws, 2) to (draws,).

    Args:
        sums: The number of values, and their sum.
    """
    return np.asarray(quotient_or_nan(sums[:, 1], sums[:, 0]))


def quotient_or_nan(part: Floats, whole: Floats) -> Floats:
    """Return the quotient, NaN where the divisor is 0.

    Args:
        part: The dividend.
        whole: The divisor, of the same shape.
    """
    out: Floats = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def mean_of_defined(values: Floats) -> Floats:
    """Return the mean over columns that are not NaN, NaN without any: shape (draws, columns) to (draws,).

    Args:
        values: Values of each draw and column.
    """
    is_defined = ~np.isnan(values)
    return quotient_or_nan(np.where(is_defined, values, 0).sum(axis=1), is_defined.sum(axis=1).astype(np.float64))


def accuracy(hits: Floats, predicted: Floats, true: Floats) -> Floats:
    """Return the share of hits, from counts of each class, shape (draws, classes) each.

    Args:
        hits: Rows that are right.
        predicted: Rows that are predicted as the class.
        true: Rows that are of the class.
    """
    return quotient_or_nan(hits.sum(axis=1), true.sum(axis=1))


def _balanced_accuracy(hits: Floats, predicted: Floats, true: Floats) -> Floats:
    return mean_of_defined(quotient_or_nan(hits, true))


def _macro_f1(hits: Floats, predicted: Floats, true: Floats) -> Floats:
    return mean_of_defined(quotient_or_nan(2 * hits, predicted + true))


def _micro_f1(hits: Floats, predicted: Floats, true: Floats) -> Floats:
    return quotient_or_nan(2 * hits.sum(axis=1), (predicted + true).sum(axis=1))


def _mcc(hits: Floats, predicted: Floats, true: Floats) -> Floats:
    n = true.sum(axis=1)
    shared = (true * predicted).sum(axis=1)
    spread = np.sqrt((n**2 - (true**2).sum(axis=1)) * (n**2 - (predicted**2).sum(axis=1)))
    out: Floats = np.zeros_like(n)
    np.divide(hits.sum(axis=1) * n - shared, spread, out=out, where=spread > 0)
    return out


def _kappa(hits: Floats, predicted: Floats, true: Floats) -> Floats:
    n = true.sum(axis=1)
    chance = quotient_or_nan((true * predicted).sum(axis=1), n**2)
    out: Floats = np.zeros_like(n)
    np.divide(quotient_or_nan(hits.sum(axis=1), n) - chance, 1 - chance, out=out, where=chance < 1)
    return out


# Functions of hits, predicted and true rows of each class or label, shape (draws, classes) each.
COUNTS: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "accuracy": accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "micro_f1": _micro_f1,
    "mcc": _mcc,
    "kappa": _kappa,
}


# Metrics that are unbounded, or whose mean is not a share.
UNBOUNDED = frozenset(
    {"rmse", "mse", "mae", "r2", "pearson", "spearman", "psnr", "image_psnr", "equation_loss", "critic_gap"}
)
# Metrics that are at least 0, and may be more than 1.
LOSSES = frozenset({"nll", "elementwise_nll", "brier", "score_loss", "frechet"})
# The bounds of those of these metrics that have some: errors are at least 0, correlations between -1 and 1, R^2 at most 1.
_ENDS = {
    **dict.fromkeys(("rmse", "mse", "mae", "equation_loss"), (0.0, math.inf)),
    **dict.fromkeys(("pearson", "spearman"), (-1.0, 1.0)),
    "r2": (-math.inf, 1.0),
}
# Measures of agreement, which increase with the hits.
AGREEMENT: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {"mcc": _mcc, "kappa": _kappa}


def bounds(name: str) -> tuple[float, float]:
    """Return the least and the largest possible value of a metric."""
    if name in _ENDS:
        return _ENDS[name]
    if name in UNBOUNDED:
        return -math.inf, math.inf
    if name in LOSSES:
        return 0.0, math.inf
    return (-1.0 if name.removeprefix("elementwise_") in AGREEMENT else 0.0), 1.0


def rank_metric(name: str, scores: Floats, true: Bools, known: Bools) -> Callable[[Floats], Floats]:
    """Return the mean over columns of a rank metric, as a function of the rows' weights.

    Args:
        name: `auroc` or `average_precision`.
        scores: Shape (n, columns).
        true: Which rows are positive, shape (n, columns).
        known: Which rows count, shape (n, columns).
    """
    prepare = _auroc_of if name == "auroc" else _precision_of

    def of_column(column: int) -> Callable[[Floats], Floats]:
        rows = np.flatnonzero(known[:, column])
        order = rows[np.argsort(-scores[rows, column], kind="stable")]
        falling = scores[order, column]
        starts = np.flatnonzero(np.concatenate([[True], falling[1:] != falling[:-1]])[: len(order)])
        return prepare(order, true[order, column], starts)

    columns = range(scores.shape[1])
    # The order of rows by every column takes more memory than the scores: if large, it is recomputed for each block of weights.
    prepared = [of_column(column) for column in columns] if scores.size <= _MOST_SORTED else None

    def function(weights: Floats) -> Floats:
        # The row axis comes first so that sorting moves contiguous memory.
        turned = np.ascontiguousarray(weights.T)
        areas = (of_column(column) for column in columns) if prepared is None else prepared
        return mean_of_defined(np.column_stack([area(turned) for area in areas]))

    return function


def _auroc_of(order: Integers, yes: Bools, starts: Integers) -> Callable[[Floats], Floats]:
    """Return the area by weights (n, draws): `order` sorts rows from the highest score, levels begin at `starts`."""

    def area(weights: Floats) -> Floats:
        both = np.take(weights, order, axis=0)
        positive = both * yes[:, None]
        if len(starts) < len(order):
            positive, both = np.add.reduceat(positive, starts, axis=0), np.add.reduceat(both, starts, axis=0)
        negative = both - positive
        n_positive, n_negative = positive.sum(axis=0), negative.sum(axis=0)
        below = n_negative - negative.cumsum(axis=0) + negative / 2
        return quotient_or_nan(np.einsum("lb,lb->b", positive, below), n_positive * n_negative)

    return area


def _precision_of(order: Integers, yes: Bools, starts: Integers) -> Callable[[Floats], Floats]:
    """Return the average precision as a function of weights (n, draws), summed only at the ends of levels with a positive row."""
    if not yes.any():
        return lambda weights: np.full(weights.shape[1], np.nan)
    level = np.repeat(np.arange(len(starts)), np.diff([*starts, len(order)]))
    used = np.unique(level[yes])
    ends = np.append(starts, len(order))[used + 1]
    upto, segments = order[: ends[-1]], np.concatenate([[0], ends[:-1]])
    positives = order[yes]
    first = np.searchsorted(level[yes], used)

    def precision(weights: Floats) -> Floats:
        total = np.add.reduceat(np.take(weights, upto, axis=0), segments, axis=0).cumsum(axis=0)
        hits = np.add.reduceat(np.take(weights, positives, axis=0), first, axis=0)
        shares = hits.cumsum(axis=0) / np.maximum(total, 1e-300)
        return quotient_or_nan(np.einsum("lb,lb->b", hits, shares), hits.sum(axis=0))

    return precision
