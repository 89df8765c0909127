"""Folds that one can trust: stratified, with identical images kept together, the same on every machine.

A split gives every sample of the pool a fold number. Nested cross-validation sets fold k aside and splits the rest anew
into as many folds (`mlpipe.data.variants`).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.task import Samples
from mlpipe.errors import DataError, listing, problem

TEST = -1
UNLABELLED = -2
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Which fold every sample belongs to.

    Attributes:
        fold: Shape (n,): the fold's number, `TEST` or `UNLABELLED`.
        n_folds: How many folds there are.
        validated: The folds that serve as validation data, one model each.
        stratify: Whether classes were spread evenly.
        seed: What the split was drawn with, used again for nested folds.
    """

    fold: Ints
    n_folds: int
    validated: tuple[int, ...]
    stratify: bool
    seed: int

    def as_plain(self) -> dict[str, Any]:
        """The split as plain data for JSON."""
        return {
            "fold": self.fold.tolist(),
            "n_folds": self.n_folds,
            "validated": list(self.validated),
            "stratify": self.stratify,
            "seed": self.seed,
        }

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> Split:
        """The split that `as_plain` described."""
        fold = np.array(plain["fold"], np.int64)
        return Split(fold, plain["n_folds"], tuple(plain["validated"]), plain["stratify"], plain["seed"])


def kfold(
    samples: Samples,
    *,
    folds: Annotated[int, ">= 2"] = 5,
    stratify: bool = True,
    test_fraction: Annotated[float, ">= 0", "< 1"] = 0.0,
    seed: Annotated[int, ">= 0"] = 42,
    test_seed: Annotated[int, ">= 0"] = 42,
) -> Split:
    """Equal folds of all training images; a given validation part joins the pool.

    Args:
        samples: The task's samples.
        folds: How many folds.
        stratify: Spread every class evenly: counts of a class differ by one at most between folds.
        test_fraction: Share of the training images that becomes the test part; only when the task has none.
        seed: Decides the folds.
        test_seed: Decides which images become the test part.

    Raises:
        DataError: When there are fewer training images than folds, or a test part is asked for twice.
    """
    fold, pool = _with_test(samples, test_fraction, stratify, test_seed)
    if len(pool) < folds:
        raise DataError(
            problem("split.folds", f"there are only {len(pool)} training images", got=folds, fix="use fewer")
        )
    fold[pool] = deal(
        _strata(samples, pool, stratify), _names(samples, pool), folds, seed, groups=_groups(samples, pool)
    )
    return Split(fold, folds, tuple(range(folds)), stratify, seed)


def holdout(
    samples: Samples,
    *,
    val_fraction: Annotated[float, "> 0", "< 1"] = 0.2,
    stratify: bool = True,
    test_fraction: Annotated[float, ">= 0", "< 1"] = 0.0,
    seed: Annotated[int, ">= 0"] = 42,
    test_seed: Annotated[int, ">= 0"] = 42,
) -> Split:
    """One validation part (fold 0) and one training part (fold 1), drawn at random.

    Args:
        samples: The task's samples.
        val_fraction: Share of the pool that becomes fold 0.
        stratify: Keep every class's share.
        test_fraction: Share of the training images that becomes the test part; only when the task has none.
        seed: Decides the validation part.
        test_seed: Decides the test part.

    Raises:
        DataError: When a part would be empty.
    """
    fold, pool = _with_test(samples, test_fraction, stratify, test_seed)
    chosen = _fraction(samples, pool, val_fraction, stratify, seed)
    fold[pool] = 1
    fold[chosen] = 0
    if len(chosen) == 0 or len(chosen) == len(pool):
        raise DataError(
            problem("split.val_fraction", f"leaves a part of the {len(pool)} images empty", got=val_fraction)
        )
    return Split(fold, 2, (0,), stratify, seed)


def given(samples: Samples) -> Split:
    """The validation part that came with the task is fold 0, the training part fold 1.

    Raises:
        DataError: When the task has no validation part.
    """
    fold = _outside_pool(samples)
    fold[samples.in_part("train")] = 1
    fold[samples.in_part("val")] = 0
    if not samples.in_part("val").any():
        raise DataError(
            problem("split=given", "the task has no validation part", fix="use split=kfold or split=holdout")
        )
    return Split(fold, 2, (0,), True, 0)


def deal(
    strata: Ints, names: Sequence[str], n: int, seed: int, *, groups: Sequence[str] | None = None
) -> npt.NDArray[np.int64]:
    """Give every sample one of `n` folds, each stratum spread evenly and groups kept whole.

    Samples are ordered by name, shuffled within their stratum by a generator that depends on the seed and the stratum
    only, and dealt like cards, the next stratum going on where the last one ended: counts of a stratum, and sizes of
    folds, differ by one at most. Groups of more than one sample go first, the largest first, each to the fold where
    its strata are rarest.

    Args:
        strata: Shape (n_samples,): class numbers, or zeros for no stratification.
        names: The samples' names, so that the order of rows does not matter.
        n: How many folds.
        seed: Decides the shuffle.
        groups: Samples of the same group get the same fold; None: every sample is its own.

    Returns:
        Fold numbers, shape (n_samples,).
    """
    order = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
    fold = np.full(len(names), -1, np.int64)
    levels = np.unique(strata)
    counts = np.zeros((n, len(levels)), np.int64)
    sizes = np.array([(strata == level).sum() for level in levels])
    for rows in _large_groups(order, groups, seed):
        own = np.array([(strata[rows] == level).sum() for level in levels])
        cost = (((counts + own) ** 2 - counts**2) / sizes).sum(axis=1)
        chosen = int(np.lexsort((np.arange(n), counts.sum(axis=1), cost))[0])
        fold[rows] = chosen
        counts[chosen] += own
    for column, level in enumerate(levels):
        rows = order[(strata[order] == level) & (fold[order] < 0)]
        rows = np.random.Generator(np.random.Philox(key=[seed, int(level) + 1])).permutation(rows)
        emptiest = [(int(counts[k, column]), int(counts[k].sum()), k) for k in range(n)]
        heapq.heapify(emptiest)
        for row in rows:
            count, total, chosen = emptiest[0]
            heapq.heapreplace(emptiest, (count + 1, total + 1, chosen))
            fold[row] = chosen
            counts[chosen, column] += 1
    return fold


def class_size_problems(targets: Ints, classes: Sequence[str], n_folds: int, *, nested: bool) -> list[str]:
    """A sentence for every class with too few images for its folds.

    A class of c images needs c >= n folds; nested, the c - ceil(c / n) that remain must again be at least n.

    Args:
        targets: Class numbers of the pool, shape (n,).
        classes: The classes' names.
        n_folds: How many folds.
        nested: Whether each fold is set aside and the rest split again.
    """
    counts = np.bincount(targets[targets >= 0], minlength=len(classes))
    remaining = counts - np.ceil(counts / n_folds).astype(np.int64) if nested else counts
    scheme = f"nested {n_folds} x {n_folds} folds" if nested else f"{n_folds} folds"
    fix = "use fewer folds (split.folds=N)" + (" or mode.nested=false" if nested else "") + ", or add images"
    return [
        problem(f"class {name!r}", f"{count} training images are too few for {scheme}", fix=fix)
        for name, count, left in zip(classes, counts.tolist(), remaining.tolist(), strict=True)
        if left < n_folds
    ]


def overlap(samples: Samples) -> list[tuple[str, str]]:
    """Pairs of ids (training, validation or test) whose source bytes are identical."""
    training = {
        digest: name
        for digest, name, part in zip(samples.digests, samples.ids, samples.parts, strict=True)
        if part == "train"
    }
    return [
        (training[digest], name)
        for digest, name, part in zip(samples.digests, samples.ids, samples.parts, strict=True)
        if part in ("val", "test") and digest in training
    ]


def _large_groups(order: Ints, groups: Sequence[str] | None, seed: int) -> list[Ints]:
    """Row numbers of each group with more than one sample, largest first, ties in an order drawn from the seed."""
    if groups is None:
        return []
    members: dict[str, list[int]] = defaultdict(list)
    for row in order:
        members[groups[row]].append(int(row))
    large = [np.array(rows, np.int64) for rows in members.values() if len(rows) > 1]
    drawn = np.random.Generator(np.random.Philox(key=[seed, 0])).permutation(len(large))
    return [large[index] for index in sorted(drawn, key=lambda index: -len(large[index]))]


def _outside_pool(samples: Samples) -> Ints:
    fold = np.zeros(len(samples), np.int64)
    fold[samples.in_part("test")] = TEST
    fold[samples.in_part("unlabelled")] = UNLABELLED
    return fold


def _with_test(samples: Samples, fraction: float, stratify: bool, seed: int) -> tuple[Ints, Ints]:
    """Fold numbers with test and unlabelled set, and the rows of the pool."""
    fold = _outside_pool(samples)
    pool = np.flatnonzero(samples.in_part("train", "val"))
    if fraction > 0:
        if samples.in_part("test").any():
            fix = "leave split.test_fraction out"
            raise DataError(problem("split.test_fraction", "the task has a test part already", got=fraction, fix=fix))
        chosen = _fraction(samples, pool, fraction, stratify, seed)
        fold[chosen] = TEST
        pool = np.setdiff1d(pool, chosen)
    return fold, pool


def _fraction(samples: Samples, pool: Ints, fraction: float, stratify: bool, seed: int) -> Ints:
    """The rows of a share of the pool, each stratum's share rounded, identical images kept together."""
    strata, names = _strata(samples, pool, stratify), _names(samples, pool)
    chosen: list[int] = []
    seen: dict[str, bool] = {}
    for level in np.unique(strata):
        rows = [index for index in sorted(range(len(pool)), key=names.__getitem__) if strata[index] == level]
        drawn = np.random.Generator(np.random.Philox(key=[seed, int(level) + 1])).permutation(rows)
        wanted = round(len(rows) * fraction)
        for index in drawn:
            digest = samples.digests[pool[index]]
            take = seen.setdefault(digest, wanted > 0)
            wanted -= take
            if take:
                chosen.append(int(pool[index]))
    return np.array(sorted(chosen), np.int64)


def _strata(samples: Samples, pool: Ints, stratify: bool) -> Ints:
    return samples.targets[pool] if stratify else np.zeros(len(pool), np.int64)


def _names(samples: Samples, pool: Ints) -> list[str]:
    return [samples.ids[row] for row in pool]


def _groups(samples: Samples, pool: Ints) -> list[str]:
    return [samples.digests[row] for row in pool]


def overlap_problem(pairs: Sequence[tuple[str, str]]) -> str:
    """The sentence for images that are in the training part and in another one."""
    shown = listing([f"{one} = {other}" for one, other in pairs], most=3)
    fix = "remove them, or accept them with task.allow_overlap=true"
    return problem("task", f"{len(pairs)} validation or test images are in the training part too ({shown})", fix=fix)
