"""Folds as mml-core draws them, number for number, so that results of both programs can be compared fold by fold.

Samples of each class are permuted by torch's generator and cut into parts: fold 0 gets the rounded n-th part, the others
share the rest as evenly as possible, larger ones first. Then NumPy's generator shuffles each fold, which matters
only where the order within a fold affects a later draw, as for nested folds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def fold_numbers(targets: npt.NDArray[Any], n: int, seed: int, *, stratify: bool) -> Ints:
    """Return the fold of each sample, shape (samples,).

    Args:
        targets: Class numbers, shape (samples,), of samples in the order of their ids; other targets are not stratified.
        n: The number of folds.
        seed: The seed, 42 in mml-core.
        stratify: Split each class by itself.
    """
    return _fold_by_row(ordered_folds(targets, n, seed, stratify=stratify), len(targets))


def nested_fold_numbers(targets: npt.NDArray[Any], n: int, seed: int, fold: int, *, stratify: bool) -> Ints:
    """Return the inner fold of each sample outside of one fold, shape (samples,), -1 for the samples of that fold.

    Args:
        targets: As for `fold_numbers`.
        n: The number of folds, outer and inner.
        seed: The seed of both.
        fold: The fold that is set aside.
        stratify: Split each class by itself.
    """
    outer = ordered_folds(targets, n, seed, stratify=stratify)
    pool = np.concatenate([rows for number, rows in enumerate(outer) if number != fold])
    inner = [pool[places] for places in ordered_folds(targets[pool], n, seed, stratify=stratify)]
    return _fold_by_row(inner, len(targets))


def ordered_folds(targets: npt.NDArray[Any], n: int, seed: int, *, stratify: bool) -> list[Ints]:
    """Return the positions of the samples in each fold, in the order in which mml-core stores them."""
    # Only this split needs torch, and `mml info` must not import it.
    import torch

    classes = targets if stratify and targets.ndim == 1 else np.zeros(len(targets), np.int64)
    parts: list[list[Ints]] = [[] for _ in range(n)]
    row_counts = np.unique(classes, return_counts=True)[1]
    for pool in np.split(np.argsort(classes, kind="stable"), np.cumsum(row_counts))[:-1]:
        drawn = pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed)).numpy()]
        first = round(1 / n * len(pool))
        least, more = divmod(len(pool) - first, n - 1)
        sizes = [first, *(least + (number < more) for number in range(n - 1))]
        for part, rows in zip(parts, np.split(drawn, np.cumsum(sizes)[:-1]), strict=True):
            part.append(rows)
    folds = [np.concatenate(part) for part in parts]
    for number, rows in enumerate(folds):
        # A list, as in mml-core: NumPy's draws may depend on the type of the shuffled sequence.
        listed = rows.tolist()
        np.random.default_rng(3 * (seed - 1) + number).shuffle(listed)
        folds[number] = np.array(listed, np.int64)
    return folds


def _fold_by_row(folds: list[Ints], n_samples: int) -> Ints:
    numbers = np.full(n_samples, -1, np.int64)
    for number, rows in enumerate(folds):
        numbers[rows] = number
    return numbers
