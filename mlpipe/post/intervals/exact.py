"""Exact intervals for few rows: ends of shares, means of such parts, and the effect of one more row.

A share of independent rows has the ends of Clopper and Pearson 1934 where few rows are on one side and of Wilson 1927
elsewhere. Any other value between 0 and 1 (an area, a precision, a share over groups) counts as the share of as many
independent rows as have its variance (Korn and Graubard 1998). A variance estimated from few rows is shrunk to the
largest that a value between 0 and 1 can have, so that a value that never varied is not taken for certain: with one row only
the largest variance is left. Means of parts have the ends of Zou and Donner 2008 (MOVER).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from mlpipe.post.rows import Floats, Integers

# With fewer rows on one side Wilson's coverage is too low: .84 at worst, .935 from here on.
_FEW = 15
# The number of rows with the largest variance that are added to the observed ones.
_ADDED = 1.0
# With more parts, each is compared with this many others, in blocks of this size.
_MOST_PAIRED, _PARTS_AT_ONCE = 1000, 256


def normal_quantile(level: float) -> float:
    """Return half the width of a two-sided normal interval of this level, in standard deviations.

    Args:
        level: Inside (0, 1).
    """
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson_ends(hits: float, n: float, level: float) -> tuple[float, float]:
    """Return the score interval of a share.

    Args:
        hits: How many rows count; need not be a whole number.
        n: The number of rows, above 0.
        level: The confidence level.
    """
    z, share = normal_quantile(level), hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return (0.0 if hits == 0 else float(centre - half)), (1.0 if hits == n else float(centre + half))


def clopper_pearson_ends(hits: float, n: float, level: float) -> tuple[float, float]:
    """Return the exact interval of a share, which covers with a probability of at least `level`, whatever the share is.

    Args:
        hits: As for `wilson_ends`.
        n: As for `wilson_ends`.
        level: The confidence level.
    """
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


def share_ends(share: float, n: float, level: float) -> tuple[float, float]:
    """Return the ends of a share: exact where fewer than 15 rows are on one side, Wilson's elsewhere.

    Args:
        share: Inside [0, 1].
        n: The number of rows, above 0; need not be a whole number.
        level: The confidence level.
    """
    hits = min(max(share * n, 0.0), n)
    ends = clopper_pearson_ends if is_exact(share, n) else wilson_ends
    low, high = ends(hits, n, level)
    return min(low, share), max(high, share)


def is_exact(share: float, n: float) -> bool:
    """Return whether `share_ends` returns exact ends, because few rows are on one side.

    Args:
        share: Inside [0, 1].
        n: The number of rows.
    """
    return n * min(share, 1 - share) < _FEW


@dataclass(frozen=True)
class Part:
    """A value between 0 and 1, the number of independent rows that it is worth, and each unit's influence on its error.

    `influences` has shape (units,) and mean zero; the sum of its squares is the variance.
    """

    value: float
    rows: float
    influences: Floats


def summed(values: Floats, units: Integers, count: int) -> Floats:
    """Sum values of rows over units, shape (units,).

    Args:
        values: Shape (n,).
        units: The unit of each row, shape (n,).
        count: The number of units.
    """
    return np.asarray(np.bincount(units, weights=values, minlength=count), np.float64)


def ratio(hits: Floats, total: Floats, units: Integers, count: int) -> Part | None:
    """Return the share of hits in a total, with the rows of a unit taken together; None if the total is 0.

    Args:
        hits: Hits of each row, 0 to its total, shape (n,).
        total: Total of each row, shape (n,): 1 or 0 for a row that counts or does not, or a number of labels or pixels.
        units: The unit of each row, shape (n,).
        count: The number of units.
    """
    parts, wholes = summed(hits, units, count), summed(total, units, count)
    everything = float(wholes.sum())
    if everything <= 0:
        return None
    value = float(parts.sum()) / everything
    influences = (parts - value * wholes) / everything
    # The sum over a unit's rows, labels or pixels varies at least as much as if they were independent.
    whole = bool((hits == np.round(hits)).all())
    if whole and wholes.max() <= 1:
        return Part(value, everything, influences)
    unit_count = int((wholes > 0).sum())
    largest = float((wholes**2).sum()) / everything**2
    spread = float((influences**2).sum()) * unit_count / max(unit_count - 1, 1)
    most = everything if whole else np.inf
    return Part(value, min(most, _effective_rows(value, spread, largest, unit_count)), influences)


def _effective_rows(value: float, spread: float, largest: float, unit_count: int) -> float:
    """Return the effective number of rows; the variance is shrunk to the largest possible one, value (1 - value) `largest`."""
    room = value * (1 - value)
    relative = min(spread / room / largest, 1e6) if room > 1e-12 else 1.0
    degrees = unit_count - 1
    return 1 / (largest * (degrees * relative + _ADDED) / (degrees + _ADDED))


def of_ranks(
    value: float,
    influences: Floats,
    positive: npt.NDArray[np.bool_],
    known: npt.NDArray[np.bool_],
    units: Integers,
    count: int,
) -> Part:
    """Return a rank metric as a part, which depends on the rarer side however many rows the other side has.

    Args:
        value: An area under a curve.
        influences: Influence of each row, shape (n,).
        positive: Which rows are positive, shape (n,).
        known: Which rows are either, shape (n,).
        units: The unit of each row, shape (n,).
        count: The number of units.
    """
    by_unit = summed(influences, units, count)
    room = value * (1 - value)
    inverse = float((by_unit**2).sum()) / room if room > 1e-12 else 0.0
    for side in (positive, known & ~positive):
        inside = np.unique(units[side])
        unit_count = len(inside)
        if not unit_count:
            continue
        own = float((summed(np.where(side, influences, 0), units, count)[inside] ** 2).sum())
        relative = unit_count * own / room if room > 1e-12 else 0.0
        if room <= 1e-12:
            inverse += 1 / unit_count
        else:
            inverse += _ADDED * max(1 - relative, 0.0) / ((unit_count - 1 + _ADDED) * unit_count)
    return Part(value, 1 / max(inverse, 1e-12), by_unit)


def mean_ends(
    parts: Sequence[Part],
    level: float,
    *,
    scale: Callable[[float], float] = float,
    unknown: float = 0.0,
) -> tuple[float, float]:
    """Return the ends of the mean of parts from the ends of each, with correlations given by their influences.

    Args:
        parts: One or more.
        level: The confidence level.
        scale: An increasing function from [0, 1] to [0, 1] that turns shares into what is averaged.
        unknown: The assumed correlation of two parts where it cannot be estimated, 0 to 1.
    """
    ends = np.array([[part.value, *share_ends(part.value, part.rows, level)] for part in parts])
    values, lows, highs = np.vectorize(scale, otypes=[float])(ends).T
    together = _Together(parts, unknown)
    below, above = values - lows, highs - values
    low = values.mean() - np.sqrt(max(together.spread(below), 0.0)) / len(parts)
    high = values.mean() + np.sqrt(max(together.spread(above), 0.0)) / len(parts)
    if len(parts) > 2 and min(part.rows for part in parts) < _FEW:
        other = _one_share_ends(parts, values, together, level, scale)
        low, high = min(low, other[0]), max(high, other[1])
    return max(float(low), 0.0), min(float(high), 1.0)


def _one_share_ends(
    parts: Sequence[Part], values: Floats, together: _Together, level: float, scale: Callable[[float], float]
) -> tuple[float, float]:
    """Return the ends of a mean of many parts of few rows, as those of one share that has its variance.

    Parts of a row or two are at one of their ends, where MOVER gives them no width on that side, so the mean of many such
    parts would seem certain. Here each has the width of a share, one of whose rows is an average row of all parts.
    Where the scale is curved, few rows of every part are worth less than many: the upper end is raised accordingly.
    """
    shares, rows = np.array([part.value for part in parts]), np.array([max(part.rows, 1.0) for part in parts])
    drawn = (shares * (rows - 1) + shares.mean()) / rows
    spreads = np.sqrt(drawn * (1 - drawn) / rows)
    lower, middle, upper = np.vectorize(scale, otypes=[float])([drawn - spreads, drawn, drawn + spreads])
    widths = (upper - lower) / 2
    mean, variance = float(values.mean()), together.spread(widths) / len(parts) ** 2
    if variance <= 0 or not 0 < mean < 1:
        return mean, mean
    low, high = share_ends(mean, mean * (1 - mean) / variance, level)
    return low, high + max(float((middle - (lower + upper) / 2).mean()), 0.0)


class _Together:
    """Correlations of parts, none below 0; with more than `_MOST_PAIRED` parts those with a random sample of that many others.

    Args:
        parts: The parts.
        unknown: The assumed correlation of two parts where it cannot be estimated.
    """

    def __init__(self, parts: Sequence[Part], unknown: float) -> None:
        part_count = len(parts)
        self._others = np.arange(part_count)
        if part_count > _MOST_PAIRED:
            self._others = np.sort(np.random.default_rng(0).choice(part_count, _MOST_PAIRED, replace=False))
        sizes = np.array([np.sqrt(part.influences @ part.influences) for part in parts])
        second = np.stack([parts[place].influences for place in self._others.tolist()]).T
        self._correlations = np.full((part_count, len(self._others)), unknown)
        for start in range(0, part_count, _PARTS_AT_ONCE):
            some = slice(start, start + _PARTS_AT_ONCE)
            shared = np.stack([part.influences for part in parts[some]]) @ second
            whole = np.outer(sizes[some], sizes[self._others])
            np.divide(shared, whole, out=self._correlations[some], where=whole > 0)
        np.clip(self._correlations, 0, 1, out=self._correlations)
        # The correlation of a part with itself is known and is not sampled.
        self._correlations[self._others, np.arange(len(self._others))] = 0

    def spread(self, widths: Floats) -> float:
        """Return the squared width of a sum of parts from the width of each.

        Args:
            widths: Shape (parts,).
        """
        share = len(self._others) / len(widths)
        return float(widths @ widths + widths @ self._correlations @ widths[self._others] / share)
