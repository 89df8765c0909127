"""Metrics as functions of sums over rows, so that thousands of bootstrap draws are one matrix product.

Most metrics need only a few sums: how many rows are right, predicted and true for each class, or the sum of a loss.
A draw that takes row i w_i times has the sums `weights @ contributions`. Metrics of ranks take the weights themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, did_you_mean, listing, problem
from mlpipe.post import image_metrics, label_metrics, mask_metrics
from mlpipe.post.metrics import BY_KIND, ELEMENTWISE, log_softmax
from mlpipe.post.rows import Floats, Integers

Bools = npt.NDArray[np.bool_]

# Entries of one block of weights, to bound memory.
_BLOCK = 4_000_000
# Leave-one-out values of metrics of ranks are taken over this many parts: enough for their spread and skewness.
_PARTS = 200


@dataclass(frozen=True)
class Statistic:
    """A metric of weighted rows: either `contributions` (n, sums) with a function of their sums, or one of the weights."""

    contributions: Floats | None
    function: Callable[[Floats], Floats]

    def of_weights(self, weights: Floats, units: Integers) -> Floats:
        """The metric of each draw, shape (draws,).

        Args:
            weights: How often each unit (a row or a group of rows) is drawn, shape (draws, units).
            units: The unit of each row, shape (n,).
        """
        if self.contributions is None:
            return self.function(weights[:, units])
        return self.function(weights @ self.by_unit(units, weights.shape[1]))

    def by_unit(self, units: Integers, count: int) -> Floats:
        """The contributions of each unit, shape (units, sums).

        Args:
            units: The unit of each row, shape (n,).
            count: How many units there are.
        """
        assert self.contributions is not None
        if count == len(units):
            return self.contributions[np.argsort(units)]
        summed = np.zeros((count, self.contributions.shape[1]))
        np.add.at(summed, units, self.contributions)
        return summed


def statistic(name: str, logits: Floats, targets: npt.NDArray[np.generic], kind: str) -> Statistic:
    """The metric of this name for these rows.

    Args:
        name: Out of the kind's table in `mlpipe.post.metrics.BY_KIND`.
        logits: Shape (n, outputs).
        targets: As for `mlpipe.post.metrics.compute`, every row with some target.
        kind: The kind of the task.

    Raises:
        ConfigError: There is no such metric for this kind, or none with an interval.
    """
    tables: dict[str, dict[str, Any]] = {"classification": ELEMENTWISE, "multilabel": label_metrics.ELEMENTWISE}
    own = tables.get(kind, {})
    known = [one for one in BY_KIND[kind] if one not in own]
    if name not in known:
        fix = did_you_mean(name, known, otherwise=f"metrics: {listing(known)}")
        if name in own:
            raise ConfigError(problem("metrics.final", "has no interval", got=name, fix=fix))
        raise ConfigError(problem("metrics.final", f"no such metric for {kind}", got=name, fix=fix))
    values = np.asarray(logits, np.float64)
    if kind == "classification":
        return _of_classes(name, values, targets.astype(np.int64))
    truth = targets.astype(np.float64)
    if kind == "segmentation":
        return _of_masks(name, values, truth)
    if kind == "images":
        return _of_images(name, values, truth)
    if kind == "solutions":
        return Statistic(np.hstack([truth, values]), _ratio)
    return _of_labels(name, values, truth) if kind == "multilabel" else _of_numbers(name, values, truth)


def leave_out(one: Statistic, units: Integers, count: int, seed: int = 0) -> Floats:
    """The metric without each unit; for metrics of ranks without each of at most 200 random parts.

    Args:
        one: The metric.
        units: The unit of each row, shape (n,).
        count: How many units there are.
        seed: Of the parts.
    """
    if one.contributions is not None:
        by_unit = one.by_unit(units, count)
        return one.function(by_unit.sum(axis=0) - by_unit)
    parts = min(count, _PARTS)
    part = np.random.default_rng(seed).permutation(count) % parts
    block = max(1, _BLOCK // len(units))
    values = []
    for start in range(0, parts, block):
        numbers = np.arange(start, min(parts, start + block))
        values.append(one.of_weights((part != numbers[:, None]).astype(np.float64), units))
    return np.concatenate(values)


def _of_classes(name: str, logits: Floats, targets: Integers) -> Statistic:
    classes = logits.shape[1]
    true = targets[:, None] == np.arange(classes)
    if name in ("auroc", "average_precision"):
        probabilities = np.exp(log_softmax(logits))
        return Statistic(None, _ranked(name, probabilities, true, np.ones_like(true)))
    if name in ("nll", "brier"):
        log_probabilities = log_softmax(logits)
        loss = -np.maximum(log_probabilities[true], np.log(1e-12))
        if name == "brier":
            loss = ((np.exp(log_probabilities) - true) ** 2).sum(axis=1)
        return Statistic(np.column_stack([np.ones_like(loss), loss]), _ratio)
    predicted = logits.argmax(axis=1)[:, None] == np.arange(classes)
    contributions = np.hstack([true & predicted, predicted, true]).astype(np.float64)
    return Statistic(contributions, lambda sums: _COUNTS[name](*np.split(sums, 3, axis=1)))


def _of_labels(name: str, logits: Floats, targets: Floats) -> Statistic:
    known, true, guess = ~np.isnan(targets), targets == 1, logits > 0
    if name in ("auroc", "average_precision"):
        return Statistic(None, _ranked(name, logits, true, known))
    if name in ("macro_f1", "micro_f1"):
        contributions = np.hstack([guess & true, guess & known, true]).astype(np.float64)
        return Statistic(contributions, lambda sums: _COUNTS[name](*np.split(sums, 3, axis=1)))
    if name == "exact_match":
        whole = known.all(axis=1)
        right = whole & (guess == true).all(axis=1)
        return Statistic(np.column_stack([whole, right]).astype(np.float64), _ratio)
    if name == "accuracy":
        losses = (guess == true).astype(np.float64)
    elif name == "nll":
        losses = np.logaddexp(0, logits) - logits * true
    else:
        losses = (0.5 * (1 + np.tanh(logits / 2)) - true) ** 2
    return Statistic(np.column_stack([known.sum(axis=1), np.where(known, losses, 0).sum(axis=1)]), _ratio)


def _of_masks(name: str, outputs: Floats, targets: Floats) -> Statistic:
    if name == "image_dice":
        each = mask_metrics.of_images(outputs, targets)
        there = ~np.isnan(each)
        return Statistic(np.column_stack([there, np.where(there, each, 0)]).astype(np.float64), _ratio)
    predicted, hits = np.split(outputs, 2, axis=1)
    contributions = np.hstack([hits, predicted, targets])
    return Statistic(contributions, lambda sums: _PIXELS[name](*np.split(sums, 3, axis=1)))


def _of_images(name: str, outputs: Floats, targets: Floats) -> Statistic:
    if name == "image_psnr":
        each = image_metrics.decibels(image_metrics.of_images(outputs, targets))
        return Statistic(np.column_stack([np.ones_like(each), each]), _ratio)
    squared, absolute = np.split(outputs, 2, axis=1)
    errors = (absolute if name == "mae" else squared).sum(axis=1)
    contributions = np.column_stack([targets.sum(axis=1), errors])
    if name == "psnr":
        return Statistic(contributions, lambda sums: image_metrics.decibels(_ratio(sums)))
    return Statistic(contributions, _ratio)


def _of_numbers(name: str, predicted: Floats, targets: Floats) -> Statistic:
    known = ~np.isnan(targets)
    if name == "spearman":
        return Statistic(None, lambda weights: _one_by_one(name, predicted, targets, weights))
    counts = np.maximum(known.sum(axis=0), 1)
    # Sums of squares of values far from zero would lose digits.
    truth = np.where(known, targets, 0)
    truth = np.where(known, truth - truth.sum(axis=0) / counts, 0)
    guess = np.where(known, predicted - np.where(known, predicted, 0).sum(axis=0) / counts, 0)
    error = np.where(known, predicted - np.where(known, targets, 0), 0)
    moments = [known, np.abs(error), error**2, truth, truth**2, guess, guess**2, truth * guess]
    contributions = np.hstack(moments).astype(np.float64)
    return Statistic(contributions, lambda sums: _mean_of_outputs(_MOMENTS[name](*np.split(sums, 8, axis=1))))


def _mean_of_outputs(values: Floats) -> Floats:
    """Over outputs with a known target; an output that is not determined makes the mean NaN, as in the metric itself."""
    return np.asarray(values.mean(axis=1))


def _ratio(sums: Floats) -> Floats:
    return np.asarray(_divided(sums[:, 1], sums[:, 0]))


def _divided(part: Floats, whole: Floats) -> Floats:
    """NaN where there is nothing to divide by."""
    out: Floats = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def _mean_there(values: Floats) -> Floats:
    """The mean over columns that are not NaN; NaN without any."""
    there = ~np.isnan(values)
    return _divided(np.where(there, values, 0).sum(axis=1), there.sum(axis=1).astype(np.float64))


def _accuracy(hits: Floats, predicted: Floats, true: Floats) -> Floats:
    return _divided(hits.sum(axis=1), true.sum(axis=1))


def _balanced_accuracy(hits: Floats, predicted: Floats, true: Floats) -> Floats:
    return _mean_there(_divided(hits, true))


def _macro_f1(hits: Floats, predicted: Floats, true: Floats) -> Floats:
    return _mean_there(_divided(2 * hits, predicted + true))


def _micro_f1(hits: Floats, predicted: Floats, true: Floats) -> Floats:
    return _divided(2 * hits.sum(axis=1), (predicted + true).sum(axis=1))


def _mcc(hits: Floats, predicted: Floats, true: Floats) -> Floats:
    n = true.sum(axis=1)
    shared = (true * predicted).sum(axis=1)
    spread = np.sqrt((n**2 - (true**2).sum(axis=1)) * (n**2 - (predicted**2).sum(axis=1)))
    out: Floats = np.zeros_like(n)
    np.divide(hits.sum(axis=1) * n - shared, spread, out=out, where=spread > 0)
    return out


def _kappa(hits: Floats, predicted: Floats, true: Floats) -> Floats:
    n = true.sum(axis=1)
    chance = (true * predicted).sum(axis=1) / n**2
    out: Floats = np.zeros_like(n)
    np.divide(hits.sum(axis=1) / n - chance, 1 - chance, out=out, where=chance < 1)
    return out


_COUNTS: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "macro_f1": _macro_f1,
    "micro_f1": _micro_f1,
    "mcc": _mcc,
    "kappa": _kappa,
}


# Metrics without bounds, or of which the mean is no share.
UNBOUNDED = frozenset({"rmse", "mse", "mae", "r2", "pearson", "spearman", "psnr", "image_psnr", "equation_loss"})
# Measures of agreement, which grow with the hits.
AGREEMENT: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {"mcc": _mcc, "kappa": _kappa}

_PIXELS: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "pixel_accuracy": _accuracy,
    "dice": lambda *counts: _mean_there(mask_metrics.dice_of(*counts)),
    "iou": lambda *counts: _mean_there(mask_metrics.iou_of(*counts)),
    "foreground_dice": lambda *counts: _mean_there(mask_metrics.dice_of(*counts)[:, 1:]),
    "foreground_iou": lambda *counts: _mean_there(mask_metrics.iou_of(*counts)[:, 1:]),
}


def _rmse(n: Floats, off: Floats, square: Floats, *rest: Floats) -> Floats:
    return np.sqrt(_divided(square, n))


def _mse(n: Floats, off: Floats, square: Floats, *rest: Floats) -> Floats:
    return _divided(square, n)


def _mae(n: Floats, off: Floats, square: Floats, *rest: Floats) -> Floats:
    return _divided(off, n)


def _r2(n: Floats, off: Floats, square: Floats, true: Floats, true2: Floats, *rest: Floats) -> Floats:
    return 1 - _divided(square, true2 - _divided(true**2, n))


def _pearson(
    n: Floats, off: Floats, square: Floats, true: Floats, true2: Floats, one: Floats, one2: Floats, both: Floats
) -> Floats:
    spread = (true2 - _divided(true**2, n)) * (one2 - _divided(one**2, n))
    return _divided(both - _divided(true * one, n), np.sqrt(np.maximum(spread, 0)))


_MOMENTS: dict[str, Callable[..., Floats]] = {"rmse": _rmse, "mse": _mse, "mae": _mae, "r2": _r2, "pearson": _pearson}


def _one_by_one(name: str, logits: Floats, targets: Floats, weights: Floats) -> Floats:
    """Any metric, by repeating rows."""
    measure = BY_KIND["regression"][name]
    rows = np.arange(len(logits))
    taken = (np.repeat(rows, one.astype(np.int64)) for one in weights)
    return np.array([measure(logits[some], targets[some]) for some in taken])


def _ranked(name: str, scores: Floats, true: Bools, known: Bools) -> Callable[[Floats], Floats]:
    """The mean over columns of a metric of ranks, as a function of the rows' weights."""
    prepare = _auroc_of if name == "auroc" else _precision_of
    columns = []
    for column in range(scores.shape[1]):
        rows = np.flatnonzero(known[:, column])
        order = rows[np.argsort(-scores[rows, column], kind="stable")]
        falling = scores[order, column]
        starts = np.flatnonzero(np.concatenate([[True], falling[1:] != falling[:-1]])[: len(order)])
        columns.append(prepare(order, true[order, column], starts))

    def function(weights: Floats) -> Floats:
        # Rows first: sorting them then moves whole lines of memory.
        turned = np.ascontiguousarray(weights.T)
        return _mean_there(np.column_stack([one(turned) for one in columns]))

    return function


def _auroc_of(order: Integers, yes: Bools, starts: Integers) -> Callable[[Floats], Floats]:
    """The area, from weights (n, draws): `order` sorts rows from the highest score, levels begin at `starts`."""

    def area(weights: Floats) -> Floats:
        both = np.take(weights, order, axis=0)
        positive = both * yes[:, None]
        if len(starts) < len(order):
            positive, both = np.add.reduceat(positive, starts, axis=0), np.add.reduceat(both, starts, axis=0)
        negative = both - positive
        n_positive, n_negative = positive.sum(axis=0), negative.sum(axis=0)
        below = n_negative - negative.cumsum(axis=0) + negative / 2
        return _divided(np.einsum("lb,lb->b", positive, below), n_positive * n_negative)

    return area


def _precision_of(order: Integers, yes: Bools, starts: Integers) -> Callable[[Floats], Floats]:
    """Average precision, from weights (n, draws); sums are taken only where a level with a positive row ends."""
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
        return _divided(np.einsum("lb,lb->b", hits, shares), hits.sum(axis=0))

    return precision
