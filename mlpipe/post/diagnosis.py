"""Diagnostic metrics of yes-or-no answers: sensitivity, specificity, predictive values, net benefit.

Rows are n independent samples, or samples in groups that are taken together (several images of a patient).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, sqrt

import numpy as np
import numpy.typing as npt

from mlpipe.errors import DataError, problem
from mlpipe.post.intervals import exact
from mlpipe.post.intervals.by_metric import Interval, units_of
from mlpipe.post.rows import Floats

Bools = npt.NDArray[np.bool_]

NAMES = ("sensitivity", "specificity", "positive predictive value", "negative predictive value")


@dataclass(frozen=True)
class Diagnosis:
    """The diagnostic accuracy of yes-or-no answers.

    Attributes:
        counts: True positives, false positives, true negatives and false negatives.
        sensitivity: The share of the positive rows with answer yes; None without any.
        specificity: The share of the negative rows with answer no; None without any.
        ppv: The share of the answers yes that are right, at the prevalence of these rows; None without any.
        npv: The share of the answers no that are right, likewise.
        rows: The number of independent rows that sensitivity and specificity are worth.
        level: The confidence level of the intervals.
    """

    counts: tuple[int, int, int, int]
    sensitivity: Interval | None
    specificity: Interval | None
    ppv: Interval | None
    npv: Interval | None
    rows: tuple[float, float]
    level: float

    @property
    def prevalence(self) -> float:
        """The share of positive rows."""
        hits, alarms, cleared, missed = self.counts
        return (hits + missed) / (hits + alarms + cleared + missed)


def diagnosis(
    answers: Bools, true: Bools, groups: npt.NDArray[np.generic] | None = None, level: float = 0.95
) -> Diagnosis:
    """Return sensitivity, specificity and predictive values of answers, with intervals.

    Ends are exact (Clopper and Pearson 1934) where few rows are on one side, Wilson's elsewhere; rows of a group count as
    the number of independent rows whose share would vary as much.

    Args:
        answers: Whether the answer is yes, shape (n,).
        true: Whether yes is right, shape (n,).
        groups: The group of each row, shape (n,); None: every row by itself.
        level: The confidence level of the intervals.

    Raises:
        DataError: There are no rows.
    """
    if not len(true):
        raise DataError(problem("diagnosis", "there are no rows", fix="use a split with labels"))
    units = units_of(groups, len(true))
    sides = [(answers & true, true), (~answers & ~true, ~true), (answers & true, answers), (~answers & ~true, ~answers)]
    parts = [exact.ratio(hits.astype(float), total.astype(float), *units) for hits, total in sides]
    shares = [None if part is None else _share(part, level) for part in parts]
    hits, alarms, cleared, missed = (
        int(mask.sum()) for mask in (answers & true, answers & ~true, ~answers & ~true, ~answers & true)
    )
    worth = [0.0 if part is None else part.rows for part in parts[:2]]
    sensitivity, specificity, ppv, npv = shares
    counts = hits, alarms, cleared, missed
    return Diagnosis(counts, sensitivity, specificity, ppv, npv, (worth[0], worth[1]), level)


def at_prevalence(
    result: Diagnosis, prevalence: float, low: float | None = None, high: float | None = None
) -> tuple[Interval | None, Interval | None]:
    """Return the predictive values at another prevalence by Bayes' rule; None where no answer is of that kind.

    Sensitivity and specificity are assumed to stay the same. The odds of a predictive value are a product of three
    factors, whose intervals are combined on the log scale (MOVER, Zou and Donner 2008); this also carries over the interval
    of an estimated prevalence.

    Args:
        result: The diagnostic accuracy of the answers.
        prevalence: The share of positive samples there, inside (0, 1).
        low: The lower end of its interval; None: the prevalence is known.
        high: The upper end.

    Returns:
        The positive and the negative predictive value.

    Raises:
        DataError: The prevalence is not inside (0, 1).
    """
    if not 0 < prevalence < 1:
        raise DataError(problem("prevalence", "must be above 0 and below 1", got=prevalence, fix="give a share"))
    if result.sensitivity is None or result.specificity is None:
        return None, None
    positive_ends = (prevalence, prevalence if low is None else low, prevalence if high is None else high)
    negative_ends = (1 - positive_ends[0], 1 - positive_ends[2], 1 - positive_ends[1])
    yes = _rate_with_ends(result.sensitivity.value, result.rows[0], result.level)
    cleared = _rate_with_ends(result.specificity.value, result.rows[1], result.level)
    positive = _predictive(yes, _complement(cleared), positive_ends, result.level)
    return positive, _predictive(cleared, _complement(yes), negative_ends, result.level)


@dataclass(frozen=True)
class NetBenefit:
    """A decision curve: the net benefit of acting on predictions, compared with acting on all samples or on none.

    Attributes:
        thresholds: Probabilities from which on one acts, shape (t,).
        model: The net benefit of acting on predictions, in true positives per sample, shape (t,).
        low: The lower ends of its pointwise intervals, shape (t,); NaN where all rows are of one group.
        high: The upper ends.
        everybody: The net benefit of acting on all samples, shape (t,); that of acting on none is 0.
    """

    thresholds: Floats
    model: Floats
    low: Floats
    high: Floats
    everybody: Floats


def net_benefit(
    probabilities: npt.ArrayLike,
    true: Bools,
    thresholds: npt.ArrayLike,
    *,
    prevalence: float | None = None,
    groups: npt.NDArray[np.generic] | None = None,
    level: float = 0.95,
) -> NetBenefit:
    """Return the decision curve of Vickers and Elkin 2006: true positives minus false ones at the odds of the threshold.

    Args:
        probabilities: Probabilities of yes, shape (n,); meant for `prevalence` if that is given.
        true: Whether yes is right, shape (n,), some on either side.
        thresholds: Inside (0, 1), shape (t,).
        prevalence: The share of positive samples where one acts; None: that of these rows.
        groups: The group of each row, shape (n,); None: every row by itself.
        level: The confidence level of the pointwise intervals, which are normal ones.
    """
    cuts = np.asarray(thresholds, np.float64)
    share = float(true.mean()) if prevalence is None else prevalence
    # The contribution of each row, weighted by its side so that the mean over rows is at the prevalence.
    worth = np.where(true, share / max(true.mean(), 1e-300), (1 - share) / max(1 - true.mean(), 1e-300))
    odds = cuts / (1 - cuts)
    acts = np.asarray(probabilities, np.float64)[:, None] >= cuts
    gains = worth[:, None] * acts * np.where(true[:, None], 1.0, -odds)
    model = gains.mean(axis=0)
    units, count = units_of(groups, len(true))
    inside = gains - model
    if prevalence is not None:
        # The prevalence is given, so only the variation within each side is random.
        for side in (true, ~true):
            inside[side] = gains[side] - gains[side].mean(axis=0)
    summed = np.zeros((count, len(cuts)))
    np.add.at(summed, units, inside)
    # The deviations of a single unit sum to zero and say nothing about the variance.
    spread = (summed**2).sum(axis=0) * count / (count - 1) if count > 1 else np.full(len(cuts), np.nan)
    half = exact.normal_quantile(level) * np.sqrt(spread) / len(true)
    return NetBenefit(cuts, model, model - half, model + half, share - (1 - share) * odds)


def _share(part: exact.Part, level: float) -> Interval:
    method = "clopper-pearson" if exact.is_exact(part.value, part.rows) else "wilson"
    return Interval(part.value, *exact.share_ends(part.value, part.rows, level), level, method)


# A share with its ends: value, low, high.
_Ends = tuple[float, float, float]


@dataclass(frozen=True)
class _Shared:
    """A share, its ends, and the point from which its logarithm is measured: half a row off 0 and 1."""

    value: float
    centre: float
    low: float
    high: float


def _rate_with_ends(value: float, rows: float, level: float) -> _Shared:
    edge = value in (0.0, 1.0)
    centre = (value * rows + 0.5) / (rows + 1) if edge else value
    return _Shared(value, centre, *exact.share_ends(value, rows, level))


def _complement(rate: _Shared) -> _Shared:
    return _Shared(1 - rate.value, 1 - rate.centre, 1 - rate.high, 1 - rate.low)


def _predictive(right: _Shared, wrong: _Shared, prior: _Ends, level: float) -> Interval | None:
    """Return a predictive value from a side's rate of right answers, the other side's rate of wrong ones, and the prior."""
    together = right.value * prior[0] + wrong.value * (1 - prior[0])
    if together <= 0:
        return None
    value = right.value * prior[0] / together
    middle = log(right.centre) - log(wrong.centre) + _logit(prior[0])
    below = (
        log(right.centre) - _log(right.low),
        _log(wrong.high) - log(wrong.centre),
        _logit(prior[0]) - _logit(prior[1]),
    )
    above = (
        _log(right.high) - log(right.centre),
        log(wrong.centre) - _log(wrong.low),
        _logit(prior[2]) - _logit(prior[0]),
    )
    ends = [
        _expit(middle + sign * sqrt(sum(distance**2 for distance in side))) for sign, side in ((-1, below), (1, above))
    ]
    return Interval(value, min(ends[0], value), max(ends[1], value), level, "mover of log odds")


def _log(value: float) -> float:
    return log(value) if value > 0 else -inf


def _logit(share: float) -> float:
    return _log(share) - _log(1 - share) if 0 < share < 1 else (inf if share >= 1 else -inf)


def _expit(odds: float) -> float:
    return 1 / (1 + exp(-odds)) if odds > -700 else 0.0
