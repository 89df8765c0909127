"""Metrics of predicted numbers: predictions and targets of shape (n, outputs), NaN targets (unknown) left out.

With several outputs each metric is the mean of the outputs' own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.post.measures import elementwise
from mlpipe.post.measures.ranks import midranks

Numbers = npt.NDArray[np.floating]
Column = npt.NDArray[np.float64]


def rmse(predicted: Numbers, targets: Numbers) -> float:
    """Root of the mean squared error, in the target's unit."""
    return _mean(lambda estimates, true: float(np.sqrt(((estimates - true) ** 2).mean())), predicted, targets)


def mse(predicted: Numbers, targets: Numbers) -> float:
    """Mean squared error, in the target's unit squared."""
    return _mean(lambda estimates, true: float(((estimates - true) ** 2).mean()), predicted, targets)


def mae(predicted: Numbers, targets: Numbers) -> float:
    """Mean absolute error, in the target's unit."""
    return _mean(lambda estimates, true: float(np.abs(estimates - true).mean()), predicted, targets)


def r2(predicted: Numbers, targets: Numbers) -> float:
    """The share of the variance that is explained; negative when the mean would be better; NaN for a constant target."""
    return _mean(_r2, predicted, targets)


def pearson(predicted: Numbers, targets: Numbers) -> float:
    """Pearson's correlation; NaN when either side is constant."""
    return _mean(_correlation, predicted, targets)


def spearman(predicted: Numbers, targets: Numbers) -> float:
    """Spearman's correlation of the ranks; NaN when either side is constant."""
    return _mean(lambda estimates, true: _correlation(midranks(estimates), midranks(true)), predicted, targets)


METRICS: dict[str, Callable[[Numbers, Numbers], float]] = {
    "rmse": rmse,
    "mse": mse,
    "mae": mae,
    "r2": r2,
    "pearson": pearson,
    "spearman": spearman,
}
# Metrics of outputs that stand for classes, for recipes that name them; without intervals.
OF_CLASSES: dict[str, Callable[[Numbers, Numbers], float]] = {
    "top1_accuracy": elementwise.top1_accuracy,
    "top5_accuracy": elementwise.top5_accuracy,
}


def table(predicted: Numbers, targets: Numbers, outputs: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per output: the number of known targets, and every metric."""
    rows = []
    for number, name in enumerate(outputs):
        estimates, true = predicted[:, number : number + 1], targets[:, number : number + 1]
        known = int((~np.isnan(true)).sum())
        values = {key: measure(estimates, true) if known else float("nan") for key, measure in METRICS.items()}
        rows.append({"class": name, "images": known, **values})
    return rows


def _mean(measure: Callable[[Column, Column], float], predicted: Numbers, targets: Numbers) -> float:
    values = []
    for number in range(targets.shape[1]):
        known = ~np.isnan(targets[:, number])
        if known.any():
            estimates, true = predicted[known, number], targets[known, number]
            values.append(measure(estimates.astype(np.float64), true.astype(np.float64)))
    return float(np.mean(values)) if values else float("nan")


def _r2(estimates: Column, true: Column) -> float:
    # Rounding of the mean would give a constant a non-zero spread.
    if not np.ptp(true) > 0:
        return float("nan")
    return float(1 - ((estimates - true) ** 2).sum() / ((true - true.mean()) ** 2).sum())


def _correlation(column: Column, other: Column) -> float:
    if not (np.ptp(column) > 0 and np.ptp(other) > 0):
        return float("nan")
    first, second = column - column.mean(), other - other.mean()
    spread = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / spread) if spread > 0 else float("nan")
