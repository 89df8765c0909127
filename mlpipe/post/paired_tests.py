"""Paired tests of two models: a difference, an interval or p-value, and a sentence for the reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.errors import DataError, counted, problem
from mlpipe.post.figures import interval, number
from mlpipe.post.intervals import differences, over_folds
from mlpipe.post.intervals.by_metric import labelled_rows, units_of
from mlpipe.post.intervals.forms import Known
from mlpipe.post.metrics import compute, direction, statistic
from mlpipe.post.sums import Statistic, leave_out

# The names of the two models in sentences if none are given.
UNNAMED = ("the first", "the second")


@dataclass(frozen=True)
class Comparison:
    """First minus second: the difference, the ends of its interval, the p-value if the test has one, and a sentence."""

    test: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    sentence: str

    def as_plain(self) -> dict[str, Any]:
        """Return the comparison as a dict, ready for JSON."""
        return asdict(self)


def paired_bootstrap(
    name: str,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    kind: str,
    groups: npt.ArrayLike | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    names: tuple[str, str] = UNNAMED,
) -> Comparison:
    """Return the difference of a metric between two models of the same rows, with its BCa interval.

    With few rows or a rare class, where the bootstrap covers too seldom, its ends are those of
    `mlpipe.post.intervals.differences`. Both models see the same draws, so what makes a draw easy for both cancels out.

    Args:
        name: A metric of the kind's table.
        first: Logits of the first model, shape (n, outputs).
        second: Logits of the second model, shape (n, outputs).
        targets: As for `mlpipe.post.metrics.compute`.
        kind: The kind of the task.
        groups: The group of each row, shape (n,); None: every row by itself.
        resamples: The number of draws.
        level: The confidence level.
        seed: Seed of the draws.
        names: The names of the two in the sentence.

    Raises:
        DataError: The shapes differ, or no row has a target.
    """
    first_logits, other, truth, members = _pair(first, second, targets, groups)
    units, count = units_of(members, len(truth))
    pair = [statistic(name, logits, truth, kind) for logits in (first_logits, other)]
    options: dict[str, Any] = {"kind": kind, "units": units, "count": count}
    options |= {"level": level, "resamples": resamples, "seed": seed}
    both = [Known(np.asarray(logits, np.float64), truth, **options) for logits in (first_logits, other)]
    value = compute([name], first_logits, truth, kind)[name] - compute([name], other, truth, kind)[name]
    left_out = leave_out(pair[0], units, count, seed) - leave_out(pair[1], units, count, seed)
    # If no row makes a difference, the bootstrap would be certain that none ever does.
    if (differences.has_few_rows(name, both[0]) or not np.ptp(left_out) > 0) and not differences.same(
        first_logits, other
    ):
        ends, reason = differences.ends(name, value, both[0], both[1], left_out)
        if ends is None:
            sentence = f"{_undecided(name, names)} is {number(value, len(truth))} ({reason})."
            return Comparison("paired, few rows", value, None, None, None, sentence)
        sentence = _sentence(name, names, value, *ends, level, len(truth))
        return Comparison("paired, few rows", value, *ends, None, sentence)
    drawn = [_difference(pair, weights, units) for weights in differences.draws(units, count, resamples, seed)]
    low, high = differences.bootstrap_ends(np.concatenate(drawn), value, left_out, level)
    sentence = _sentence(name, names, value, low, high, level, len(truth))
    return Comparison("paired bootstrap", value, low, high, None, sentence)


def mcnemar(first_right: npt.ArrayLike, second_right: npt.ArrayLike, *, names: tuple[str, str] = UNNAMED) -> Comparison:
    """McNemar's exact test of two models on one fixed test set: only rows where exactly one is right count.

    p = min(1, 2 P[Bin(b + c, 1/2) <= min(b, c)]), and 1 when there are no such rows. McNemar 1947.

    Args:
        first_right: Whether the first model is right, shape (n,).
        second_right: Whether the second model is right, shape (n,).
        names: The names of the two in the sentence.

    Raises:
        DataError: The lengths differ, or there are no rows.
    """
    first_hits, other = np.asarray(first_right, bool), np.asarray(second_right, bool)
    if first_hits.shape != other.shape or not first_hits.size:
        raise DataError(
            problem("comparison", "the same rows are needed", got=[first_hits.shape, other.shape], fix="align them")
        )
    from scipy.special import bdtr

    b, c = int((first_hits & ~other).sum()), int((~first_hits & other).sum())
    p = min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5))) if b + c else 1.0
    value = float(first_hits.mean() - other.mean())
    clause = f"Only {names[0]} is right on {counted(b, 'row')}, only {names[1]} on {c}"
    often = f"equally good models differ as much or more in {_in_percent(p)} of such comparisons"
    sentence = f"{clause}: {often} (McNemar's test, p = {p:.2g})." if b + c else "Both are right on the same rows."
    return Comparison("McNemar, exact", value, None, None, p, sentence)


def corrected_t(
    first: Sequence[float] | npt.ArrayLike,
    second: Sequence[float] | npt.ArrayLike,
    *,
    n_train: float,
    n_test: float,
    name: str = "the metric",
    level: float = 0.95,
    names: tuple[str, str] = UNNAMED,
) -> Comparison:
    """The corrected resampled t-test of two models' scores over the folds of one cross-validation.

    The variance of the mean is s^2 (1 / k + n_test / n_train), because the folds' training sets overlap. Nadeau and
    Bengio 2003. If every fold has the same difference, its variance cannot be estimated: there are no ends then, and no
    p-value, except 1 if the difference is 0.

    Args:
        first: The first model's score of each fold, shape (k,), two or more.
        second: The second model's, shape (k,).
        n_train: The number of images that a fold's model was fitted on.
        n_test: The number of images that it was tested on.
        name: The metric of the scores, which determines whether less is better.
        level: The confidence level.
        names: The names of the two in the sentence.

    Raises:
        DataError: The lengths differ, there are fewer than two folds, or a score is not finite.
    """
    from scipy.special import stdtr, stdtrit

    first_scores, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if (
        first_scores.shape != other.shape
        or first_scores.ndim != 1
        or len(first_scores) < 2
        or not np.isfinite(first_scores - other).all()
    ):
        got = [first_scores.tolist(), other.tolist()]
        fix = "compare models of the same folds"
        raise DataError(
            problem("comparison", "finite scores of the same two or more folds are needed", got=got, fix=fix)
        )
    off = first_scores - other
    k, value = len(off), float(off.mean())
    if not over_folds.is_spread(off, first_scores, other):
        # Scores of few images come in steps, so a few folds often have the same difference: no spread does not mean certainty.
        difference = number(value, round(n_test * k))
        sentence = f"{_undecided(name, names, counted(k, 'fold'))} is {difference} in each of them."
        return Comparison("corrected resampled t", value, None, None, None if value else 1.0, sentence)
    spread = over_folds.standard_error(off, n_train=n_train, n_test=n_test)
    half = float(stdtrit(k - 1, (1 + level) / 2)) * spread
    p = 2 * float(stdtr(k - 1, -abs(value) / spread))
    sentence = _sentence(name, names, value, value - half, value + half, level, round(n_test * k), p, folds=k)
    return Comparison("corrected resampled t", value, value - half, value + half, p, sentence)


def _pair(
    first: npt.ArrayLike, second: npt.ArrayLike, targets: npt.ArrayLike, groups: npt.ArrayLike | None
) -> tuple[Any, Any, Any, Any]:
    if np.shape(first) != np.shape(second):
        got = [np.shape(first), np.shape(second)]
        fix = "compare predictions of the same rows"
        raise DataError(problem("comparison", "predictions of one shape are needed", got=got, fix=fix))
    first_logits, truth, members = labelled_rows(first, targets, groups)
    other, _, _ = labelled_rows(second, targets, groups)
    if not len(truth):
        raise DataError(problem("comparison", "no row has a target", fix="use a split with labels"))
    return first_logits, other, truth, members


def _difference(pair: list[Statistic], weights: Any, units: Any) -> Any:
    return pair[0].of_weights(weights, units) - pair[1].of_weights(weights, units)


def agreeing_comparison(
    comparison: Comparison, test: Comparison, name: str, level: float, rows: int, names: tuple[str, str] = UNNAMED
) -> Comparison:
    """Return a comparison whose sentence agrees with a test of the same difference: no winner unless the test finds one too.

    Args:
        comparison: The difference with its interval.
        test: The test, with its p-value.
        name: The metric.
        level: The confidence level.
        rows: The number of rows of both.
        names: The names of the two in the sentence.
    """
    if comparison.low is None or comparison.high is None or test.p is None or test.p < 1 - level:
        return comparison
    ends_text = _ends_text(comparison.low, comparison.high, level, rows)
    difference = number(comparison.difference, rows)
    return replace(comparison, sentence=f"{_undecided(name, names)} is {difference} ({ends_text}).")


def _in_percent(p: float) -> str:
    return f"{100 * p:.0f} %" if p >= 0.01 else "less than 1 %"


def _sentence(
    name: str,
    names: tuple[str, str],
    value: float,
    low: float,
    high: float,
    level: float,
    rows: int,
    p: float | None = None,
    folds: int | None = None,
) -> str:
    """Say which model is better by how much, or that the rows, or the folds, do not tell."""
    tail = "" if p is None else f", p = {p:.2g}"
    units = "" if folds is None else counted(folds, "fold")
    if not (low > 0 or high < 0):
        ends_text = _ends_text(low, high, level, rows)
        return f"{_undecided(name, names, units or 'rows')} is {number(value, rows)} ({ends_text}{tail})."
    better, other = names if (value > 0) == (direction(name) == "max") else names[::-1]
    least, most = sorted((abs(low), abs(high)))
    ends_text = _ends_text(least, most, level, rows)
    over = f"{name} over {units}" if units else name
    return f"{_capital(better)} is better than {other} by {number(abs(value), rows)} in {over} ({ends_text}{tail})."


def _undecided(name: str, names: tuple[str, str], units: str = "rows") -> str:
    """Begin a sentence that continues with `is` and the difference."""
    return f"The {units} do not tell {names[0]} and {names[1]} apart by {name}: {names[0]} minus {names[1]}"


def _ends_text(low: float, high: float, level: float, rows: int) -> str:
    return f"{100 * level:.0f} % interval {interval(low, high, rows)}"


def _capital(name: str) -> str:
    """Capitalise a name at the beginning of a sentence; identifiers stay as they are."""
    return f"T{name[1:]}" if name.startswith("the ") else name
