"""Intervals around metrics that hold with few rows, and the bootstrap.

Rows of one group (a patient, a scene) resemble each other: they count together, and the bootstrap draws whole groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from mlpipe.errors import DataError, problem
from mlpipe.post.intervals.by_metric import ends_of
from mlpipe.post.intervals.exact import is_exact, share_ends, wilson_ends
from mlpipe.post.intervals.forms import Known
from mlpipe.post.metrics import compute, labelled, statistic
from mlpipe.post.rows import Floats, Integers
from mlpipe.post.sums import leave_out

Method = Literal["bca", "percentile"]

# Entries of one block of draws, to bound memory.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A value, the ends around it, their level, and the method with what has to be said about it."""

    value: float
    low: float
    high: float
    level: float
    method: str
    note: str = ""

    def as_plain(self) -> dict[str, Any]:
        """The same as a dict, ready for JSON."""
        return asdict(self)


def wilson(hits: int, n: int, *, level: float = 0.95) -> Interval:
    """The score interval of a share (Wilson 1927), sound also for few rows and for shares near 0 or 1.

    Args:
        hits: How many rows count.
        n: Of how many, one or more.
        level: Of the interval.

    Raises:
        DataError: There are no rows.
    """
    if n < 1:
        raise DataError(problem("interval", "a share needs a row", got=n, fix="use a split with labels"))
    return Interval(hits / n, *wilson_ends(hits, n, level), level, "wilson")


def share(hits: int, n: int, *, level: float = 0.95) -> Interval:
    """The interval of a share of independent rows: exact with few on one side, Wilson's elsewhere.

    Args:
        hits: How many rows count.
        n: Of how many, one or more.
        level: Of the interval.
    """
    method = "clopper-pearson" if is_exact(hits / n, n) else "wilson"
    return Interval(hits / n, *share_ends(hits / n, n, level), level, method)


def metric_intervals(
    names: Iterable[str],
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    kind: str,
    groups: npt.ArrayLike | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Each metric with the interval that suits it, see `mlpipe.post.intervals.by_metric`; empty when no row has a target.

    Where rows do not tell how far off a value may be, its ends are NaN and the note says why.

    Args:
        names: Metrics out of the kind's table.
        logits: Shape (n, outputs).
        targets: As for `mlpipe.post.metrics.compute`.
        kind: The kind of the task.
        groups: What rows belong together, shape (n,); None: every row by itself.
        resamples: Bootstrap draws.
        level: Of the intervals.
        seed: Of the draws.
    """
    values, truth, members = labelled_rows(logits, targets, groups)
    if not len(truth):
        return {}
    units, count = units_of(members, len(truth))
    known = Known(values, truth, kind, units, count, level, resamples, seed)
    found = compute(dict.fromkeys(names), values, truth, kind)
    return {name: _around(name, value, known) for name, value in found.items()}


def _around(name: str, value: float, known: Known) -> Interval:
    ends = ends_of(name, value, known)
    return Interval(value, ends.low, ends.high, known.level, ends.method, ends.note)


def area_interval(
    logits: Floats,
    targets: npt.NDArray[np.generic],
    *,
    kind: str,
    groups: npt.NDArray[np.generic] | None = None,
    level: float = 0.95,
) -> Interval:
    """The (mean) area under the ROC curve with its interval by DeLong's components.

    What the areas of several classes or labels share is counted. With groups, components are summed within each.

    Args:
        logits: Shape (n, outputs).
        targets: As for `mlpipe.post.metrics.compute`, every row with some target.
        kind: `classification` or `multilabel`.
        groups: The group of each row, shape (n,); None: every row by itself.
        level: Of the interval.
    """
    units, count = units_of(groups, len(targets))
    known = Known(np.asarray(logits, np.float64), targets, kind, units, count, level, 0, 0)
    return _around("auroc", compute(["auroc"], logits, targets, kind)["auroc"], known)


def spread_of(components: Floats, groups: npt.NDArray[np.generic] | None) -> float:
    """The standard error of a sum of components, those of one group taken together.

    Args:
        components: Of mean zero, shape (n,).
        groups: The group of each row, shape (n,); None: every row by itself.
    """
    if groups is not None:
        _, units = np.unique(groups, return_inverse=True)
        components = np.asarray(np.bincount(units, weights=components), np.float64)
    return float(np.sqrt((components**2).sum()))


def bootstrap_intervals(
    names: Iterable[str],
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    kind: str,
    groups: npt.ArrayLike | None = None,
    resamples: int = 2000,
    method: Method = "bca",
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """The bootstrap interval of each metric, from the same draws for all; empty when no row has a target.

    Efron 1987 for BCa.

    Args:
        names: Metrics out of the kind's table.
        logits: Shape (n, outputs).
        targets: As for `mlpipe.post.metrics.compute`.
        kind: The kind of the task.
        groups: What rows belong together, shape (n,): whole groups are drawn; None: rows are.
        resamples: How many draws.
        method: `bca` (corrected for bias and skewness) or `percentile`.
        level: Of the intervals.
        seed: Of the draws.
    """
    values, truth, members = labelled_rows(logits, targets, groups)
    if not len(truth):
        return {}
    units, count = units_of(members, len(truth))
    wanted = list(dict.fromkeys(names))
    # A draw is a vector of weights, how often each unit counts: for metrics of sums a block of draws is one matrix
    # product. All metrics get the same draws, so that their intervals go together.
    statistics = {name: statistic(name, values, truth, kind) for name in wanted}
    drawn: dict[str, list[Floats]] = {name: [] for name in wanted}
    notes = set()
    for weights, lost in draws(units, count, truth, resamples, seed):
        notes |= {"a rare class is missing in some draws"} if lost else set()
        for name, one in statistics.items():
            drawn[name].append(one.of_weights(weights, units))
    found = {}
    for name, value in compute(wanted, values, truth, kind).items():
        left_out = leave_out(statistics[name], units, count, seed) if method == "bca" else None
        low, high, how = ends(np.concatenate(drawn[name]), value, left_out, level)
        found[name] = Interval(value, low, high, level, f"bootstrap, {how}", "; ".join(sorted(notes)))
    return found


def ends(drawn: Floats, value: float, left_out: Floats | None, level: float) -> tuple[float, float, str]:
    """The ends of the percentile interval, or of the BCa interval where leave-one-out values are given.

    Args:
        drawn: The metric of each draw, shape (draws,); NaN where it is not defined.
        value: The metric of all rows.
        left_out: The metric without each unit, shape (units,); None: percentile.
        level: Of the interval.

    Returns:
        The low end, the high end, and which of the two it is: `percentile` also where BCa is not defined because every
        draw lies on one side of the value.
    """
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return float("nan"), float("nan"), "no draw is defined"
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    how = "percentile"
    if left_out is not None:
        # Efron's two corrections. The shift is where the value lies among the draws, ties counted half: it is infinite
        # where all lie on one side, and then the plain percentiles are what can be said.
        shift = float(ndtri(((drawn < value).mean() + (drawn <= value).mean()) / 2))
        off = np.nanmean(left_out) - left_out[~np.isnan(left_out)]
        square = float((off**2).sum())
        if np.isfinite(shift):
            # The acceleration, from what the metric is without each unit: how its spread changes with its value.
            skew = float((off**3).sum()) / (6 * square**1.5) if square > 0 else 0.0
            moved = shift + ndtri(tails)
            tails, how = ndtr(shift + moved / (1 - skew * moved)), "bca"
    low, high = np.quantile(drawn, tails)
    return float(low), float(high), how


def draws(
    units: Integers, count: int, targets: npt.NDArray[np.generic], resamples: int, seed: int
) -> Iterator[tuple[Floats, bool]]:
    """Blocks of bootstrap weights (draws, units), and whether a class is missing in some of them.

    Drawing again where one is missing would hide how much rests on its few rows.

    Args:
        units: The unit of each row, shape (n,).
        count: How many units there are.
        targets: Class numbers (n,), which may be missing; anything of another shape is not looked at.
        resamples: How many draws in all.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    classes = np.zeros((count, 0))
    if targets.ndim == 1:
        present, place = np.unique(targets, return_inverse=True)
        classes = np.zeros((count, len(present)))
        np.add.at(classes, (units, place), 1.0)
    block = max(1, _BLOCK // max(count, len(units)))
    for start in range(0, resamples, block):
        weights = _drawn(rng, min(block, resamples - start), count)
        yield weights, bool((weights @ classes == 0).any())


def _drawn(rng: np.random.Generator, many: int, count: int) -> Floats:
    """How often each unit is drawn, shape (many, count)."""
    picks = rng.integers(0, count, (many, count), dtype=np.int64)
    # Each draw counts in a range of its own, so that one bincount does the work of `many`.
    picks += np.arange(many)[:, None] * count
    return np.bincount(picks.ravel(), minlength=many * count).reshape(many, count).astype(np.float64)


def units_of(groups: npt.NDArray[np.generic] | None, n: int) -> tuple[Integers, int]:
    """The unit of each row, shape (n,), and how many there are.

    Args:
        groups: The group of each row, shape (n,); None: every row by itself.
        n: How many rows.
    """
    if groups is None:
        return np.arange(n), n
    names, units = np.unique(groups, return_inverse=True)
    return units, len(names)


def labelled_rows(
    logits: npt.ArrayLike, targets: npt.ArrayLike, groups: npt.ArrayLike | None
) -> tuple[Floats, npt.NDArray[np.generic], npt.NDArray[np.generic] | None]:
    """Logits, targets and groups of the rows with some target.

    Args:
        logits: Shape (n, outputs).
        targets: As for `mlpipe.post.metrics.compute`.
        groups: The group of each row, shape (n,), or None.

    Raises:
        DataError: The lengths differ.
    """
    values, truth = np.asarray(logits, np.float64), np.asarray(targets)
    there = labelled(truth)
    members = None if groups is None else np.asarray(groups)
    for what, one in (("target", truth), ("group", members)):
        if one is not None and len(one) != len(values):
            wrong = f"{len(values)} rows need as many {what}s"
            raise DataError(problem("predictions", wrong, got=len(one), fix=f"give one {what} for each row"))
    return values[there], truth[there], None if members is None else members[there]
