"""Decision thresholds: where to cut a probability, which decision costs least, and the resulting costs.

Thresholds are searched exactly: one between any two neighbouring scores, so unlike a grid the search cannot miss the best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, DataError, did_you_mean, listing, problem
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.rows import Floats, counts_of, labelled, shares

Criterion = Literal["f1", "balanced_accuracy", "youden", "cost", "sensitivity", "specificity"]
# Criteria that name a share which must be reached, and not a value to maximise.
LEVELS = ("sensitivity", "specificity")
# That share if none is given.
AT_LEAST = 0.95

# Thresholds are at least this, because a ratio to 0 is not defined.
_LEAST_CUT = 1e-12


@dataclass(frozen=True)
class Threshold:
    """Yes if the score is above `cut`; `value` is the criterion at that cut, on the rows that chose it."""

    cut: float
    value: float
    criterion: str
    rows: int


def best_threshold(
    scores: npt.ArrayLike,
    positive: npt.ArrayLike,
    *,
    criterion: str = "f1",
    false_positive: float = 1.0,
    false_negative: float = 1.0,
    at_least: float = AT_LEAST,
    weights: npt.ArrayLike | None = None,
) -> Threshold:
    """Return the best of all thresholds of one score, the one nearest to one half among equals.

    Args:
        scores: Probabilities of yes, shape (n,).
        positive: 1 for yes, 0 for no, NaN for unknown (left out), shape (n,).
        criterion: `f1`, `balanced_accuracy`, `youden` (sensitivity + specificity - 1), or `cost` (the mean cost of a row,
            less is better); `sensitivity` or `specificity`: of all thresholds where it is at least `at_least`, the one with
            the largest value of the other.
        false_positive: For `cost`, the cost of a wrong yes.
        false_negative: For `cost`, the cost of a wrong no.
        at_least: For `sensitivity` and `specificity`, the share to reach, inside (0, 1].
        weights: The weight of each row, positive, shape (n,); None: equal weights.

    Raises:
        ConfigError: The criterion is unknown or a cost is negative.
        DataError: There is no row with yes or none with no.
    """
    if criterion not in get_args(Criterion):
        fix = did_you_mean(criterion, get_args(Criterion), otherwise=f"criteria: {listing(get_args(Criterion))}")
        raise ConfigError(problem("mode.threshold", "unknown criterion", got=criterion, fix=fix))
    if min(false_positive, false_negative) < 0:
        costs = [false_positive, false_negative]
        raise ConfigError(problem("mode.threshold", "costs must not be negative", got=costs, fix="change them"))
    truth = np.asarray(positive, np.float64)
    known = ~np.isnan(truth)
    values, yes = np.asarray(scores, np.float64)[known], truth[known] == 1
    if not np.isfinite(values).all():
        raise DataError(problem("threshold", "scores must be finite", fix="predict again"))
    if not yes.any() or yes.all():
        fix = "choose thresholds on rows that hold both"
        raise DataError(problem("threshold", "rows with yes and with no are needed", got=int(yes.sum()), fix=fix))
    counts = np.ones(len(yes)) if weights is None else np.asarray(weights, np.float64)[known]
    # All thresholds between the same neighbouring scores are equivalent: one for each gap, and one beyond either
    # end, are enough.
    cuts, hits, alarms = _all_cuts(values, yes, counts)
    n_yes, n_no = float(counts @ yes), float(counts @ ~yes)
    if criterion in LEVELS:
        place, value = _at_level(criterion, at_least, hits / n_yes, 1 - alarms / n_no)
        return Threshold(float(cuts[place]), value, criterion, len(yes))
    with np.errstate(invalid="ignore"):
        measured = _CRITERIA[criterion](hits, alarms, n_yes, n_no)
    if criterion == "cost":
        measured = -(alarms * false_positive + (n_yes - hits) * false_negative) / (n_yes + n_no)
    best = np.flatnonzero(measured >= measured.max() - 1e-15)
    place = best[np.argmin(np.abs(cuts[best] - 0.5))]
    value = float(measured[place])
    return Threshold(float(cuts[place]), -value if criterion == "cost" else value, criterion, len(yes))


def _all_cuts(values: Floats, yes: npt.NDArray[np.bool_], counts: Floats) -> tuple[Floats, Floats, Floats]:
    """Return thresholds from the highest to the lowest, and the numbers of true and false yes above each."""
    levels, place = np.unique(values, return_inverse=True)
    hits = np.bincount(place, weights=counts * yes, minlength=len(levels))[::-1].cumsum()
    alarms = np.bincount(place, weights=counts * ~yes, minlength=len(levels))[::-1].cumsum()
    falling = levels[::-1]
    middles = falling[1:] + (falling[:-1] - falling[1:]) / 2
    # Two adjacent floats have no number between them: the lower one separates them just as well.
    middles = np.where(middles >= falling[:-1], falling[1:], middles)
    above, below = max(1.0, float(falling[0])), min(0.0, np.nextafter(falling[-1], -np.inf))
    cuts = np.concatenate([[above], middles, [below]])
    return cuts, np.concatenate([[0.0], hits]), np.concatenate([[0.0], alarms])


def _at_level(criterion: str, at_least: float, sensitivity: Floats, specificity: Floats) -> tuple[int, float]:
    """Return the number of the threshold that reaches a share at the lowest price, and the share there."""
    own, other = (sensitivity, specificity) if criterion == "sensitivity" else (specificity, sensitivity)
    # Shares of counts are rounded: 19 of 20 must count as 0.95.
    reached = np.flatnonzero(own >= at_least - 1e-9)
    place = int(reached[np.lexsort([own[reached], other[reached]])[-1]])
    return place, float(own[place])


def _f1(hits: Floats, alarms: Floats, n_yes: float, n_no: float) -> Floats:
    return 2 * hits / (hits + alarms + n_yes)


def _balanced(hits: Floats, alarms: Floats, n_yes: float, n_no: float) -> Floats:
    return (hits / n_yes + 1 - alarms / n_no) / 2


def _youden(hits: Floats, alarms: Floats, n_yes: float, n_no: float) -> Floats:
    return hits / n_yes - alarms / n_no


_CRITERIA: dict[str, Callable[[Floats, Floats, float, float], Floats]] = {
    "f1": _f1,
    "balanced_accuracy": _balanced,
    "youden": _youden,
    "cost": _youden,
}


def class_thresholds(
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    criterion: str = "f1",
    false_positive: float = 1.0,
    false_negative: float = 1.0,
    at_least: float = AT_LEAST,
    positive: int = 1,
    prior: npt.ArrayLike | None = None,
) -> list[Threshold | None]:
    """Return the best threshold of each class's probability against the rest; None for a class without rows on both sides.

    For `sensitivity` and `specificity` there are two classes: the positive one has the threshold, the other its difference
    to one, so that an image is positive if its probability is above the threshold.

    Args:
        logits: Shape (n, classes).
        targets: Class numbers, shape (n,); -1 for none.
        criterion: As for `best_threshold`.
        false_positive: As for `best_threshold`.
        false_negative: As for `best_threshold`.
        at_least: As for `best_threshold`.
        positive: For `sensitivity` and `specificity`, the number of the positive class.
        prior: The prevalence at which the criterion should be best, shape (classes,): rows are weighted to it; None: that
            of the rows.
    """
    values, numbers = labelled(logits, targets)
    truth = (numbers[:, None] == np.arange(values.shape[1])).astype(np.float64)
    weights = None
    if prior is not None:
        classes = values.shape[1]
        of_class = shares(prior, classes) / np.maximum(counts_of(numbers, classes), 1)
        weights = np.repeat(of_class[numbers][:, None], classes, axis=1)
    options = _options(criterion, false_positive, false_negative, at_least)
    cuts = _column_thresholds(np.exp(log_softmax(values)), truth, weights, options)
    if criterion in LEVELS and (own := cuts[positive]) is not None:
        rest = replace(own, cut=1 - own.cut)
        return [own if number == positive else rest for number in range(len(cuts))]
    return cuts


def label_thresholds(
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    criterion: str = "f1",
    false_positive: float = 1.0,
    false_negative: float = 1.0,
    at_least: float = AT_LEAST,
    prior: npt.ArrayLike | None = None,
) -> list[Threshold | None]:
    """Return the best threshold of each label's probability; None for a label with one answer only.

    Args:
        logits: Log-odds, shape (n, labels).
        targets: 0, 1 or NaN (unknown), shape (n, labels).
        criterion: As for `best_threshold`.
        false_positive: As for `best_threshold`.
        false_negative: As for `best_threshold`.
        at_least: As for `best_threshold`.
        prior: The share of yes of each label at which thresholds should be best, shape (labels,); None: that of the rows.
    """
    probabilities = 0.5 * (1 + np.tanh(np.asarray(logits, np.float64) / 2))
    options = _options(criterion, false_positive, false_negative, at_least)
    truth, weights = np.asarray(targets, np.float64), None
    if prior is not None:
        share = np.asarray(prior, np.float64)
        both = ((truth == 1).sum(axis=0), (truth == 0).sum(axis=0))
        yes, no = (side / np.maximum(count, 1) for side, count in zip((share, 1 - share), both, strict=True))
        weights = np.where(truth == 1, yes, no)
    return _column_thresholds(probabilities, truth, weights, options)


def _options(criterion: str, false_positive: float, false_negative: float, at_least: float) -> dict[str, Any]:
    costs = {"false_positive": false_positive, "false_negative": false_negative}
    return {"criterion": criterion, "at_least": at_least, **costs}


def _column_thresholds(
    probabilities: Floats, truth: Floats, weights: Floats | None, options: dict[str, Any]
) -> list[Threshold | None]:
    both = ((truth == 1).any(axis=0)) & ((truth == 0).any(axis=0))
    columns = enumerate(zip(probabilities.T, truth.T, strict=True))
    return [
        best_threshold(*pair, weights=None if weights is None else weights[:, number], **options)
        if both[number]
        else None
        for number, pair in columns
    ]


def decide_by_cuts(
    log_probabilities: npt.ArrayLike, cuts: Sequence[float | None], prevalence: npt.ArrayLike | None
) -> npt.NDArray[np.int64]:
    """Return the class whose probability is the largest multiple of its threshold, the first among equals, shape (n,).

    If only one class is above its threshold, it is that one; with two classes whose thresholds add up to one it is the class
    above its threshold. With each class's share as its threshold this is the best rule for the mean of the recalls.

    Args:
        log_probabilities: Shape (n, classes).
        cuts: For each class the probability above which it is a yes; None counts as one half.
        prevalence: The shares of the classes that the probabilities are meant for, shape (classes,). A threshold below half
            of a class's share (where calling everything yes is best) is raised to that half, because such a class would
            always win. None: unknown, and no threshold is too small.
    """
    probabilities = np.exp(log_softmax(np.asarray(log_probabilities)))
    least = np.asarray(_LEAST_CUT) if prevalence is None else shares(prevalence, probabilities.shape[1]) / 2
    thresholds = np.array([0.5 if cut is None else cut for cut in cuts])
    return np.asarray((probabilities / np.maximum(thresholds, least)).argmax(axis=1))


def decide(log_probabilities: npt.ArrayLike, costs: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the decision with the least expected cost for each row, the first among equals, shape (n,).

    Args:
        log_probabilities: Calibrated for the place of use, shape (n, classes).
        costs: The cost of each decision for each true class, shape (classes, decisions).

    Raises:
        ConfigError: The costs have another number of classes or are not finite.
    """
    probabilities = np.exp(log_softmax(np.asarray(log_probabilities)))
    return np.asarray((probabilities @ _costs(costs, probabilities.shape[1])).argmin(axis=1))


def expected_cost(log_probabilities: npt.ArrayLike, targets: npt.ArrayLike, costs: npt.ArrayLike) -> float:
    """Return the mean cost of a row under `decide`.

    Args:
        log_probabilities: Shape (n, classes).
        targets: Class numbers, shape (n,); -1 for none.
        costs: Shape (classes, decisions).

    Raises:
        ConfigError: The costs do not fit.
        DataError: No row has a target.
    """
    values, numbers = labelled(log_probabilities, targets)
    classes = values.shape[1]
    table = _costs(costs, classes)
    counts = counts_of(numbers, classes)
    own = table[numbers, decide(values, table)]
    by_class = np.bincount(numbers, weights=own, minlength=classes) / np.maximum(counts, 1)
    return float(counts / len(numbers) @ by_class)


def _costs(costs: npt.ArrayLike, classes: int) -> Floats:
    table = np.asarray(costs, np.float64)
    if table.ndim != 2 or len(table) != classes or not np.isfinite(table).all():
        fix = f"give {classes} rows (true classes) of finite numbers, one for each decision"
        raise ConfigError(problem("costs", "not a table of costs", got=np.shape(costs), fix=fix))
    return table
