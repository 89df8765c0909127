"""Prediction sets of classes and prediction intervals of numbers with guaranteed coverage, whatever the model.

Split-conformal prediction: the guarantee holds for rows exchangeable with the calibration rows, which must not have been
used to fit the model, its calibration or ensemble weights. Scores: `lac` (Sadinle, Lei and Wasserman 2019), `aps`
(Romano, Sesia and Candes 2020), `raps` (Angelopoulos et al. 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, DataError, did_you_mean, listing, problem
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.rows import Floats, Integers, counts_of, finite, labelled, shares

Score = Literal["lac", "aps", "raps"]
Sets = npt.NDArray[np.bool_]

# The beginning of the guarantee of class-conditional sets.
_OF_EACH_CLASS = "each class is in its rows' sets"
# Guards against rounding: (n + 1) * (1 - alpha) is often a whole number when its rounded product is not.
_ROUNDING = 1e-9
# Log-probabilities below this are treated as equal when the noise is drawn.
_FARTHEST = 1e12
# The increment and the multipliers of SplitMix64.
_GOLDEN, _FIRST, _SECOND = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)


@dataclass(frozen=True)
class ConformalSets:
    """Cut-offs learned from calibration rows: a class is in the set if its score is at most `cuts[class]`.

    An infinite cut-off means that there are too few rows to leave the class out at all.
    """

    score: str
    alpha: float
    cuts: tuple[float, ...]
    penalty: float
    free_rank: int
    guarantee: str
    rows: int

    def sets(self, logits: npt.ArrayLike, *, noise: npt.ArrayLike | None = None) -> Sets:
        """Return which classes are in each row's set, shape (n, classes).

        Args:
            logits: Shape (n, classes).
            noise: For `aps` and `raps`, uniform numbers of the rows, shape (n,); None: derived from the rows themselves.
        """
        values = finite(logits)
        return np.asarray(_scores(values, self.score, noise, self) <= np.array(self.cuts))

    @property
    def by_class(self) -> bool:
        """Whether the guarantee holds for each class separately; it then holds at any prevalence."""
        return self.guarantee.startswith(_OF_EACH_CLASS)

    def as_plain(self) -> dict[str, Any]:
        """Return the cut-offs as numbers, lists and dicts, ready for JSON; an infinite cut-off is None."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**plain, "cuts": [cut if np.isfinite(cut) else None for cut in self.cuts]}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> ConformalSets:
        """Restore exactly the cut-offs that `as_plain` wrote; other keys are ignored.

        Args:
            plain: What `as_plain` returned, possibly after a JSON round trip.
        """
        fields = {name: plain[name] for name in cls.__dataclass_fields__}
        return cls(**{**fields, "cuts": tuple(float("inf") if cut is None else cut for cut in plain["cuts"])})


@dataclass(frozen=True)
class _Shape:
    penalty: float
    free_rank: int


def conformal(
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    alpha: float = 0.1,
    score: str = "lac",
    class_conditional: bool = False,
    prior: npt.ArrayLike | None = None,
    penalty: float = 0.01,
    free_rank: int = 5,
    noise: npt.ArrayLike | None = None,
) -> ConformalSets:
    """Learn cut-offs such that sets contain the true class with probability at least 1 - alpha.

    Args:
        logits: Calibration rows, shape (n, classes).
        targets: Class numbers, shape (n,); -1 for none.
        alpha: The probability of a miss, inside (0, 1).
        score: `lac` (the smallest sets on average), `aps` (fair to hard rows), `raps` (`aps` without long tails).
        class_conditional: Whether the guarantee holds for each class separately.
        prior: The prevalence where the sets are used, if it differs, shape (classes,): calibration rows are weighted
            to it (Podkopaev and Ramdas 2021).
        penalty: For `raps`, what each rank above `free_rank` adds to the score.
        free_rank: For `raps`, the number of ranks without a penalty.
        noise: For `aps` and `raps`, uniform numbers of the labelled rows; None: derived from the rows themselves.

    Raises:
        ConfigError: The score is unknown, alpha is out of range, or both a prior and class-conditional sets are requested.
        DataError: No row has a target, or a class of the prior has none.
    """
    _check(score, alpha, class_conditional, prior)
    values, numbers = labelled(logits, targets)
    n, classes = values.shape
    shape = _Shape(penalty if score == "raps" else 0.0, free_rank)
    all_scores = _scores(values, score, noise, shape)
    own = all_scores[np.arange(n), numbers]
    counts = counts_of(numbers, classes)
    if class_conditional:
        cuts = [upper_quantile(own[numbers == number], alpha) for number in range(classes)]
        guarantee = f"{_OF_EACH_CLASS} with a chance of at least {1 - alpha:.4g}"
    elif prior is not None:
        cuts = _weighted_cuts(own, numbers, _ratios(prior, counts), alpha)
        guarantee = f"the true class is in the set with a chance of at least {1 - alpha:.4g} at the given prior"
    else:
        cuts = [upper_quantile(own, alpha)] * classes
        guarantee = f"the true class is in the set with a chance of at least {1 - alpha:.4g}"
    return ConformalSets(score, alpha, tuple(cuts), shape.penalty, free_rank, guarantee, n)


def upper_quantile(scores: Floats, alpha: float) -> float:
    """Return the k-th smallest score, k = ceil((n + 1)(1 - alpha)), not interpolated; infinite when k is above n.

    Args:
        scores: Shape (n,).
        alpha: The probability of a miss.
    """
    k = max(1, ceil((len(scores) + 1) * (1 - alpha) - _ROUNDING))
    return float(np.partition(scores, k - 1)[k - 1]) if k <= len(scores) else float("inf")


def residual_halfwidths(predicted: npt.ArrayLike, targets: npt.ArrayLike, *, alpha: float = 0.1) -> Floats:
    """Return the half-width of an interval around each predicted number that covers the truth, shape (outputs,).

    The split-conformal quantile of absolute residuals (Lei et al. 2018): predicted - half to predicted + half covers a
    new row with probability at least 1 - alpha. Infinite with too few rows.

    Args:
        predicted: Shape (n, outputs).
        targets: NaN where unknown, shape (n, outputs).
        alpha: The probability of a miss, inside (0, 1).

    Raises:
        ConfigError: alpha is out of range.
        DataError: The shapes differ, or predictions are not finite.
    """
    _check("lac", alpha, False, None)
    values, truth = finite(predicted), np.asarray(targets, np.float64)
    if values.shape != truth.shape:
        fix = "give one target for each prediction, NaN for unknown"
        raise DataError(problem("predictions", f"targets of the shape {values.shape}", got=truth.shape, fix=fix))
    residuals = np.abs(values - truth)
    return np.array([upper_quantile(column[~np.isnan(column)], alpha) for column in residuals.T])


def _scores(logits: Floats, score: str, noise: npt.ArrayLike | None, shape: _Shape | ConformalSets) -> Floats:
    probabilities = log_softmax(logits)
    np.exp(probabilities, out=probabilities)
    if score == "lac":
        return np.subtract(1, probabilities, out=probabilities)
    chances = _noise(noise, logits)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    falling = np.take_along_axis(probabilities, order, axis=1)
    ranks = np.arange(1, logits.shape[1] + 1)
    summed = falling.cumsum(axis=1) - chances[:, None] * falling
    summed += shape.penalty * np.maximum(ranks - shape.free_rank, 0)
    out = np.empty_like(summed)
    np.put_along_axis(out, order, summed, axis=1)
    return out


def _weighted_cuts(own: Floats, numbers: Integers, ratios: Floats, alpha: float) -> list[float]:
    """Return for each possible class of a new row the weighted quantile, with that row's own weight at infinity."""
    order = np.argsort(own, kind="stable")
    mass = ratios[numbers[order]].cumsum()
    levels = (1 - alpha) * (mass[-1] + ratios) * (1 - _ROUNDING)
    places = np.searchsorted(mass, levels, side="left")
    return [float(own[order[place]]) if place < len(own) else float("inf") for place in places]


def _ratios(prior: npt.ArrayLike, counts: Integers) -> Floats:
    target_shares = shares(prior, len(counts))
    if (counts == 0).any():
        missing = np.flatnonzero(counts == 0)
        wrong = f"class numbers {listing(missing)} have no calibration row to be weighted"
        raise DataError(problem("prior", wrong, fix="add rows, or leave the prior out"))
    return np.asarray(target_shares / (counts / counts.sum()))


def _noise(noise: npt.ArrayLike | None, logits: Floats) -> Floats:
    """Return a uniform number for each row, shape (n,).

    The number is derived from the row's logits, so that its set does not depend on other rows. Drawn by place, samples
    predicted one by one would all get the same number, and the guarantee would fail. Drawn from a seed, identical rows would
    get one number where cut-offs are learned and another where they are used.
    """
    if noise is not None:
        return np.asarray(noise, np.float64)
    # Rounded to hundredths, because those seldom change with rounding errors of machines and batch sizes.
    columns = np.rint(100 * np.maximum(log_softmax(logits), -_FARTHEST)).astype(np.int64).T.astype(np.uint64)
    state = np.zeros(len(logits), np.uint64)
    # The steps of SplitMix64 (Steele, Lea and Flood 2014), one class after the other.
    for column in (*columns, np.zeros(len(logits), np.uint64)):
        state = (state ^ column) + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * _FIRST
        state = (state ^ (state >> np.uint64(27))) * _SECOND
        state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _check(score: str, alpha: float, class_conditional: bool, prior: npt.ArrayLike | None) -> None:
    problems = []
    if score not in get_args(Score):
        fix = did_you_mean(score, get_args(Score), otherwise=f"scores: {listing(get_args(Score))}")
        problems.append(problem("mode.conformal.score", "unknown score", got=score, fix=fix))
    if not 0 < alpha < 1:
        problems.append(problem("mode.conformal.alpha", "must be inside 0 and 1", got=alpha, fix="change it"))
    if class_conditional and prior is not None:
        fix = "leave the prior out: sets for each class by itself do not depend on it"
        problems.append(problem("mode.conformal", "a prior and classes by themselves do not go together", fix=fix))
    if problems:
        raise ConfigError(problems)
