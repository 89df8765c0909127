"""Stratified, grouped assignment of samples to folds, independent of the order of rows."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.task import Samples

Ints = npt.NDArray[np.int64]


def deal_rows(samples: Samples, rows: Ints, n: int, seed: int, *, stratify: bool) -> Ints:
    """Assign some rows of a task to `n` folds; groups and identical images stay together.

    Classes are spread by `deal`, labels by `deal_labels`; for numbers to predict, equally large bins of the first number
    are spread like classes.

    Returns:
        Fold numbers, shape (rows,).
    """
    names, groups = [samples.ids[row] for row in rows], grouped(samples, rows)
    levels = levels_of(samples, rows, n, stratify=stratify)
    if levels.ndim == 1:
        return deal(levels, names, n, seed, groups=groups)
    return deal_labels(levels, names, n, seed, groups=groups)


def levels_of(samples: Samples, rows: Ints, n: int, *, stratify: bool) -> npt.NDArray[Any]:
    """Return the strata to spread evenly: stratum numbers, shape (rows,), or whether each label holds, shape (rows, labels).

    Args:
        samples: The task's samples.
        rows: Some rows of the task.
        n: The number of parts; bins of numbers have at least one sample for each part.
        stratify: False: all samples are in one stratum.
    """
    targets = samples.targets[rows]
    if not stratify:
        return np.zeros(len(rows), np.int64)
    if targets.ndim == 1:
        return targets
    if np.isin(targets[~np.isnan(targets)], (0, 1)).all():
        return np.asarray(targets == 1)
    return _bins(targets[:, 0], [samples.ids[row] for row in rows], n)


def grouped(samples: Samples, rows: Ints) -> list[str]:
    """Return a name for each row's unit: its group merged with all groups that share an identical image with it."""
    if not samples.groups:
        return [samples.digests[row] for row in rows]
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    keys = []
    for row in rows:
        own = f"group {samples.groups[row]}" if samples.groups[row] else f"image {samples.digests[row]}"
        keys.append(own)
        root, other = find(own), find(f"image {samples.digests[row]}")
        parent[max(root, other)] = min(root, other)
    return [find(key) for key in keys]


def deal_labels(
    labels: npt.NDArray[np.bool_], names: Sequence[str], n: int, seed: int, *, groups: Sequence[str] | None = None
) -> Ints:
    """Assign every sample to one of `n` folds so that each label is spread evenly (Sechidis, Tsoumakas & Vlahavas 2011).

    The label with the fewest remaining samples goes first: each of its samples goes to the fold that lacks most of that
    label, then to the one that lacks most samples, then to the first in an order drawn from the seed. Groups stay together.

    Args:
        labels: Shape (samples, labels): whether a label holds.
        names: The samples' names, so that the order of rows does not matter.
        n: The number of folds.
        seed: Decides ties and the order of samples.
        groups: Samples of the same group get the same fold; None: every sample is its own.

    Returns:
        Fold numbers, shape (samples,).
    """
    units = units_of(names, groups, seed)
    # A unit is a whole group. `demand` and `room` are the numbers of samples of each label, and of all samples, that each
    # fold still lacks; a large group makes them negative, so that the fold comes last from then on. `remaining` is the
    # number of samples of each label that are not yet assigned.
    counts = np.array([labels[unit].sum(axis=0) for unit in units], np.float64).reshape(len(units), labels.shape[1])
    sizes = np.array([len(unit) for unit in units], np.float64)
    demand, room = np.tile(counts.sum(axis=0) / n, (n, 1)), np.full(n, sizes.sum() / n)
    remaining = counts.sum(axis=0)
    drawn = np.random.Generator(np.random.Philox(key=[seed, 1])).permutation(n)
    fold, left = np.full(len(names), -1, np.int64), np.ones(len(units), bool)

    def give(index: int, label: int | None) -> None:
        urgency = demand[:, label] if label is not None else room
        # Rounded, because subtraction leaves errors in the last bits that would decide ties instead of the drawn order.
        chosen = int(np.lexsort((drawn, -room.round(9), -urgency.round(9)))[0])
        fold[units[index]] = chosen
        demand[chosen] -= counts[index]
        room[chosen] -= sizes[index]
        # Counts are integers, which floats subtract exactly.
        remaining[:] -= counts[index]
        left[index] = False

    # Rare labels first: a frequent label can be balanced by the samples left at the end, a rare one cannot. Counts are
    # updated after each sample, because a sample may have several labels. Samples without labels only count for sizes.
    while left.any():
        label = int(np.where(remaining > 0, remaining, np.inf).argmin()) if remaining.any() else None
        having = left & (counts[:, label] > 0) if label is not None else left
        for index in sorted(np.flatnonzero(having).tolist(), key=lambda index: -sizes[index]):
            give(index, label)
    return fold


def deal(
    strata: Ints, names: Sequence[str], n: int, seed: int, *, groups: Sequence[str] | None = None
) -> npt.NDArray[np.int64]:
    """Assign every sample to one of `n` folds; strata are spread evenly and groups stay together.

    Samples are ordered by name, shuffled within their stratum by a generator that depends only on the seed and the stratum,
    and dealt like cards; each stratum continues where the last one ended. Counts of a stratum, and sizes of folds, differ by
    at most one. Groups of more than one sample go first, the largest first, each to the fold where its strata are rarest.

    Args:
        strata: Shape (n_samples,): class numbers, or zeros for no stratification.
        names: The samples' names, so that the order of rows does not matter.
        n: The number of folds.
        seed: Decides the shuffle.
        groups: Samples of the same group get the same fold; None: every sample is its own.

    Returns:
        Fold numbers, shape (n_samples,).
    """
    order = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
    fold = np.full(len(names), -1, np.int64)
    levels, columns, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    columns = columns.reshape(-1)
    counts = np.zeros((n, len(levels)), np.int64)
    # Groups first, while single samples remain to even out the counts. The cost is the growth of the sum of squares of each
    # stratum's counts, relative to the stratum's size: it is lowest for the fold with the fewest samples of its strata.
    for rows in _large_groups(order, groups, seed):
        own = np.bincount(columns[rows], minlength=len(levels))
        cost = (((counts + own) ** 2 - counts**2) / sizes).sum(axis=1)
        chosen = int(np.lexsort((np.arange(n), counts.sum(axis=1), cost))[0])
        fold[rows] = chosen
        counts[chosen] += own
    totals = counts.sum(axis=1)
    by_level = np.split(order[np.argsort(columns[order], kind="stable")], np.cumsum(sizes))[:-1]
    for column, (level, rows) in enumerate(zip(levels, by_level, strict=True)):
        rows = rows[fold[rows] < 0]
        # One generator per stratum: adding or removing a class changes nothing for the others.
        rows = np.random.Generator(np.random.Philox(key=[seed, int(level) + 1])).permutation(rows)
        emptiest = [(int(counts[k, column]), int(totals[k]), k) for k in range(n)]
        heapq.heapify(emptiest)
        for row in rows:
            count, total, chosen = emptiest[0]
            heapq.heapreplace(emptiest, (count + 1, total + 1, chosen))
            fold[row] = chosen
            counts[chosen, column] += 1
            totals[chosen] += 1
    return fold


def _large_groups(order: Ints, groups: Sequence[str] | None, seed: int) -> list[Ints]:
    """Return the rows of each group with more than one sample, largest first, ties in an order drawn from the seed."""
    if groups is None:
        return []
    members: dict[str, list[int]] = defaultdict(list)
    for row in order:
        members[groups[row]].append(int(row))
    large = [np.array(rows, np.int64) for rows in members.values() if len(rows) > 1]
    drawn = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(len(large))
    return [large[index] for index in sorted(drawn, key=lambda index: -len(large[index]))]


def units_of(names: Sequence[str], groups: Sequence[str] | None, seed: int) -> list[Ints]:
    """Return the rows of each group, in an order drawn from the seed that does not depend on the order of rows."""
    members: dict[str, list[int]] = defaultdict(list)
    for row in sorted(range(len(names)), key=names.__getitem__):
        members[groups[row] if groups is not None else names[row]].append(row)
    units = [np.array(rows, np.int64) for rows in members.values()]
    drawn = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(len(units))
    return [units[index] for index in drawn]


def _bins(values: npt.NDArray[np.float64], names: Sequence[str], n: int) -> Ints:
    """Return strata of numbers: up to ten bins of equal size, each with at least one sample per fold."""
    order = np.lexsort((np.array(names), values))
    bins = max(1, min(10, len(values) // n))
    strata = np.empty(len(values), np.int64)
    strata[order] = np.arange(len(values)) * bins // len(values)
    return strata
