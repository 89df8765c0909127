"""The interval that suits each metric, from predictions and the metric's name; it holds with few rows, or a note says why not.

Rows of one group (a patient, a scene) resemble each other, so they count together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.errors import DataError, problem
from mlpipe.post import kind as post_kind
from mlpipe.post.intervals.exact import is_exact, ratio, share_ends, wilson_ends
from mlpipe.post.intervals.forms import METHODS, Ends, Known, no_interval
from mlpipe.post.metrics import compute, labelled, statistic
from mlpipe.post.rows import Floats, Integers


@dataclass(frozen=True)
class Interval:
    """A value, the ends of its interval, their level, the method, and a note."""

    value: float
    low: float
    high: float
    level: float
    method: str
    note: str = ""

    def as_plain(self) -> dict[str, Any]:
        """Return the interval as a dict, ready for JSON."""
        return asdict(self)


def wilson(hits: int, n: int, *, level: float = 0.95) -> Interval:
    """Return the score interval of a share (Wilson 1927), sound also for few rows and for shares near 0 or 1.

    Args:
        hits: How many rows count.
        n: The number of rows, one or more.
        level: The confidence level.

    Raises:
        DataError: There are no rows.
    """
    if n < 1:
        raise DataError(problem("interval", "a share needs a row", got=n, fix="use a split with labels"))
    return Interval(hits / n, *wilson_ends(hits, n, level), level, "wilson")


def share(hits: int, n: int, *, level: float = 0.95) -> Interval:
    """Return the interval of a share of independent rows: exact with few rows on one side, Wilson's elsewhere.

    Args:
        hits: How many rows count.
        n: The number of rows, one or more.
        level: The confidence level.
    """
    method = "clopper-pearson" if is_exact(hits / n, n) else "wilson"
    return Interval(hits / n, *share_ends(hits / n, n, level), level, method)


def share_of_groups(hits: npt.ArrayLike, groups: npt.NDArray[np.generic], *, level: float = 0.95) -> Interval:
    """Return the interval of a share of rows that come in groups of similar rows.

    Args:
        hits: 1 where a row counts, shape (n,), n of 1 or more.
        groups: The group of each row, shape (n,).
        level: The confidence level.
    """
    values = np.asarray(hits, np.float64)
    part = ratio(values, np.ones_like(values), *units_of(groups, len(values)))
    assert part is not None
    method = "clopper-pearson" if is_exact(part.value, part.rows) else "wilson"
    return Interval(part.value, *share_ends(part.value, part.rows, level), level, method)


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
    """Return each metric with the interval that suits it; empty when no row has a target.

    If the rows do not allow an interval, its ends are NaN and the note says why.

    Args:
        names: Metrics of the kind's table.
        logits: Shape (n, outputs).
        targets: As for `mlpipe.post.metrics.compute`.
        kind: The kind of the task.
        groups: The group of each row, shape (n,); None: every row by itself.
        resamples: The number of bootstrap draws.
        level: The confidence level of the intervals.
        seed: Seed of the draws.
    """
    values, truth, members = labelled_rows(logits, targets, groups)
    if not len(truth):
        return {}
    units, count = units_of(members, len(truth))
    known = Known(values, truth, kind, units, count, level, resamples, seed)
    intervals = {}
    for name, value in compute(dict.fromkeys(names), values, truth, kind).items():
        ends = _ends(name, value, known)
        intervals[name] = Interval(value, ends.low, ends.high, level, ends.method, ends.note)
    return intervals


def _ends(name: str, value: float, known: Known) -> Ends:
    """Return the ends of a metric's interval by the method of its kind."""
    measure = statistic(name, known.logits, known.targets, known.kind)
    if np.isnan(value):
        reason = "no class has rows on both sides" if name == "auroc" else "these rows do not determine it"
        return no_interval(METHODS.get(name, "none"), reason)
    return post_kind.of(known.kind).ends(name, value, measure, known)


def units_of(groups: npt.NDArray[np.generic] | None, n: int) -> tuple[Integers, int]:
    """Return the unit of each row, shape (n,), and the number of units.

    Args:
        groups: The group of each row, shape (n,); None: every row by itself.
        n: The number of rows.
    """
    if groups is None:
        return np.arange(n), n
    names, units = np.unique(groups, return_inverse=True)
    return units, len(names)


def labelled_rows(
    logits: npt.ArrayLike, targets: npt.ArrayLike, groups: npt.ArrayLike | None
) -> tuple[Floats, npt.NDArray[np.generic], npt.NDArray[np.generic] | None]:
    """Return logits, targets and groups of the rows with some target.

    Args:
        logits: Shape (n, outputs).
        targets: As for `mlpipe.post.metrics.compute`.
        groups: The group of each row, shape (n,), or None.

    Raises:
        DataError: The lengths differ.
    """
    values, truth = np.asarray(logits, np.float64), np.asarray(targets)
    mask = labelled(truth)
    members = None if groups is None else np.asarray(groups)
    for noun, array in (("target", truth), ("group", members)):
        if array is not None and len(array) != len(values):
            wrong = f"{len(values)} rows need as many {noun}s"
            raise DataError(problem("predictions", wrong, got=len(array), fix=f"give one {noun} for each row"))
    if mask.all():
        return values, truth, members
    return values[mask], truth[mask], None if members is None else members[mask]
