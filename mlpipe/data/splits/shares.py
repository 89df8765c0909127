"""Shares of samples: groups stay together, and every class and label is as near to its share as the groups allow.

Samples are partitioned into units (a group, a set of identical images, or a single sample), each of which goes as a whole
to the taken or to the other part. The distance of a choice of units from the share is measured as in the chi-squared
statistic: the squared difference of each level's count (a level is a class, a label or a bin of numbers) from its share,
divided by the level's size, plus the same for all samples together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from mlpipe.data.splits.assignment import Ints, deal_rows, grouped, levels_of, units_of
from mlpipe.data.task import Samples
from mlpipe.errors import DataError, counted, problem

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
# The largest table of (unit, level) that the search handles, and of (pair of units, level) in one of its steps.
_LARGEST, _LARGEST_STEP = 2_000_000, 500_000
_MOST_STEPS = 300
_LEVEL_MISSING, _TOO_FEW_LEFT, _SIZE_WRONG = 10.0, 1e5, 1e8


@dataclass(frozen=True)
class Units:
    """Units that go as a whole to one part or the other, and the levels of each.

    Attributes:
        rows: The samples of each unit.
        sizes: The number of samples of each unit, shape (units,).
        starts: Where each unit's entries in `levels` and `counts` begin, shape (units + 1,).
        levels: Level numbers, unit by unit.
        counts: The number of samples of the unit with that level.
        totals: The number of samples with each level, shape (levels,).
        holders: The number of units with each level, shape (levels,).
    """

    rows: Sequence[Ints]
    sizes: Ints
    starts: Ints
    levels: Ints
    counts: Ints
    totals: Ints
    holders: Ints

    def level_counts(self, choice: Bools) -> Ints:
        """Return the number of samples of each level in a choice of units, shape (levels,)."""
        unit = np.repeat(np.arange(len(self.rows)), np.diff(self.starts))
        chosen = choice[unit]
        return np.bincount(self.levels[chosen], self.counts[chosen], len(self.totals)).astype(np.int64)

    def as_table(self) -> Floats:
        """Return the number of samples of each level in each unit, shape (units, levels)."""
        table = np.zeros((len(self.rows), len(self.totals)))
        table[np.repeat(np.arange(len(self.rows)), np.diff(self.starts)), self.levels] = self.counts
        return table


@dataclass(frozen=True)
class Goal:
    """Share to take of some units.

    Attributes:
        fraction: The share of all samples and of those of each level.
        samples: The share as a number of samples, not rounded.
        everywhere: The levels that must occur in both parts, shape (levels,).
        left: The minimum number of units that are left.
    """

    fraction: float
    samples: float
    everywhere: Bools
    left: int

    def reaches(self, units: Units, choice: Bools, rounding: float) -> bool:
        """Return whether a choice has every required level and about the wanted number of samples.

        Args:
            units: The units.
            choice: The choice.
            rounding: The tolerance in samples for rounding; capped at two, or an eighth of the smaller part if that is more.
        """
        size, whole, counts = int(units.sizes[choice].sum()), int(units.sizes.sum()), units.level_counts(choice)
        rounding = min(rounding, max(2, min(self.samples, whole - self.samples) / 8))
        near = abs(size - self.samples) <= max(units.sizes.max() / 2, rounding)
        lacking = self.everywhere & ((counts == 0) | (counts == units.totals))
        return near and 0 < size < whole and not lacking.any()


def of_samples(
    samples: Samples, pool: Ints, fraction: float, stratify: bool, seed: int, *, key: str, others: int
) -> Ints:
    """Return the rows of a share of the pool, and of each class or label in it; groups and identical images stay together.

    Without groups it is drawn class by class, or as some of several even folds, if that reaches the share.

    Args:
        samples: The task's samples.
        pool: The rows to choose from.
        fraction: The share.
        stratify: Whether classes and labels are to keep their shares.
        seed: The seed of the draw.
        key: The configuration key of the share.
        others: The number of parts that the rest of the pool will be divided into.

    Raises:
        DataError: If the pool cannot be divided.
    """
    if not samples.groups and round(fraction * len(pool)) in (0, len(pool)):
        raise DataError(problem(key, f"leaves a part of the {counted(len(pool), 'image')} empty", got=fraction))
    samples = samples.spread
    names, groups = [samples.ids[row] for row in pool], grouped(samples, pool)
    levels = levels_of(samples, pool, ceil(1 / min(fraction, 1 - fraction)), stratify=stratify)
    if levels.ndim == 2:
        # The absence of a label must occur in both parts, too.
        levels = np.hstack([levels, samples.targets[pool] == 0])
    pool_units = units(names, groups, levels, seed)
    if len(pool_units.rows) < 2:
        of = f"the {len(pool)} images are of one group" if len(pool) > 1 else f"there is {len(pool)} image"
        raise DataError(problem(key, f"leaves a part empty: {of}, which is not split", got=fraction))
    target = goal(pool_units, fraction, others)
    unit_of = np.empty(len(pool), np.int64)
    for number, rows in enumerate(pool_units.rows):
        unit_of[rows] = number
    if not samples.groups:
        by_class = samples.targets.ndim == 1
        rows = (_share_of_classes if by_class else _share_of_folds)(samples, pool, fraction, stratify, seed)
        choice = np.zeros(len(pool_units.rows), bool)
        choice[unit_of[np.searchsorted(pool, rows)]] = True
        if target.reaches(pool_units, choice, len(pool_units.totals) / 2 if by_class else np.inf):
            return rows
    return np.asarray(pool[take(pool_units, target, seed)[unit_of]], np.int64)


def _share_of_classes(samples: Samples, pool: Ints, fraction: float, stratify: bool, seed: int) -> Ints:
    """Return a share of the pool as the rounded share of each class, drawn separately."""
    strata = samples.targets[pool] if stratify else np.zeros(len(pool), np.int64)
    names, groups = [samples.ids[row] for row in pool], grouped(samples, pool)
    chosen: list[int] = []
    decisions: dict[str, bool] = {}
    rows_by_level: dict[int, list[int]] = defaultdict(list)
    for index in sorted(range(len(pool)), key=names.__getitem__):
        rows_by_level[int(strata[index])].append(index)
    for level, rows in sorted(rows_by_level.items()):
        drawn = np.random.Generator(np.random.Philox(key=[seed, int(level) + 1])).permutation(rows)
        quota = round(len(rows) * fraction)
        for index in drawn:
            take = decisions.setdefault(groups[index], quota > 0)
            quota -= take
            if take:
                chosen.append(int(pool[index]))
    return np.array(sorted(chosen), np.int64)


def _share_of_folds(samples: Samples, pool: Ints, fraction: float, stratify: bool, seed: int) -> Ints:
    """Return a share of the pool as some of up to twenty even folds, whose number fits the share best."""
    parts = min(range(2, min(20, len(pool)) + 1), key=lambda n: (abs(round(n * fraction) / n - fraction), n))
    fold = deal_rows(samples, pool, parts, seed, stratify=stratify)
    return np.asarray(pool[fold < round(parts * fraction)], np.int64)


def units(names: Sequence[str], groups: Sequence[str], levels: npt.NDArray[np.generic], seed: int) -> Units:
    """Return the units of some samples, in an order that is drawn from the seed and independent of the samples' order.

    Args:
        names: The samples' names.
        groups: The group of each sample, which must stay together.
        levels: Level numbers, shape (samples,); or whether each sample has each level, shape (samples, levels), boolean.
        seed: The seed of the order.
    """
    rows = units_of(names, groups, seed)
    unit = np.empty(len(names), np.int64)
    for number, members in enumerate(rows):
        unit[members] = number
    if levels.ndim == 1:
        numbers = np.unique(levels, return_inverse=True)[1].reshape(-1).astype(np.int64)
        sample, level_count = np.arange(len(names)), int(numbers.max(initial=-1)) + 1
    else:
        columns = np.flatnonzero(levels.any(axis=0))
        sample, numbers = np.nonzero(levels[:, columns])
        level_count = len(columns)
    pairs, counts = np.unique(unit[sample] * max(level_count, 1) + numbers, return_counts=True)
    owners, unit_levels = pairs // max(level_count, 1), pairs % max(level_count, 1)
    return Units(
        rows,
        np.array([len(members) for members in rows], np.int64),
        np.searchsorted(owners, np.arange(len(rows) + 1)).astype(np.int64),
        unit_levels,
        counts.astype(np.int64),
        np.bincount(numbers, minlength=level_count).astype(np.int64),
        np.bincount(unit_levels, minlength=level_count).astype(np.int64),
    )


def goal(units: Units, fraction: float, others: int) -> Goal:
    """Return the goal of taking a share of some units.

    Args:
        units: The units.
        fraction: The share, above 0 and below 1.
        others: The number of parts that the rest will be divided into, each with at least one unit. A level with only
            this many units is left to them.
    """
    everywhere = (units.holders >= 2) & ((units.holders != others) | (others == 1))
    return Goal(fraction, fraction * float(units.sizes.sum()), everywhere, min(others, len(units.rows) - 1))


def take(units: Units, goal: Goal, seed: int) -> Bools:
    """Choose units that together are as near to the share as groups allow, shape (units,).

    The number of samples is off by at most half the largest unit, unless a part would be empty: then the nearest choice
    without an empty part is taken. Within that, enough units are left for the parts of the rest, required levels occur in
    both parts, and counts of all levels are near their shares. Units are dealt in turn (rare levels first, then large
    units) and exchanged while that improves the choice, from several starts; with too many units and levels for that,
    they are only dealt.

    Args:
        units: At least two units.
        goal: The share.
        seed: Decides between equally near choices.
    """
    # Three steps, each with priority over the one before: bring the counts of all levels near their shares; give both parts
    # the levels they must have; bring the number of samples near enough.
    drawn = np.random.Generator(np.random.Philox(key=[seed, 3]))
    dealt = _with_size(units, goal, _with_levels(units, goal, _dealt_units(units, goal)))
    if len(units.rows) * max(len(units.totals), 1) > _LARGEST:
        return dealt
    # Dealing is greedy: exchanges correct it, and other starts reach choices that exchanges from this one do not.
    search = _Search(units, goal, units.as_table(), drawn)
    starts = [dealt, *(_first_units(units, goal, drawn.permutation(len(units.rows))) for _ in range(search.restarts))]
    choices = [search.improved_choice(start) for start in starts]
    # Rounded, so that of equally near choices the first start's is taken on every machine.
    return min(choices, key=lambda choice: round(search.cost(choice), 12))


def _first_units(units: Units, goal: Goal, order: Ints) -> Bools:
    """Choose the first units of an order, as many as come nearest to the share, neither none nor all."""
    sums = np.cumsum(units.sizes[order])[:-1]
    choice = np.zeros(len(units.rows), bool)
    choice[order[: int(np.abs(sums - goal.samples).argmin()) + 1]] = True
    return choice


def _dealt_units(units: Units, goal: Goal) -> Bools:
    """Give each unit in turn to the part that lacks most of its levels."""
    rare = ceil(2 / min(goal.fraction, 1 - goal.fraction))
    least = [
        int(units.holders[units.levels[a:b]].min(initial=rare))
        for a, b in zip(units.starts, units.starts[1:], strict=False)
    ]
    order = sorted(range(len(units.rows)), key=lambda unit: (min(least[unit], rare), -units.sizes[unit]))
    weights = (1 - goal.fraction, goal.fraction)
    levels, counts, starts = units.levels.tolist(), units.counts.tolist(), units.starts.tolist()
    totals, sizes, whole = units.totals.tolist(), units.sizes.tolist(), float(units.sizes.sum())
    tallies, filled = ([0] * len(totals), [0] * len(totals)), [0, 0]
    choice = np.zeros(len(units.rows), bool)
    for unit in order:
        entries = range(starts[unit], starts[unit + 1])
        costs = []
        for part in (0, 1):
            own = tallies[part]
            # (a + s)^2 - a^2 = (2 a + s) s: the sum of squares grows least for the part that lacks most.
            cost = (2 * filled[part] + sizes[unit]) * sizes[unit] / whole
            cost += sum((2 * own[levels[at]] + counts[at]) * counts[at] / totals[levels[at]] for at in entries)
            costs.append(cost / weights[part])
        part = int(costs[1] < costs[0])
        choice[unit] = part == 1
        filled[part] += sizes[unit]
        for at in entries:
            tallies[part][levels[at]] += counts[at]
    return choice


def _with_levels(units: Units, goal: Goal, choice: Bools) -> Bools:
    """For every required level that a part lacks, move the smallest unit with that level from the other part."""
    choice = choice.copy()
    unit = np.repeat(np.arange(len(units.rows)), np.diff(units.starts))
    counts = units.level_counts(choice)
    by_level = np.split(unit[np.argsort(units.levels, kind="stable")], np.cumsum(units.holders))
    for level in np.flatnonzero(goal.everywhere & ((counts == 0) | (counts == units.totals))).tolist():
        if 0 < counts[level] < units.totals[level]:
            continue
        holders = by_level[level]
        moved = holders[int(units.sizes[holders].argmin())]
        choice[moved] = ~choice[moved]
        # Update the counts incrementally instead of recomputing them for each level.
        own = slice(units.starts[moved], units.starts[moved + 1])
        counts[units.levels[own]] += units.counts[own] if choice[moved] else -units.counts[own]
    return choice


def _with_size(units: Units, goal: Goal, choice: Bools) -> Bools:
    """Move units to the other part until the number of samples is near enough and no part is empty."""
    choice, allowed = choice.copy(), units.sizes.max() / 2
    size, whole = int(units.sizes[choice].sum()), int(units.sizes.sum())
    # Each turn moves the unit that brings the size nearest to the goal. The loop ends when none improves it, except while a
    # part is empty: then a unit moves even if that leads away from the goal.
    while abs(off := size - goal.samples) > allowed or size in (0, whole):
        side = choice if off > 0 else ~choice
        moves = np.flatnonzero(side)
        after = np.abs(abs(off) - units.sizes[moves])
        emptied = units.sizes[moves] == (size if off > 0 else whole - size)
        best = int(np.where(emptied, np.inf, after).argmin())
        if emptied[best] or (after[best] >= abs(off) and 0 < size < whole):
            break
        choice[moves[best]] = ~choice[moves[best]]
        size += int(units.sizes[moves[best]]) * (-1 if off > 0 else 1)
    return choice


class _Search:
    """Exchanges units between the parts as long as the choice comes nearer to the share.

    Args:
        units: The units.
        goal: The share.
        table: Samples of each level in each unit, shape (units, levels).
        drawn: The generator that draws the pairs to try if there are too many.
    """

    def __init__(self, units: Units, goal: Goal, table: Floats, drawn: np.random.Generator) -> None:
        self._units, self._goal, self._table, self._generator = units, goal, table, drawn
        self._sizes, self._total_size = units.sizes.astype(np.float64), float(units.sizes.sum())
        self._totals = np.maximum(units.totals, 1).astype(np.float64)
        self._size_tolerance = units.sizes.max() / 2
        self.restarts = 20 if len(units.rows) <= 30 else 6 if len(units.rows) <= 200 else 1

    def cost(self, choice: Bools) -> float:
        """Return the distance of a choice from the share."""
        chosen = choice[None]
        left = (~chosen).sum(axis=1).astype(np.float64)
        return float(self._costs(chosen @ self._table, chosen @ self._sizes, left)[0])

    def improved_choice(self, choice: Bools) -> Bools:
        """Apply the best exchange of one unit or two again and again, until none improves the choice."""
        choice = choice.copy()
        now = self.cost(choice)
        for _ in range(_MOST_STEPS):
            moved, least = self._best_move(choice)
            if least >= now - 1e-12:
                moved, least = self._best_exchange(choice)
            if least >= now - 1e-12:
                break
            choice[moved] = ~choice[moved]
            now = least
        return choice

    def _best_move(self, choice: Bools) -> tuple[list[int], float]:
        sign = np.where(choice, -1.0, 1.0)
        counts = self._table[choice].sum(axis=0) + sign[:, None] * self._table
        costs = self._costs(counts, self._sizes[choice].sum() + sign * self._sizes, (~choice).sum() - sign)
        best = int(costs.argmin())
        return [best], float(costs[best])

    def _best_exchange(self, choice: Bools) -> tuple[list[int], float]:
        out, into = np.flatnonzero(choice), np.flatnonzero(~choice)
        most = max(2, int((_LARGEST_STEP / max(1, self._table.shape[1])) ** 0.5))
        if len(out) * len(into) > most**2:
            out = self._generator.permutation(out)[: max(most, most**2 // len(into))]
            into = self._generator.permutation(into)[: max(most, most**2 // len(out))]
        counts = self._table[choice].sum(axis=0) - self._table[out][:, None] + self._table[into][None]
        size = self._sizes[choice].sum() - self._sizes[out][:, None] + self._sizes[into][None]
        costs = self._costs(counts, size, np.full(size.shape, float((~choice).sum())))
        first, second = np.unravel_index(int(costs.argmin()), costs.shape)
        return [int(out[first]), int(into[second])], float(costs[first, second])

    def _costs(self, counts: Floats, size: Floats, left: Floats) -> Floats:
        """Return the costs of choices with these level counts, shape (..., levels), sizes and units left, shape (...)."""
        target, whole = self._goal, self._total_size
        far = ((counts - target.fraction * self._totals) ** 2 / self._totals).sum(axis=-1) / whole
        far = far + (size - target.samples) ** 2 / whole**2
        lacking = (counts < 0.5) | (counts > self._totals - 0.5)
        missing = lacking[..., target.everywhere].sum(axis=-1)
        beyond = np.maximum(np.abs(size - target.samples) - self._size_tolerance, 0) / whole
        empty = (size < 0.5) | (size > whole - 0.5)
        wrong = np.where(beyond > 1e-12, 1 + beyond, 0) + 10 * empty
        few = np.maximum(target.left - left, 0)
        return np.asarray(far + _LEVEL_MISSING * missing + _TOO_FEW_LEFT * few + _SIZE_WRONG * wrong)
