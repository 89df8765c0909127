"""Metrics of numbers from their errors; numbers are not calibrated, but get prediction intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlpipe.post import conformal
from mlpipe.post.decision_options import DecisionOptions
from mlpipe.post.ensembling import mixing as losses
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.intervals import forms, scaled
from mlpipe.post.intervals.forms import Ends, Known
from mlpipe.post.kind import Loss, Outputs, StoredTargets, Targets
from mlpipe.post.kind import all_alike as sides
from mlpipe.post.kind import neither_right_nor_wrong as right
from mlpipe.post.measures import number_metrics
from mlpipe.post.rows import Floats
from mlpipe.post.sums import Statistic, quotient_or_nan

__all__ = ["right", "sides"]

METRICS = number_metrics.METRICS | number_metrics.OF_CLASSES
WITHOUT_INTERVAL = number_metrics.OF_CLASSES
TRAIN = ["rmse"]
FINAL = ["rmse", "mae", "r2", "pearson", "spearman"]
FURTHER: list[str] = []
HEADLINE = "rmse"
ERROR = "mean squared error"
PROBABILITIES = None
CRITERIA: tuple[str, ...] = ()

_SCALES = {
    "rmse": scaled.LOG,
    "mse": scaled.LOG,
    "mae": scaled.LOG,
    "r2": scaled.SHARE_LEFT,
    "pearson": scaled.FISHER,
    "spearman": scaled.FISHER,
}

# Sums of squares that cancel to less than this share of themselves count as 0.
_ROUNDING = 1e-13


def details(outputs: Outputs, targets: Targets, classes: Sequence[str]) -> dict[str, Any]:
    """Return the table of numbers."""
    return {"classes": number_metrics.table(outputs, targets, classes)}


def constant(
    learned: Targets, judged: Targets, classes: Sequence[str], stored: StoredTargets
) -> tuple[Outputs, str] | None:
    """Predict the mean of each number."""
    if np.isnan(learned).all(axis=0).any():
        return None
    return np.tile(np.nanmean(learned, axis=0), (len(judged), 1)), "the mean of the images learned from"


def errors(outputs: Outputs, targets: Targets) -> Floats:
    """Return the mean squared error of each row's known numbers."""
    return np.asarray(np.nanmean((outputs - targets) ** 2, axis=1), np.float64)


def statistic(name: str, outputs: Floats, targets: Targets) -> Statistic:
    """Return a metric as a function of weights: from moments of predicted and true numbers, or by repeating rows."""
    # The metric is a mean over the outputs with a known target.
    some = ~np.isnan(targets).all(axis=0)
    predicted, targets = outputs[:, some], targets[:, some].astype(np.float64)
    known = ~np.isnan(targets)
    if name == "spearman":
        return Statistic(None, lambda weights: _metric_by_repetition(METRICS[name], predicted, targets, weights))
    counts = np.maximum(known.sum(axis=0), 1)
    # Center the values because sums of squares of values far from zero would lose digits.
    truth = np.where(known, targets, 0)
    truth = np.where(known, truth - truth.sum(axis=0) / counts, 0)
    guess = np.where(known, predicted - np.where(known, predicted, 0).sum(axis=0) / counts, 0)
    error = np.where(known, predicted - np.where(known, targets, 0), 0)
    moments = [known, np.abs(error), error**2, truth, truth**2, guess, guess**2, truth * guess]
    contributions = np.hstack(moments).astype(np.float64)
    return Statistic(contributions, lambda sums: _mean_of_outputs(_MOMENTS[name](*np.split(sums, 8, axis=1))))


def ends(name: str, value: float, measure: Statistic, known: Known) -> Ends:
    """Return the jackknife interval on the metric's own scale."""
    return forms.of_numbers(measure, value, _SCALES[name], known)


class _Ensembling:
    """Mixes numbers as they are, and derives prediction intervals from residuals."""

    MIXES_COLUMNS = True

    def combine(self, parts: Sequence[Floats], weights: Sequence[float], mixing: str) -> Floats:
        return losses.mixed(parts, weights)

    def plain_mean(self, parts: Sequence[Floats]) -> Floats:
        return np.asarray(np.mean(parts, axis=0))

    def loss(self, outputs: Floats, targets: Targets) -> float:
        return losses.squared_error(outputs, targets)

    def searched(self, parts: Sequence[Floats]) -> tuple[list[Floats], Loss]:
        return list(parts), self.loss

    def averaged(self, outputs: Floats) -> Floats:
        return outputs

    def averaged_loss(self, averaged: Floats, targets: Targets) -> float:
        return losses.squared_error(averaged, targets)

    def decisions(
        self,
        rows: Rows,
        prior: Floats | None,
        estimate: Rows | None,
        options: DecisionOptions,
        classes: Sequence[str],
        seed: int,
        groups: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        half = conformal.residual_halfwidths(rows.calibrated, rows.targets, alpha=options.alpha)
        return {"halfwidths": dict(zip(classes, half.tolist(), strict=True)), "interval_alpha": options.alpha}


ENSEMBLING = _Ensembling()


def _mean_of_outputs(values: Floats) -> Floats:
    """Average over outputs with a known target; an undefined output makes the mean NaN, as in the metric itself."""
    return np.asarray(values.mean(axis=1))


def _rmse(n: Floats, off: Floats, square: Floats, *rest: Floats) -> Floats:
    return np.sqrt(quotient_or_nan(square, n))


def _mse(n: Floats, off: Floats, square: Floats, *rest: Floats) -> Floats:
    return quotient_or_nan(square, n)


def _mae(n: Floats, off: Floats, square: Floats, *rest: Floats) -> Floats:
    return quotient_or_nan(off, n)


def _r2(n: Floats, off: Floats, square: Floats, true: Floats, true2: Floats, *rest: Floats) -> Floats:
    return 1 - quotient_or_nan(square, _spread(n, true, true2))


def _pearson(
    n: Floats, off: Floats, square: Floats, true: Floats, true2: Floats, one: Floats, one2: Floats, both: Floats
) -> Floats:
    spread = _spread(n, true, true2) * _spread(n, one, one2)
    return quotient_or_nan(both - quotient_or_nan(true * one, n), np.sqrt(spread))


def _spread(n: Floats, values: Floats, squares: Floats) -> Floats:
    """Return the sum of squares around the mean from two sums; 0 where only rounding separates it from 0, as for equal values."""
    spread = squares - quotient_or_nan(values**2, n)
    return np.where(spread > _ROUNDING * squares, spread, 0.0)


_MOMENTS: dict[str, Callable[..., Floats]] = {"rmse": _rmse, "mse": _mse, "mae": _mae, "r2": _r2, "pearson": _pearson}


def _metric_by_repetition(
    measure: Callable[[Any, Any], float], outputs: Floats, targets: Floats, weights: Floats
) -> Floats:
    """Compute any metric under integer weights by repeating rows."""
    rows = np.arange(len(outputs))
    samples = (np.repeat(rows, row_weights.astype(np.int64)) for row_weights in weights)
    return np.array([measure(outputs[some], targets[some]) for some in samples])
