"""Splits that follow an order in the data: forward in time, or one group after the other."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from mlpipe.data.splits.assignment import Ints, grouped
from mlpipe.data.splits.methods import TEST, Rare, Split, check_enough, refuse_second_test, with_test
from mlpipe.data.task import Samples
from mlpipe.errors import DataError, listing, problem


def time(
    samples: Samples,
    *,
    folds: Annotated[int, ">= 1"] = 5,
    test_fraction: Annotated[float, ">= 0", "< 1"] = 0.0,
    rare: Rare = "refuse",
) -> Split:
    """Time series folds: samples are sorted into `folds` + 1 consecutive blocks; fold k trains on all earlier blocks.

    Samples of the same time stay in one block; blocks are as equal in size as possible (the expanding windows of Bergmeir &
    Benitez 2012; scikit-learn's TimeSeriesSplit if all times differ and blocks have equal sizes). Block 0 is only trained on.

    Args:
        samples: The task's samples; each training sample has an order.
        folds: The number of validated blocks, one model each.
        test_fraction: The share of the training samples that becomes the test part: the last ones; only if the task has none.
        rare: Refuse classes that no training image has, or allow them. Classes that are missing in a single part are
            reported but not refused, because folds in time cannot be stratified.

    Raises:
        DataError: If samples have no order, or there are fewer times than blocks.
    """
    fold, pool = with_test(samples, 0.0, False, 0)
    orders = _orders(samples, pool)
    if test_fraction > 0:
        refuse_second_test(samples, test_fraction)
        first = _blocks(orders, np.array([1 - test_fraction, test_fraction]))
        fold[pool[first == 1]] = TEST
        pool, orders = pool[first == 0], orders[first == 0]
    check_enough(pool, folds + 1)
    if (times := len(np.unique(orders))) < folds + 1:
        fix = f"use split.folds={times - 1}" if times > 2 else "use another column as task.order"
        raise DataError(problem("split.folds", f"there are only {times} different times", got=folds, fix=fix))
    fold[pool] = _blocks(orders, np.full(folds + 1, 1 / (folds + 1)))
    return Split(fold, folds + 1, tuple(range(1, folds + 1)), False, 0, "time", rare=rare)


def _orders(samples: Samples, pool: Ints) -> np.ndarray:
    if samples.orders is None:
        fix = "name the column of times or numbers with task=csv task.order=COLUMN, or use split=kfold"
        raise DataError(problem("split=time", "the task's samples have no order", fix=fix))
    orders = samples.orders[pool]
    without = [samples.ids[row] for row in pool[np.isnan(orders)]]
    if without:
        wrong = f"{len(without)} training images have no order ({listing(without, most=3)})"
        raise DataError(problem("split=time", wrong, fix="give every training row one"))
    return orders


def _blocks(orders: np.ndarray, shares: np.ndarray) -> Ints:
    """Return the block of each sample: each cut is the one between two times that is nearest to its share; none is empty."""
    times, counts = np.unique(orders, return_counts=True)
    ends = np.cumsum(counts)
    cuts: list[int] = []
    for number, target in enumerate(np.cumsum(shares)[:-1] * len(orders), start=1):
        least, most = (cuts[-1] if cuts else 0) + 1, len(times) - (len(shares) - number)
        nearest = int(np.abs(ends[:-1] - target).argmin()) + 1 if len(times) > 1 else 1
        cuts.append(min(max(nearest, least), max(most, least)))
    return np.searchsorted(np.array(cuts), np.searchsorted(times, orders), side="right").astype(np.int64)


def leave_one_group_out(
    samples: Samples,
    *,
    test_fraction: Annotated[float, ">= 0", "< 1"] = 0.0,
    test_seed: Annotated[int, ">= 0"] = 42,
    most_folds: Annotated[int, ">= 2"] = 50,
    rare: Rare = "refuse",
) -> Split:
    """One fold per group, in the order of their names: a model trained on all other groups is validated on that group.

    Groups that share an identical image are merged.

    Args:
        samples: The task's samples; each training sample has a group.
        test_fraction: As for `kfold`; groups stay whole.
        test_seed: The seed of the test part.
        most_folds: The largest number of groups that is accepted, because each group is a training of its own.
        rare: Refuse classes that occur in only one group, or allow them and report what is missing.

    Raises:
        DataError: If samples have no group, or there are too few or too many groups.
    """
    fold, pool = with_test(samples, test_fraction, True, test_seed, others=2)
    without = [samples.ids[row] for row in pool if not samples.groups or not samples.groups[row]]
    if without:
        wrong = f"{len(without)} training images have no group ({listing(without, most=3)})"
        raise DataError(problem("split=leave_one_group_out", wrong, fix="name it with task.group, or use split=kfold"))
    names, number = np.unique(np.array(grouped(samples, pool)), return_inverse=True)
    if len(names) < 2:
        fix = "name other groups with task.group, or use split=kfold"
        raise DataError(problem("split=leave_one_group_out", "all training images are of one group", fix=fix))
    if len(names) > most_folds:
        fix = f"use split=kfold, which keeps groups whole, or split.most_folds={len(names)}"
        wrong = f"{len(names)} groups would be {len(names)} trainings"
        raise DataError(problem("split.most_folds", wrong, got=most_folds, fix=fix))
    fold[pool] = number.reshape(-1)
    return Split(fold, len(names), tuple(range(len(names))), False, 0, "group", rare=rare)
