"""Checked arrays: the rows with a target in float64, or an error that names the unusable rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, DataError, did_you_mean, listing, problem

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
# Folds of every cross-validation over stored predictions, if there are enough rows.
FOLDS = 5


def finite(logits: npt.ArrayLike, *, key: str = "predictions", ids: Sequence[str] | None = None) -> Floats:
    """Return the values in float64, shape (n, classes).

    Args:
        logits: Shape (n, classes).
        key: The name of these rows in the error.
        ids: The rows' sample ids, shape (n,); row numbers are named without them.

    Raises:
        DataError: The array is not a table, or some values are not finite numbers; the rows are named.
    """
    values = np.asarray(logits, np.float64)
    if values.ndim != 2:
        fix = "give one row for each sample and one column for each class"
        raise DataError(problem(key, "logits must have the shape (rows, classes)", got=values.shape, fix=fix))
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        row_names = listing(bad.tolist() if ids is None else [ids[row] for row in bad.tolist()])
        wrong = f"{len(bad)} of {len(values)} rows hold values that are not finite ({row_names})"
        raise DataError(problem(key, wrong, fix="predict again, or leave out the model that made them"))
    return values


def labelled(
    logits: npt.ArrayLike, targets: npt.ArrayLike, *, key: str = "predictions", ids: Sequence[str] | None = None
) -> tuple[Floats, Integers]:
    """Return the rows that have a target, as logits in float64 and class numbers.

    Args:
        logits: Shape (n, classes), finite where there is a target.
        targets: Class numbers, shape (n,); -1 where there is none.
        key: The name of these rows in the error.
        ids: The rows' sample ids, shape (n,).

    Raises:
        DataError: No row has a target, a target is no class, the lengths differ, or values are not finite.
    """
    numbers, values = np.asarray(targets), np.asarray(logits)
    if numbers.shape != values.shape[:1]:
        fix = "give one target for each row, -1 for none"
        raise DataError(problem(key, f"{len(values)} rows need as many targets", got=numbers.shape, fix=fix))
    numbers = numbers.astype(np.int64)
    has_target = numbers >= 0
    if not has_target.any():
        raise DataError(problem(key, "no row has a target", fix="use a split with labels"))
    chosen = [ids[row] for row in np.flatnonzero(has_target).tolist()] if ids is not None else None
    if not has_target.all():
        values, numbers = values[has_target], numbers[has_target]
    values = finite(values, key=key, ids=chosen)
    if numbers.max() >= values.shape[1]:
        fix = "check the order of the classes"
        raise DataError(problem(key, f"targets must be below {values.shape[1]}", got=int(numbers.max()), fix=fix))
    return values, numbers


def shares(values: npt.ArrayLike, classes: int, *, key: str = "mode.prior") -> Floats:
    """Return a prevalence that sums to one, shape (classes,).

    Args:
        values: Positive numbers, one for each class, in any unit.
        classes: The number of classes.
        key: The configuration key of the values.

    Raises:
        DataError: The number of entries differs from the number of classes, or one is not a positive number.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.shape != (classes,):
        fix = f"give {classes} numbers, one for each class in the task's order"
        raise DataError(problem(key, "wrong number of entries", got=numbers.tolist(), fix=fix))
    if not (np.isfinite(numbers).all() and (numbers > 0).all()):
        fix = "a class that cannot occur gets a small share, such as 1e-6"
        raise DataError(problem(key, "every share must be positive", got=numbers.tolist(), fix=fix))
    return np.asarray(numbers / numbers.sum())


def in_order(prior: Any, classes: Sequence[str], *, key: str) -> Any:
    """Return shares by name as a list in the order of the classes; anything else as it is.

    Args:
        prior: A mapping from each class or label to its share, or another form of a prevalence.
        classes: The names of the outputs, in the task's order.
        key: The configuration key of the shares.

    Raises:
        ConfigError: A name is no class, or a class has no share; all such names are listed.
    """
    if not isinstance(prior, Mapping):
        return prior
    by_name = {str(name): share for name, share in prior.items()}
    names = listing(list(classes), most=8)
    wrong = [
        problem(key, "there is no such class", got=name, fix=did_you_mean(name, classes, otherwise=f"classes: {names}"))
        for name in by_name
        if name not in classes
    ]
    missing = [name for name in classes if name not in by_name]
    if missing:
        wrong.append(problem(key, f"has no share of {listing(missing, most=8)}", fix="give one for each class"))
    if wrong:
        raise ConfigError(wrong)
    return [by_name[name] for name in classes]


def counts_of(targets: Integers, classes: int) -> Integers:
    """Count the rows of each class, shape (classes,), classes without rows included.

    Args:
        targets: Class numbers, shape (n,); negative ones are left out.
        classes: The number of classes.
    """
    return np.bincount(targets[targets >= 0], minlength=classes)


def row_groups(names: Sequence[str], groups: Mapping[str, str] | None) -> npt.NDArray[Any] | None:
    """Return the group of each row, shape (n,): that of its sample, or the sample itself; None if every row is by itself.

    Args:
        names: The sample of each row; the same one several times where its labels are rows of their own.
        groups: The group of each sample; None: samples have none.
    """
    if groups is None and len(set(names)) == len(names):
        return None
    return np.array([(groups or {}).get(name, name) for name in names])


def stratified_folds(targets: Integers, folds: int, seed: int, groups: npt.ArrayLike | None = None) -> Integers:
    """Return a fold number for each row, with every class spread evenly over the folds, shape (n,).

    Args:
        targets: Class numbers, shape (n,).
        folds: The number of folds.
        seed: Seed of the order in which a class's rows are dealt out.
        groups: The group of each row, shape (n,): a group is dealt out whole, as one of its most frequent class; None:
            every row by itself.
    """
    if groups is not None:
        units = np.unique(np.asarray(groups), return_inverse=True)[1]
        return stratified_folds(_most_frequent(targets, units), folds, seed)[units]
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    by_class = shuffled[np.argsort(targets[shuffled], kind="stable")]
    fold = np.empty(len(targets), np.int64)
    fold[by_class] = np.arange(len(targets)) % folds
    return fold


def _most_frequent(targets: Integers, units: Integers) -> Integers:
    """Return the most frequent class of each unit, the first one among equals, shape (units,)."""
    pairs, counts = np.unique(np.column_stack([units, targets]), axis=0, return_counts=True)
    order = np.lexsort((-counts, pairs[:, 0]))
    firsts = np.unique(pairs[order, 0], return_index=True)[1]
    return np.asarray(pairs[order[firsts], 1])
