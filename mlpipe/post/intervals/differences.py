"""Intervals of differences between two models where the bootstrap covers too seldom: few rows, rare classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlpipe.errors import counted
from mlpipe.post import kind as post_kind
from mlpipe.post.intervals import one_more_row, scaled
from mlpipe.post.intervals.exact import share_ends
from mlpipe.post.intervals.forms import Known, losses_of
from mlpipe.post.rows import Floats
from mlpipe.post.sums import AGREEMENT, UNBOUNDED

# From so many units of the rarest class on the bootstrap covers well enough, and from so many units for mean losses.
RARE = 50
_FEW_LOSSES = 100
_FEW_UNBOUNDED = 30


def few(name: str, known: Known) -> bool:
    """Whether the difference of a metric needs other ends than the bootstrap's.

    Args:
        name: The metric.
        known: The rows.
    """
    if name in UNBOUNDED:
        return known.count < _FEW_UNBOUNDED
    if name in ("nll", "brier") and known.count < _FEW_LOSSES:
        return True
    return name == "accuracy" or rarest(known) < RARE


def rarest(known: Known) -> int:
    """How many units have the rarest class, or the rarer answer of a label, or the rarest class of pixels.

    Args:
        known: The rows.
    """
    sides = post_kind.of(known.kind).sides(known.targets)
    return min((len(np.unique(known.units[side])) for side in sides if side.any()), default=0)


def ends(
    name: str, value: float, first: Known, second: Known, left_out: Floats
) -> tuple[tuple[float, float] | None, str]:
    """The ends of first minus second, or None and why there are none.

    Args:
        name: The metric.
        value: The difference.
        first: The rows with the one model's outputs.
        second: The same rows with the other's.
        left_out: The difference without each unit, shape (units,).
    """
    if name in UNBOUNDED:
        if first.count < scaled.LEAST_UNITS:
            there = counted(first.count, "row or group is", "rows or groups are")
            return None, f"{there} too few, {scaled.LEAST_UNITS} are needed"
        return scaled.ends(value, left_out, scaled.PLAIN, first.level), "the rows do not tell how much it varies"
    options = {"level": first.level, "resamples": first.resamples, "seed": first.seed}
    if name == "accuracy" and first.targets.ndim == 1:
        right = [(one.logits.argmax(axis=1) == one.targets).astype(np.float64) for one in (first, second)]
        each, once = right[0] - right[1], np.ones(len(right[0]))
        found = one_more_row.mean_ends(each, once, once, first.units, first.count, best=-once, **options)  # type: ignore[arg-type]
        return found, ""
    if name in ("nll", "brier"):
        (own, every, total), (other, others, _) = losses_of(name, first), losses_of(name, second)
        # In the row more, one model may be wrong where the other is right, whatever they did in the rows there are.
        worst, best = (every.max(axis=-1) - others.min(axis=-1), every.min(axis=-1) - others.max(axis=-1))
        if worst.ndim == 2:
            worst, best = worst.sum(axis=1), best.sum(axis=1)
        found = one_more_row.mean_ends(own - other, worst, total, first.units, first.count, best=best, **options)  # type: ignore[arg-type]
        return found, ""
    left_out = (
        np.where(np.isnan(left_out), np.nanmean(left_out), left_out) if not np.isnan(left_out).all() else left_out
    )
    deviations = left_out - left_out.mean()
    variance = float((deviations**2).sum()) * (len(left_out) - 1) / len(left_out)
    return bounded(value, variance, rarest(first), first.level, 2.0 if name in AGREEMENT else 1.0), ""


def bounded(value: float, variance: float, rare: int, level: float, most: float = 1.0) -> tuple[float, float]:
    """The ends of a difference that lies between -most and most and rests on few rows of a class.

    As in `parts`, it counts as the share of as many rows as have its variance, the largest possible one added once.

    Args:
        value: The difference.
        variance: Its estimated variance.
        rare: How many units have the rarest class.
        level: Of the interval.
        most: The largest difference that there can be.
    """
    share = (value / most + 1) / 2
    room = max(share * (1 - share), 1e-12)
    rows = 1 / (min(variance / (4 * most**2) / room, 1e6) + 1 / max(rare, 1) ** 2)
    low, high = share_ends(share, rows, level)
    return most * (2 * low - 1), most * (2 * high - 1)


def same(first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]) -> bool:
    """Whether two models gave the same outputs: then their difference is exactly none."""
    return bool(np.array_equal(first, second, equal_nan=True))
