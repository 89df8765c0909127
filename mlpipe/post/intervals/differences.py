"""Intervals of differences between two models: the bootstrap, or others where it covers too seldom (few rows, rare classes)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mlpipe.errors import counted
from mlpipe.post import kind as post_kind
from mlpipe.post.intervals import one_more_row, scaled
from mlpipe.post.intervals.exact import share_ends
from mlpipe.post.intervals.forms import Known, losses_of
from mlpipe.post.rows import Floats, Integers
from mlpipe.post.sums import AGREEMENT, UNBOUNDED

# From this many units of the rarest class on the bootstrap covers well enough, and from this many units for mean losses.
_RARE = 50
_FEW_LOSSES = 100
_FEW_UNBOUNDED = 30
# Equal differences of shares may differ by rounding, and with few rows many are equal.
_ROUNDING = 1e-9
# The most entries of one block of draws, to bound memory.
_BLOCK = 4_000_000


def bootstrap_ends(drawn: Floats, value: float, left_out: Floats, level: float) -> tuple[float, float]:
    """Return the ends of the BCa interval (Efron 1987), or plain percentiles if every draw lies on one side of the value.

    Args:
        drawn: The metric of each draw, shape (draws,); NaN where it is not defined.
        value: The metric of all rows.
        left_out: The metric without each unit, shape (units,).
        level: The confidence level.

    Returns:
        NaN if no draw is defined.
    """
    from scipy.special import ndtr, ndtri

    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return float("nan"), float("nan")
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    # Efron's two corrections. The bias correction is the value's place among the draws, ties counted half: it is infinite if
    # all lie on one side, and then only plain percentiles are left.
    same_value = np.abs(drawn - value) <= _ROUNDING * max(abs(value), float(np.abs(drawn).max()))
    shift = float(ndtri((drawn < value)[~same_value].sum() / len(drawn) + same_value.mean() / 2))
    if np.isfinite(shift):
        # The acceleration, from the jackknife values: how the spread changes with the value.
        defined = left_out[~np.isnan(left_out)]
        off = defined.mean() - defined if len(defined) else defined
        square = float((off**2).sum())
        skew = float((off**3).sum()) / (6 * square**1.5) if square > 0 else 0.0
        moved = shift + ndtri(tails)
        tails = ndtr(shift + moved / (1 - skew * moved))
    low, high = np.quantile(drawn, tails)
    return float(low), float(high)


def draws(units: Integers, count: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield blocks of bootstrap weights, how often each unit is drawn, shape (draws, units).

    A draw may lack a class. It is not drawn again, because that would hide how much depends on the class's few rows.

    Args:
        units: The unit of each row, shape (n,).
        count: The number of units.
        resamples: The number of draws.
        seed: Seed of the draws.
    """
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // max(count, len(units)))
    for start in range(0, resamples, block):
        draw_count = min(block, resamples - start)
        picks = rng.integers(0, count, (draw_count, count), dtype=np.int64)
        # Each draw counts in a range of its own, so that one bincount does the work for all of them.
        picks += np.arange(draw_count)[:, None] * count
        yield np.bincount(picks.ravel(), minlength=draw_count * count).reshape(draw_count, count).astype(np.float64)


def has_few_rows(name: str, known: Known) -> bool:
    """Return whether the difference of a metric needs another interval than the bootstrap's.

    Args:
        name: The metric.
        known: The rows.
    """
    if name in UNBOUNDED:
        return known.count < _FEW_UNBOUNDED
    if name in ("nll", "brier") and known.count < _FEW_LOSSES:
        return True
    return name == "accuracy" or rarest_count(known) < _RARE


def rarest_count(known: Known) -> int:
    """Return the number of units with the rarest class, the rarer answer of a label, or the rarest class of pixels.

    Args:
        known: The rows.
    """
    sides = post_kind.of(known.kind).sides(known.targets)
    return min((len(np.unique(known.units[side])) for side in sides if side.any()), default=0)


def ends(
    name: str, value: float, first: Known, second: Known, left_out: Floats
) -> tuple[tuple[float, float] | None, str]:
    """Return the ends of first minus second, or None and the reason.

    Args:
        name: The metric.
        value: The difference.
        first: The rows with the first model's outputs.
        second: The same rows with the second model's outputs.
        left_out: The difference without each unit, shape (units,).
    """
    if name in UNBOUNDED:
        if first.count < scaled.LEAST_UNITS:
            subject = counted(first.count, "row or group is", "rows or groups are")
            return None, f"{subject} too few, {scaled.LEAST_UNITS} are needed"
        return scaled.ends(value, left_out, scaled.PLAIN, first.level), "the rows do not tell how much it varies"
    options = {"level": first.level, "resamples": first.resamples, "seed": first.seed}
    if name == "accuracy" and first.targets.ndim == 1:
        right = [(known.logits.argmax(axis=1) == known.targets).astype(np.float64) for known in (first, second)]
        gaps, once = right[0] - right[1], np.ones(len(right[0]))
        ends_of_mean = one_more_row.mean_ends(gaps, once, once, first.units, first.count, best=-once, **options)  # type: ignore[arg-type]
        return ends_of_mean, ""
    if name in ("nll", "brier"):
        (own, every, total), (other, others, _) = losses_of(name, first), losses_of(name, second)
        # In one more row, one model may be wrong and the other right, whatever they did in the observed rows.
        worst, best = (every.max(axis=-1) - others.min(axis=-1), every.min(axis=-1) - others.max(axis=-1))
        if worst.ndim == 2:
            worst, best = worst.sum(axis=1), best.sum(axis=1)
        ends_of_mean = one_more_row.mean_ends(own - other, worst, total, first.units, first.count, best=best, **options)  # type: ignore[arg-type]
        return ends_of_mean, ""
    if np.isnan(left_out).all():
        # As for a single group, which leaves no rows when it is left out.
        return None, "the rows do not tell how much it varies"
    left_out = np.where(np.isnan(left_out), np.nanmean(left_out), left_out)
    deviations = left_out - left_out.mean()
    variance = float((deviations**2).sum()) * (len(left_out) - 1) / len(left_out)
    return _bounded(value, variance, rarest_count(first), first.level, 2.0 if name in AGREEMENT else 1.0), ""


def _bounded(value: float, variance: float, rare: int, level: float, most: float = 1.0) -> tuple[float, float]:
    """Return the ends of a difference that lies between -most and most and depends on few rows of a class.

    As in `exact`, it counts as the share of as many rows as have its variance, to which the largest possible one is added once.

    Args:
        value: The difference.
        variance: Its estimated variance.
        rare: The number of units with the rarest class.
        level: The confidence level.
        most: The largest possible difference.
    """
    share = (value / most + 1) / 2
    room = max(share * (1 - share), 1e-12)
    rows = 1 / (min(variance / (4 * most**2) / room, 1e6) + 1 / max(rare, 1) ** 2)
    low, high = share_ends(share, rows, level)
    return most * (2 * low - 1), most * (2 * high - 1)


def same(first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]) -> bool:
    """Return whether two models gave the same outputs, so that their difference is exactly 0."""
    return bool(np.array_equal(first, second, equal_nan=True))
