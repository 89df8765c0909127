"""Quantification: the prevalence of each class among unlabelled rows, from their predictions, with intervals.

Counting predictions is biased by the classifier's errors; the other estimators correct for them with error rates measured
on labelled rows. All assume that only the prevalence of the classes differs between the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, did_you_mean, listing, problem
from mlpipe.post.ensembling.simplex import least_quadratic, most_likely
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.rows import Floats, Integers, counts_of, finite, labelled

Quantifier = Literal["cc", "acc", "pacc", "bbse", "bbse_soft", "em"]

# The condition number beyond which error rates are uninformative, and a difference of two rates that counts as 0.
_NEARLY_SINGULAR, _SAME = 1e3, 1e-12
# Draws of a single group are all the same, as if nothing were uncertain.
ONE_GROUP = "rows of one group alone are drawn one by one, so that the interval may be too narrow"


@dataclass(frozen=True)
class Prevalence:
    """Estimated shares of the classes, and the ends of their bootstrap intervals if requested.

    `condition` is the condition number of the error rates, infinite where predictions do not depend on the class.
    """

    method: str
    values: Floats
    low: Floats | None = None
    high: Floats | None = None
    condition: float | None = None
    gap: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def means_something(self) -> bool:
        """Whether predictions distinguish the classes, so that the estimate is more than noise."""
        return self.condition is None or self.condition <= _NEARLY_SINGULAR


def error_rates(votes: Floats, targets: Integers) -> Floats:
    """Return M[i, j], the mean vote of rows of class j for class i, shape (classes, classes).

    For predictions this is the probability that a row of class j is predicted as i. The column of a class without labelled rows
    is that of a classifier without errors.

    Args:
        votes: The votes of each row for each class, shape (n, classes): 1 for its prediction, or its probabilities.
        targets: Class numbers, shape (n,).
    """
    rates = np.eye(votes.shape[1])
    for number in np.unique(targets):
        rates[:, number] = votes[targets == number].mean(axis=0)
    return rates


def condition_of(rates: Floats) -> float:
    """Return the condition number of error rates; infinite where only rounding makes it finite.

    Args:
        rates: Shape (classes, classes).
    """
    condition = float(np.linalg.cond(rates))
    return condition if condition < 1e12 else float("inf")


def correct_counts(rates: Floats, observed: Floats) -> tuple[Floats, tuple[str, ...]]:
    """Return the shares p nearest to M p = q, all in [0, 1], and notes for the report.

    With two classes the closed form (q1 - fpr) / (tpr - fpr), clipped to 0 and 1, and q itself if the classifier
    cannot distinguish the classes; otherwise the least-squares minimum over all shares. Forman 2008; Bunse 2022.

    Args:
        rates: M of `error_rates`, shape (classes, classes).
        observed: q, the shares of the predictions (or the mean probabilities), shape (classes,).
    """
    notes: tuple[str, ...] = ()
    condition = condition_of(rates)
    if condition > _NEARLY_SINGULAR:
        notes = (f"the error rates hardly tell the classes apart (condition number {condition:.3g})",)
    if len(observed) == 2 and abs(rates[1, 1] - rates[1, 0]) < _SAME:
        notes = (*notes, "predictions do not depend on the class: their plain shares are used")
    return _corrected(rates, observed), notes


def _corrected(rates: Floats, observed: Floats, start: Floats | None = None) -> Floats:
    """Return the shares of `correct_counts`; `start` is near them."""
    if len(observed) == 2:
        spread = rates[1, 1] - rates[1, 0]
        if abs(spread) < _SAME:
            return observed
        second = float(np.clip((observed[1] - rates[1, 0]) / spread, 0, 1))
        return np.array([1 - second, second])
    return least_quadratic(rates.T @ rates, rates.T @ observed, start=start)


def importance_shares(joint: Floats, observed: Floats) -> tuple[Floats, tuple[str, ...]]:
    """Black-box shift estimation: w solves C w = q, and the share of class j is w_j times its labelled share.

    Negative w are set to zero. Lipton, Wang and Smola 2018.

    Args:
        joint: C[i, j], the share of labelled rows predicted as i and of class j, shape (classes, classes).
        observed: q, shape (classes,).
    """
    present = joint.sum(axis=0) > 0
    condition = float(np.linalg.cond(joint[np.ix_(present, present)]))
    notes: tuple[str, ...] = ()
    if condition > _NEARLY_SINGULAR * 10:
        notes = (f"the joint shares are nearly singular (condition number {condition:.3g})",)
    values = _weighed(joint, observed)
    if values is None:
        return observed, (*notes, "no class has a positive weight: the plain shares of the predictions are used")
    return values, notes


def _weighed(joint: Floats, observed: Floats) -> Floats | None:
    """Return the shares of `importance_shares`; None if no class has a positive weight."""
    present, ratios = joint.sum(axis=0) > 0, np.zeros(len(observed))
    ratios[present] = np.linalg.lstsq(joint[:, present], observed)[0]
    values = np.maximum(ratios, 0) * joint.sum(axis=0)
    return values / values.sum() if values.sum() else None


def _likelihoods(log_probabilities: Floats, base: Floats) -> Floats:
    """Return the likelihood of each row under each class, scaled to a row maximum of 1, shape (n, classes)."""
    ratios = log_softmax(log_probabilities) - np.log(base)
    return np.asarray(np.exp(ratios - ratios.max(axis=1, keepdims=True)))


def quantify(
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    unlabelled: npt.ArrayLike,
    *,
    method: str = "acc",
    base: npt.ArrayLike | None = None,
    draws: int = 0,
    level: float = 0.95,
    seed: int = 0,
    groups: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> Prevalence:
    """Estimate the prevalence of the classes among unlabelled rows.

    Args:
        logits: Predictions of labelled rows that did not train the model, shape (n, classes).
        targets: Their class numbers, shape (n,); -1 for none.
        unlabelled: Predictions of the rows in question, shape (m, classes).
        method: `cc` counts predictions, `acc` corrects them (the reference's way), `pacc` the same with probabilities,
            `bbse` and `bbse_soft` by importance weights, `em` by maximum likelihood of calibrated probabilities.
        base: For `em`, the prevalence that the probabilities are calibrated for; None: that of the labelled rows.
        draws: The number of bootstrap draws (of labelled rows within their class, and of unlabelled rows) for the interval.
        level: The confidence level.
        seed: Seed of the draws.
        groups: The groups of labelled rows, shape (n,), and of unlabelled rows, shape (m,), which are drawn together;
            None: every row by itself. Rows of a class, or unlabelled rows, of a single group are drawn one by one.

    Raises:
        ConfigError: The method is unknown.
        DataError: No labelled row, or values that are not finite.
    """
    if method not in get_args(Quantifier):
        fix = did_you_mean(method, get_args(Quantifier), otherwise=f"methods: {listing(get_args(Quantifier))}")
        raise ConfigError(problem("mode.quantifier", "unknown method", got=method, fix=fix))
    values, numbers = labelled(logits, targets)
    others = finite(unlabelled, key="unlabelled predictions")
    rng = np.random.default_rng(seed)
    of_labelled, of_others = (None, None) if groups is None else (np.asarray(names) for names in groups)
    of_labelled = None if of_labelled is None else of_labelled[np.asarray(targets) >= 0]
    of_others, is_alone = _drawn_units(of_others, np.zeros(len(others), np.int64))
    if method == "em":
        weights_of = _row_weights(len(others), of_others)
        likely = _by_likelihood(others, _base(base, numbers, others.shape[1]), draws, level, partial(weights_of, rng))
        return replace(likely, notes=(ONE_GROUP,) if is_alone and draws else ())
    of_labelled, has_alone = _drawn_units(of_labelled, numbers)
    soft = method in ("pacc", "bbse_soft")
    labelled_votes, votes = _votes(values, soft), _votes(others, soft)
    estimate = _ESTIMATORS[method]
    point, notes = estimate(error_rates(labelled_votes, numbers), numbers, votes.mean(axis=0))
    missing = np.flatnonzero(counts_of(numbers, values.shape[1]) == 0)
    if len(missing) and method != "cc":
        notes = (*notes, f"no labelled rows of class numbers {listing(missing)}: taken as predicted without errors")
    if draws and (is_alone or has_alone):
        notes = (*notes, ONE_GROUP)
    columns = {
        int(number): _resampler(
            labelled_votes[numbers == number], soft, None if of_labelled is None else of_labelled[numbers == number]
        )
        for number in np.unique(numbers)
    }
    observed, drawn = _resampler(votes, soft, of_others), np.empty((draws, len(point)))
    for row in range(draws):
        rates = np.eye(len(point))
        for number, column in columns.items():
            rates[:, number] = column(rng)
        drawn[row] = _SHARES[method](rates, numbers, observed(rng), point)
    low, high = _ends(drawn, level, point)
    condition = condition_of(error_rates(labelled_votes, numbers))
    return Prevalence(method, point, low, high, condition, None, notes)


def _by_likelihood(
    unlabelled: Floats, base: Floats, draws: int, level: float, draw_weights: Callable[[], Floats]
) -> Prevalence:
    """The fixed point of Saerens et al. 2002: the likelihood is concave in the shares, and `gap` certifies its maximum."""
    likelihoods = _likelihoods(unlabelled, base)
    mixture = most_likely(likelihoods, start=base)
    drawn = np.empty((draws, len(base)))
    for row in range(draws):
        drawn[row] = most_likely(likelihoods, draw_weights(), start=mixture.weights, gap=1e-9).weights
    low, high = _ends(drawn, level, mixture.weights)
    return Prevalence("em", mixture.weights, low, high, None, mixture.gap)


def _base(base: npt.ArrayLike | None, targets: Integers, classes: int) -> Floats:
    """Return the given prevalence, or that of the labelled rows with one row of each class added, so that none is zero."""
    if base is not None:
        shares = np.asarray(base, np.float64)
        return np.asarray(shares / shares.sum())
    counts = counts_of(targets, classes).astype(np.float64)
    counts[counts == 0] = len(targets) / (len(targets) + classes)
    return np.asarray(counts / counts.sum())


def _votes(logits: Floats, soft: bool) -> Floats:
    """Return the votes of each row for each class, shape (n, classes): its probabilities, or 1 for its prediction."""
    return np.exp(log_softmax(logits)) if soft else np.eye(logits.shape[1])[logits.argmax(axis=1)]


def _drawn_units(groups: npt.NDArray[Any] | None, targets: Integers) -> tuple[npt.NDArray[Any] | None, bool]:
    """What is drawn together, shape (n,): groups, but the single rows of a class that has one group; whether there is one."""
    if groups is None:
        return None, False
    units, is_alone = np.unique(groups, return_inverse=True)[1], False
    for number in np.unique(targets):
        rows = np.flatnonzero(targets == number)
        if len(rows) > 1 and np.ptp(units[rows]) == 0:
            units[rows], is_alone = len(targets) + rows, True
    return units, is_alone


def _row_weights(n: int, groups: npt.NDArray[Any] | None) -> Callable[[np.random.Generator], Floats]:
    """Return a function that draws how often each row is in a bootstrap sample of rows, or of groups, shape (n,)."""
    units = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(units.max(initial=-1)) + 1
    return lambda rng: np.bincount(rng.integers(0, count, count), minlength=count)[units].astype(np.float64)


def _resampler(
    votes: Floats, soft: bool, groups: npt.NDArray[Any] | None = None
) -> Callable[[np.random.Generator], Floats]:
    """Return a function that draws the mean of a bootstrap sample; for hard predictions it only draws their counts."""
    n, chances = len(votes), votes.mean(axis=0)
    if groups is not None:
        weights_of = _row_weights(n, groups)

        def mean_of_groups(rng: np.random.Generator) -> Floats:
            weights = weights_of(rng)
            return np.asarray(weights @ votes / weights.sum())

        return mean_of_groups
    if soft:
        return lambda rng: np.asarray(np.bincount(rng.integers(0, n, n), minlength=n) @ votes / n)
    return lambda rng: rng.multinomial(n, chances / chances.sum()) / n


def _ends(drawn: Floats, level: float, point: Floats) -> tuple[Floats, Floats] | tuple[None, None]:
    """Return percentile intervals, extended to the estimate where draws of a clipped share all lie on one side of it."""
    if not len(drawn):
        return None, None
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.minimum(low, point), np.maximum(high, point)


def _count(rates: Floats, targets: Integers, observed: Floats) -> tuple[Floats, tuple[str, ...]]:
    return observed, ()


def _correct(rates: Floats, targets: Integers, observed: Floats) -> tuple[Floats, tuple[str, ...]]:
    return correct_counts(rates, observed)


def _weigh(rates: Floats, targets: Integers, observed: Floats) -> tuple[Floats, tuple[str, ...]]:
    return importance_shares(rates * (counts_of(targets, len(observed)) / len(targets)), observed)


def _counted(rates: Floats, targets: Integers, observed: Floats, point: Floats) -> Floats:
    return observed


def _corrected_of(rates: Floats, targets: Integers, observed: Floats, point: Floats) -> Floats:
    return _corrected(rates, observed, point)


def _weighed_of(rates: Floats, targets: Integers, observed: Floats, point: Floats) -> Floats:
    estimate = _weighed(rates * (counts_of(targets, len(observed)) / len(targets)), observed)
    return observed if estimate is None else estimate


# Each method's estimate of a draw, started from the estimate of all rows, without notes.
_SHARES: dict[str, Callable[[Floats, Integers, Floats, Floats], Floats]] = {
    "cc": _counted,
    "acc": _corrected_of,
    "pacc": _corrected_of,
    "bbse": _weighed_of,
    "bbse_soft": _weighed_of,
}
_ESTIMATORS: dict[str, Callable[[Floats, Integers, Floats], tuple[Floats, tuple[str, ...]]]] = {
    "cc": _count,
    "acc": _correct,
    "pacc": _correct,
    "bbse": _weigh,
    "bbse_soft": _weigh,
}
