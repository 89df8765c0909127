"""Folds and a test part by shuffling row numbers, as scikit-learn and Python's `random` do for a given seed.

Rows are numbered in the samples' order; identical images and groups are not kept together.
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
    """The rows that stay and the rows of a test part, in the order in which they were drawn.

    Args:
        n: How many rows there are.
        fraction: The test part's share; `round(n - n * fraction)` rows stay.
        seed: Of Python's `random.shuffle`, or of StratifiedShuffleSplit where strata are given.
        strata: A number for each row, whose shares are kept; None: rows are shuffled.
    """
    if strata is not None:
        # Imported late everywhere here: it brings pandas, which only those who draw such a split should wait for.
        from sklearn.model_selection import StratifiedShuffleSplit

        splitter = StratifiedShuffleSplit(4, test_size=fraction, random_state=seed)
        stay, test = next(iter(splitter.split(np.zeros(n), strata)))
        return stay.astype(np.int64), test.astype(np.int64)
    rows = list(range(n))
    random.Random(seed).shuffle(rows)
    cut = round(n - n * fraction)
    return np.array(rows[:cut], np.int64), np.array(rows[cut:], np.int64)


def validation_parts(n: int, folds: int, val_fraction: float, seed: int, strata: Ints | None = None) -> list[Ints]:
    """The validation rows of each fold: (Stratified)KFold, or train_test_split for a single fold.

    Args:
        n: How many rows there are.
        folds: How many folds.
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
    """A number for each row: its class, or its set of labels; sets of fewer than `seldom` rows make one together.

    Args:
        targets: As `mlpipe.data.task.Samples.targets` for classes or labels.
        seldom: How many rows a set needs for a number of its own.
    """
    if targets.ndim == 1:
        return targets.astype(np.int64)
    names = ["".join("1" if value == 1 else "0" for value in row) for row in targets]
    count = Counter(names)
    common_names = sorted(name for name in count if count[name] >= seldom)
    numbers = {name: number for number, name in enumerate(common_names)}
    return np.array([numbers.get(name, len(numbers)) for name in names], np.int64)


def read_rows(path: Path, key: str) -> list[Any]:
    """The lists of row numbers of a split that was written to a YAML file.

    Args:
        path: The file.
        key: The configuration's key that names it, for the sentence.

    Raises:
        DataError: When it cannot be read or holds no lists.
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
