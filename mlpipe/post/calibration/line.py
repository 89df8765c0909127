"""The calibration line of yes-or-no probabilities: its slope and intercept, and calibration in the large (Cox 1958)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlpipe.post.intervals.by_metric import Interval, units_of
from mlpipe.post.intervals.exact import normal_quantile
from mlpipe.post.rows import Floats

_STEPS = 100
# Beyond these log-odds, float64 cannot tell probabilities from 0 and 1.
_MOST = 35.0
# A line at least this steep means that the log-odds separate the rows.
_STEEPEST = 1e4


@dataclass(frozen=True)
class Line:
    """How probabilities must change to match frequencies: log-odds of yes are `intercept + slope * logit(p)`.

    Attributes:
        slope: 1 is best; below 1 predictions are too extreme, above 1 too timid.
        intercept: The intercept at that slope.
        in_the_large: The intercept at slope 1: above 0 yes is more frequent than predicted, below 0 less.
        observed: The share of yes.
        expected: The mean probability of yes.
        note: Why there is no line; empty where there is one.
    """

    slope: Interval | None
    intercept: Interval | None
    in_the_large: Interval | None
    observed: float
    expected: float
    note: str = ""


def line(
    log_odds: npt.ArrayLike, true: npt.ArrayLike, groups: npt.NDArray[np.generic] | None = None, level: float = 0.95
) -> Line:
    """Fit the calibration line by logistic regression on the predicted log-odds, with Wald intervals.

    Groups of several rows get the cluster-robust covariance (Liang and Zeger 1986).

    Args:
        log_odds: Predicted, shape (n,), n of 1 or more.
        true: 1 where yes is right, shape (n,).
        groups: The group of each row, shape (n,); None: every row by itself.
        level: The confidence level of the intervals.
    """
    scores, answers = np.clip(np.asarray(log_odds, np.float64), -_MOST, _MOST), np.asarray(true, np.float64)
    observed, expected = float(answers.mean()), float(_expit(scores).mean())
    if observed in (0.0, 1.0):
        return Line(None, None, None, observed, expected, "all answers are the same")
    units, count = units_of(groups, len(answers))
    if count < 2:
        # Residuals sum to zero, so a single group would have no error at all.
        return Line(None, None, None, observed, expected, "a single group does not tell how much it varies")
    ones = np.ones_like(scores)
    large = _fit(ones[:, None], scores, answers, units, count)
    both = (
        _fit(np.column_stack([ones, scores]), np.zeros_like(scores), answers, units, count) if np.ptp(scores) else None
    )
    quantile = normal_quantile(level)
    shift = None if large is None else _interval(large[0][0], large[1][0], quantile, level)
    if both is None:
        reason = (
            "predictions are all the same"
            if not np.ptp(scores)
            else "predictions separate the answers without a mistake"
        )
        return Line(None, None, shift, observed, expected, reason)
    intercept, slope = (_interval(value, error, quantile, level) for value, error in zip(*both, strict=True))
    return Line(slope, intercept, shift, observed, expected)


def _interval(value: float, error: float, quantile: float, level: float) -> Interval:
    return Interval(float(value), float(value - quantile * error), float(value + quantile * error), level, "wald")


def _fit(
    columns: Floats, offset: Floats, answers: Floats, units: npt.NDArray[np.int64], count: int
) -> tuple[Floats, Floats] | None:
    """Fit a logistic regression by Newton's method; return coefficients and standard errors, None if there is no maximum."""
    coefficients = np.zeros(columns.shape[1])
    loss = _loss(columns @ coefficients + offset, answers)
    for _ in range(_STEPS):
        chances = _expit(columns @ coefficients + offset)
        gradient = columns.T @ (answers - chances)
        curvature = (columns * (chances * (1 - chances))[:, None]).T @ columns
        if np.linalg.cond(curvature) > 1e12:
            return None
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while (
            next_loss := _loss(columns @ (coefficients + size * step) + offset, answers)
        ) > loss + 1e-12 and size > 1e-6:
            size /= 2
        coefficients, loss = coefficients + size * step, next_loss
        if not np.isfinite(coefficients).all() or np.abs(coefficients).max() > _STEEPEST:
            return None
        if np.abs(step).max() < 1e-10:
            break
    chances = _expit(columns @ coefficients + offset)
    inverse = np.linalg.inv((columns * (chances * (1 - chances))[:, None]).T @ columns)
    if count < len(answers):
        scored = np.zeros((count, columns.shape[1]))
        np.add.at(scored, units, columns * (answers - chances)[:, None])
        inverse = inverse @ (scored.T @ scored * count / max(count - 1, 1)) @ inverse
    return coefficients, np.sqrt(np.diag(inverse))


def _loss(odds: Floats, answers: Floats) -> float:
    return float(np.logaddexp(0, odds).sum() - (odds * answers).sum())


def _expit(odds: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(odds / 2)))
