"""Folds and a test part from shuffled row numbers, as scikit-learn and Python's `random` draw them for a given seed.

Rows are numbered in the order of the samples; identical images and groups are not kept together.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import files
from mlpipe.errors import DataError, problem

Ints = npt.NDArray[np.int64]


def test_rows(n: int, fraction: float, seed: int, strata: Ints | None = None) -> tuple[Ints, Ints]:
    """Return the remaining rows and the rows of a test part, in the order in which they were drawn.

    Args:
        n: The number of rows.
        fraction: The test part's share; `round(n - n * fraction)` rows remain.
        seed: The seed of Python's `random.shuffle`, or of StratifiedShuffleSplit if strata are given.
        strata: A number for each row, whose shares are kept; None: rows are shuffled.
    """
    if strata is not None:
        # All imports of scikit-learn here are late: it imports pandas, which is slow and only needed for such a split.
        from sklearn.model_selection import StratifiedShuffleSplit

        splitter = StratifiedShuffleSplit(4, test_size=fraction, random_state=seed)
        stay, test = next(iter(splitter.split(np.zeros(n), strata)))
        return stay.astype(np.int64), test.astype(np.int64)
    rows = list(range(n))
    random.Random(seed).shuffle(rows)
    cut = round(n - n * fraction)
    return np.array(rows[:cut], np.int64), np.array(rows[cut:], np.int64)


def validation_parts(n: int, folds: int, val_fraction: float, seed: int, strata: Ints | None = None) -> list[Ints]:
    """Return the validation rows of each fold: (Stratified)KFold, or train_test_split for a single fold.

    Args:
        n: The number of rows.
        folds: The number of folds.
        val_fraction: The validation part's share, for a single fold.
        seed: scikit-learn's `random_state`.
        strata: A number for each row, whose shares are kept.
    """
    from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

    rows = np.arange(n)
    if folds == 1:
        _, val = train_test_split(rows, test_size=val_fraction, random_state=seed, shuffle=True, stratify=strata)
        return [np.asarray(val, np.int64)]
    splitter = (KFold if strata is None else StratifiedKFold)(folds, shuffle=True, random_state=seed)
    return [val.astype(np.int64) for _, val in splitter.split(rows, strata)]


def strata_of(targets: npt.NDArray[Any], seldom: int) -> Ints:
    """Return a number for each row: its class, or its set of labels; sets with fewer than `seldom` rows share one number.

    Args:
        targets: As `mlpipe.data.task.Samples.targets` for classes or labels.
        seldom: The minimum number of rows for a set to get its own number.
    """
    if targets.ndim == 1:
        return targets.astype(np.int64)
    names = ["".join("1" if value == 1 else "0" for value in row) for row in targets]
    count = Counter(names)
    common_names = sorted(name for name in count if count[name] >= seldom)
    numbers = {name: number for number, name in enumerate(common_names)}
    return np.array([numbers.get(name, len(numbers)) for name in names], np.int64)


def read_rows(path: Path, key: str) -> list[Any]:
    """Read the lists of row numbers of a split from a YAML file.

    Args:
        path: The file.
        key: The configuration key that names it, for the error message.

    Raises:
        DataError: If it cannot be read or holds no lists.
    """
    try:
        lists = files.read_yaml(path)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        fix = "remove it to split anew"
        raise DataError(problem(key, f"cannot be read ({reason})", got=str(path), fix=fix)) from error
    if not isinstance(lists, list) or not lists or not all(isinstance(part, list) for part in lists):
        raise DataError(problem(key, "must hold lists of row numbers", got=str(path), fix="remove it to split anew"))
    return lists
