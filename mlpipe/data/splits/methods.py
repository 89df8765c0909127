"""Split methods: stratified folds that keep groups and identical images together, the same on every machine.

A split gives every sample of the pool a fold number. Nested cross-validation sets fold k aside and splits the rest anew
into as many folds (`mlpipe.data.splits.variants`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from mlpipe.data.splits import mml as mml_split
from mlpipe.data.splits import shares
from mlpipe.data.splits import shuffled as shuffled_split
from mlpipe.data.splits.assignment import Ints, deal_rows
from mlpipe.data.task import Samples
from mlpipe.errors import DataError, counted, listing, problem

TEST = -1
UNLABELLED = -2
# The share of the samples before a time fold that is used for validation in nested cross-validation.
_LAST = 0.2
Rare = Literal["refuse", "allow"]
Dealing = Literal["even", "mml", "group", "time"]


@dataclass(frozen=True)
class Split:
    """The fold of every sample.

    Attributes:
        fold: Shape (n,): the fold's number, `TEST` or `UNLABELLED`.
        n_folds: The number of folds.
        validated: The folds that are used as validation data, one model each.
        stratify: Whether classes were spread evenly.
        seed: The seed of the split, used again for nested folds.
        dealing: How samples were assigned to folds, used again for nested folds: `even` (`mlpipe.data.splits.assignment`),
            `mml`, by `group`, or forward in `time`: a fold trains only on the folds before it.
        is_given: Whether the folds came with the task, so that missing classes are the user's decision.
        rare: Whether classes or labels that are too rare for the folds are refused; affects no fold and is not stored.
        repeats: The fold numbers of further repeats, each as `fold`. Numbering continues: the second repeat of k folds has
            the folds k to 2 k - 1.
    """

    fold: Ints
    n_folds: int
    validated: tuple[int, ...]
    stratify: bool
    seed: int
    dealing: Dealing = "even"
    is_given: bool = False
    rare: Rare = "refuse"
    repeats: tuple[Ints, ...] = ()

    @property
    def can_nest(self) -> bool:
        """Return whether each fold can be set aside and its training samples be split again."""
        return len(self.validated) == self.n_folds * (1 + len(self.repeats)) or self.dealing == "time"

    def each(self) -> list[Split]:
        """Return the repeats as separate splits with folds numbered from 0; a split without repeats returns itself."""
        if not self.repeats:
            return [self]
        own = replace(self, validated=tuple(range(self.n_folds)), repeats=())
        return [
            replace(own, fold=fold, seed=self.seed + number) for number, fold in enumerate((self.fold, *self.repeats))
        ]

    def of_fold(self, fold: int) -> tuple[Split, int]:
        """Return the repeat that a fold belongs to, as a separate split, and the fold's number in it."""
        if not self.repeats:
            return self, fold
        number, own = divmod(fold, self.n_folds)
        return self.each()[number], own

    def as_plain(self) -> dict[str, Any]:
        """Return the split as plain data for JSON."""
        return {
            "fold": self.fold.tolist(),
            "n_folds": self.n_folds,
            "validated": list(self.validated),
            "stratify": self.stratify,
            "seed": self.seed,
            "dealing": self.dealing,
            **({"is_given": True} if self.is_given else {}),
            **({"repeats": [fold.tolist() for fold in self.repeats]} if self.repeats else {}),
        }

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> Split:
        """Return the split that `as_plain` described."""
        fold = np.array(plain["fold"], np.int64)
        dealing, is_given = plain.get("dealing", "even"), plain.get("is_given", False)
        validated = tuple(plain["validated"])
        repeats = tuple(np.array(repeat, np.int64) for repeat in plain.get("repeats", ()))
        return Split(
            fold, plain["n_folds"], validated, plain["stratify"], plain["seed"], dealing, is_given, repeats=repeats
        )


def kfold(
    samples: Samples,
    *,
    folds: Annotated[int, ">= 2"] = 5,
    stratify: bool = True,
    test_fraction: Annotated[float, ">= 0", "< 1"] = 0.0,
    seed: Annotated[int, ">= 0"] = 42,
    test_seed: Annotated[int, ">= 0"] = 42,
    rare: Rare = "refuse",
    repeats: Annotated[int, ">= 1"] = 1,
) -> Split:
    """Equal folds of all training samples; the task's own validation part joins the pool.

    A task that came with its own folds keeps them; `folds`, `stratify` and `seed` then have no effect.

    Args:
        samples: The task's samples.
        folds: The number of folds.
        stratify: Spread every class evenly: counts of a class differ by at most one between folds.
        test_fraction: The share of the training samples that becomes the test part; only if the task has none.
        seed: The seed of the folds.
        test_seed: The seed of the test part.
        rare: Refuse classes and labels that are too rare to occur in every part, or allow them and report what is missing.
        repeats: How often the folds are drawn, each time with the next seed; the test part stays the same.

    Raises:
        DataError: If there are fewer training samples than folds, a test part is requested but the task has one, or
            folds that came with the task would be repeated.
    """
    fold, pool = with_test(samples, test_fraction, stratify, test_seed, others=folds)
    if samples.folds is not None:
        if repeats > 1:
            wrong = "the task came with its folds, which are the same each time"
            raise DataError(problem("split.repeats", wrong, got=repeats, fix="leave it out"))
        return _given_folds(samples, fold, samples.folds, rare)
    check_enough(pool, folds)
    dealt = []
    for number in range(repeats):
        again = fold.copy()
        again[pool] = deal_rows(samples.spread, pool, folds, seed + number, stratify=stratify)
        dealt.append(again)
    validated = tuple(range(folds * repeats))
    return Split(dealt[0], folds, validated, stratify, seed, rare=rare, repeats=tuple(dealt[1:]))


def holdout(
    samples: Samples,
    *,
    val_fraction: Annotated[float, "> 0", "< 1"] = 0.2,
    stratify: bool = True,
    test_fraction: Annotated[float, ">= 0", "< 1"] = 0.0,
    seed: Annotated[int, ">= 0"] = 42,
    test_seed: Annotated[int, ">= 0"] = 42,
    rare: Rare = "refuse",
) -> Split:
    """One validation part (fold 0) and one training part (fold 1), drawn at random.

    Args:
        samples: The task's samples.
        val_fraction: The share of the pool that becomes fold 0.
        stratify: Keep the share of every class.
        test_fraction: The share of the training samples that becomes the test part; only if the task has none.
        seed: The seed of the validation part.
        test_seed: The seed of the test part.
        rare: As for `kfold`.

    Raises:
        DataError: If a part would be empty.
    """
    fold, pool = with_test(samples, test_fraction, stratify, test_seed, others=2)
    chosen = shares.of_samples(samples, pool, val_fraction, stratify, seed, key="split.val_fraction", others=1)
    fold[pool] = 1
    fold[chosen] = 0
    return Split(fold, 2, (0,), stratify, seed, rare=rare)


def mml(
    samples: Samples,
    *,
    folds: Annotated[int, ">= 2"] = 5,
    stratify: bool = True,
    test_fraction: Annotated[float, ">= 0", "< 1"] = 0.0,
    seed: Annotated[int, ">= 1"] = 42,
    test_seed: Annotated[int, ">= 0"] = 42,
    rare: Rare = "refuse",
) -> Split:
    """The folds of mml-core 1.0, number for number, for samples in the order of their ids.

    Identical images may be in several folds, as in mml-core. Only classes are stratified.

    Args:
        samples: The task's samples.
        folds: The number of folds.
        stratify: Split each class separately (mml-core's `ensure_balancing`).
        test_fraction: As for `kfold`.
        seed: The seed of the folds; 42 in mml-core.
        test_seed: As for `kfold`.
        rare: As for `kfold`.

    Raises:
        DataError: If the task has groups, which these folds would split, or there are fewer images than folds.
    """
    if samples.groups:
        fix = "use split=kfold, or leave the groups out (task.group=null)"
        raise DataError(problem("split=mml", "tears groups, and the task has some", fix=fix))
    fold, pool = with_test(samples, test_fraction, stratify, test_seed, others=folds)
    if samples.folds is not None:
        return _given_folds(samples, fold, samples.folds, rare)
    check_enough(pool, folds)
    if samples.strata and stratify:
        wrong = "spreads classes, and the task has strata of its own"
        raise DataError(problem("split=mml", wrong, fix="use split=kfold or split=shuffled"))
    fold[pool] = mml_split.fold_numbers(samples.targets[pool], folds, seed, stratify=stratify)
    return Split(fold, folds, tuple(range(folds)), stratify, seed, "mml", rare=rare)


def shuffled(
    samples: Samples,
    *,
    folds: Annotated[int, ">= 1"] = 5,
    stratify: bool = False,
    val_fraction: Annotated[float, "> 0", "< 1"] = 0.2,
    test_fraction: Annotated[float, ">= 0", "< 1"] = 0.0,
    seed: Annotated[int, ">= 0"] = 33,
    test_seed: Annotated[int, ">= 0"] = 123,
    folds_file: str | None = None,
    test_file: str | None = None,
    rare: Rare = "refuse",
) -> Split:
    """Folds of shuffled rows, drawn as by scikit-learn; identical images may be separated, and groups are refused.

    Args:
        samples: The task's samples.
        folds: The number of folds; 1: one validation part of `val_fraction`.
        stratify: Keep the share of every class (or set of labels).
        val_fraction: The share of the validation part, for a single fold.
        test_fraction: The share of the training samples that becomes the test part; only if the task has none.
        seed: The seed of the folds.
        test_seed: The seed of the test part.
        folds_file: A YAML list of (training rows, validation rows) for each fold, numbered without the test rows.
        test_file: A YAML pair of (training rows, test rows).
        rare: As for `kfold`.

    Raises:
        DataError: If there are too few images, the task has groups, or a file does not fit.
    """
    if samples.groups:
        raise DataError(problem("split=shuffled", "tears groups, and the task has some", fix="use split=kfold"))
    spread = samples.spread.targets
    # Masks of a single class, such as all background, are also spread evenly.
    if stratify and spread.ndim == 2 and spread.dtype.kind == "f" and not (_are_labels(samples) or samples.masks):
        raise DataError(problem("split.stratify", "is for classes, labels and masks", fix="add split.stratify=false"))
    fold, pool = with_test(samples, 0.0, stratify, test_seed)
    if samples.folds is not None:
        return _given_folds(samples, fold, samples.folds, rare)
    file_rows = shuffled_split.read_rows(Path(test_file), "split.test_file") if test_file else None
    if file_rows is not None or test_fraction > 0:
        if samples.in_part("test").any():
            fix = "leave split.test_fraction and split.test_file out"
            raise DataError(problem("split.test_fraction", "the task has a test part already", fix=fix))
        pool = _shuffled_test(samples, fold, pool, file_rows, test_fraction, test_seed, stratify)
    if folds_file:
        parts = _file_parts(Path(folds_file), len(pool))
    else:
        check_enough(pool, max(folds, 2))
        strata = shuffled_split.strata_of(spread[pool], max(folds, 2)) if stratify else None
        try:
            parts = shuffled_split.validation_parts(len(pool), folds, val_fraction, seed, strata)
        except ValueError as error:
            if folds == 1:
                raise _draw_error("split.val_fraction", val_fraction, stratify, error) from error
            raise DataError(problem("split.folds", f"cannot be made ({error})", got=folds, fix="use fewer")) from error
    fold[pool] = len(parts)
    for number, part in enumerate(parts):
        fold[pool[part]] = number
    if len(parts) == 1:
        return Split(fold, 2, (0,), stratify, seed, rare=rare)
    return Split(fold, int(fold.max()) + 1, tuple(range(len(parts))), stratify, seed, rare=rare)


def _file_parts(path: Path, count: int) -> list[Ints]:
    """Return the validation rows of each fold in a file, out of `count` rows.

    Raises:
        DataError: If a row does not exist or is in two parts, or a part leaves nothing to validate or train on.
    """
    pairs = shuffled_split.read_rows(path, "split.folds_file")
    parts = [pair[1] for pair in pairs if len(pair) > 1 and _are_rows(pair[1], count) and 0 < len(pair[1]) < count]
    if len(parts) < len(pairs) or len({row for part in parts for row in part}) != sum(map(len, parts)):
        raise DataError(problem("split.folds_file", f"does not fit the {counted(count, 'image')}", fix="remove it"))
    return [np.asarray(part, np.int64) for part in parts]


def _are_rows(part: Any, count: int) -> bool:
    """Return whether a value from a file is a list of row numbers below `count`."""
    return isinstance(part, list) and all(type(row) is int and 0 <= row < count for row in part)


def _draw_error(key: str, fraction: float, stratify: bool, error: ValueError) -> DataError:
    """Return the error for a share that scikit-learn cannot draw."""
    fix = (
        "use a larger share, add images of the rarest class, or use split.stratify=false" if stratify else "add images"
    )
    return DataError(problem(key, f"cannot be drawn ({error})", got=fraction, fix=fix))


def _are_labels(samples: Samples) -> bool:
    known = samples.targets[~np.isnan(samples.targets)]
    return bool(np.isin(known, (0, 1)).all())


def _shuffled_test(
    samples: Samples, fold: Ints, pool: Ints, rows: list[Any] | None, fraction: float, seed: int, stratify: bool
) -> Ints:
    """Mark a test part in `fold`; return the rest of the pool in the order of the shuffle."""
    if rows is None:
        strata = shuffled_split.strata_of(samples.spread.targets[pool], 2) if stratify else None
        try:
            stay, test = shuffled_split.test_rows(len(pool), fraction, seed, strata)
        except ValueError as error:
            raise _draw_error("split.test_fraction", fraction, stratify, error) from error
    else:
        is_pair = len(rows) > 1 and all(_are_rows(part, len(pool)) for part in rows[:2])
        stay, test = (np.asarray(part, np.int64) for part in (rows[:2] if is_pair else ([], [])))
    if sorted([*stay.tolist(), *test.tolist()]) != list(range(len(pool))):
        raise DataError(problem("split.test_file", f"does not fit the {counted(len(pool), 'image')}", fix="remove it"))
    fold[pool[test]] = TEST
    return np.asarray(pool[stay], np.int64)


def with_extra(samples: Samples, split: Split) -> Split:
    """Return the split with the extra part in a fold of its own that is not validated: every other fold trains on it.

    Args:
        samples: The task's samples.
        split: The split of the other samples.
    """
    extra = samples.in_part("extra") & samples.labelled
    if not extra.any():
        return split
    again = tuple(np.where(extra, split.n_folds, repeat) for repeat in split.repeats)
    return replace(split, fold=np.where(extra, split.n_folds, split.fold), repeats=again)


def inner_folds(samples: Samples, split: Split, fold: int) -> Ints:
    """Return the nested folds of the pool if one fold is set aside, shape (n,): -1 outside of the pool and in that fold."""
    pool = np.flatnonzero((split.fold >= 0) & (split.fold < split.n_folds))
    inner = np.full(len(samples), -1, np.int64)
    inner[split.fold >= split.n_folds] = split.n_folds
    if split.dealing == "mml":
        targets = samples.targets[pool]
        inner[pool] = mml_split.nested_fold_numbers(targets, split.n_folds, split.seed, fold, stratify=split.stratify)
        return inner
    if split.dealing == "time":
        earlier = pool[split.fold[pool] < fold]
        assert samples.orders is not None
        late = samples.orders[earlier] > np.quantile(samples.orders[earlier], 1 - _LAST, method="lower")
        if not late.any():
            late = samples.orders[earlier] == samples.orders[earlier].max()
        inner[earlier] = np.where(late, 0, 1)
        return inner
    others = pool[split.fold[pool] != fold]
    if split.dealing == "group":
        # One inner fold per remaining group.
        inner[others] = np.unique(split.fold[others], return_inverse=True)[1].reshape(-1)
        return inner
    inner[others] = deal_rows(samples.spread, others, split.n_folds, split.seed, stratify=split.stratify)
    return inner


def given(samples: Samples, *, rare: Rare = "refuse") -> Split:
    """The folds that came with the task; without them, its validation part is fold 0 and its training part is fold 1.

    Args:
        samples: The task's samples.
        rare: As for `kfold`; a validation part without a class is allowed anyway.

    Raises:
        DataError: If the task has neither, or some training samples have no fold.
    """
    fold = _outside_pool(samples)
    fold[samples.in_part("train", "val") & ~samples.labelled] = UNLABELLED
    if samples.folds is not None:
        return _given_folds(samples, fold, samples.folds, rare)
    fold[samples.in_part("train") & samples.labelled] = 1
    fold[samples.in_part("val") & samples.labelled] = 0
    if not samples.in_part("val").any():
        raise DataError(
            problem("split=given", "the task has no validation part", fix="use split=kfold or split=holdout")
        )
    return Split(fold, 2, (0,), True, 0, is_given=True, rare=rare)


def check_enough(pool: Ints, folds: int) -> None:
    """Require at least as many training samples as folds.

    Raises:
        DataError: If there are fewer.
    """
    if len(pool) < folds:
        wrong = f"there {'is' if len(pool) == 1 else 'are'} only {counted(len(pool), 'training image')}"
        raise DataError(problem("split.folds", wrong, got=folds, fix="use fewer"))


def _outside_pool(samples: Samples) -> Ints:
    fold = np.zeros(len(samples), np.int64)
    fold[samples.in_part("test")] = TEST
    fold[samples.in_part("unlabelled", "extra")] = UNLABELLED
    return fold


def with_test(samples: Samples, fraction: float, stratify: bool, seed: int, *, others: int = 1) -> tuple[Ints, Ints]:
    """Return fold numbers with test and unlabelled rows marked, and the rows of the pool."""
    fold = _outside_pool(samples)
    pool = np.flatnonzero(samples.in_part("train", "val"))
    pool = pool[samples.labelled[pool]]
    fold[np.flatnonzero(samples.in_part("train", "val") & ~samples.labelled)] = UNLABELLED
    if fraction > 0:
        refuse_second_test(samples, fraction)
        chosen = shares.of_samples(samples, pool, fraction, stratify, seed, key="split.test_fraction", others=others)
        fold[chosen] = TEST
        pool = np.setdiff1d(pool, chosen)
    return fold, pool


def refuse_second_test(samples: Samples, fraction: float) -> None:
    """Refuse to draw a test part if the task already has one.

    Raises:
        DataError: If it has one.
    """
    if samples.in_part("test").any():
        fix = "leave split.test_fraction out"
        raise DataError(problem("split.test_fraction", "the task has a test part already", got=fraction, fix=fix))


def _given_folds(samples: Samples, fold: Ints, folds: Ints, rare: Rare) -> Split:
    pool = fold >= 0
    without = [samples.ids[row] for row in np.flatnonzero(pool & (folds < 0))]
    if without:
        names = listing(without, most=3)
        wrong = f"{counted(len(without), 'training image has', 'training images have')} no fold ({names})"
        raise DataError(problem("split=given", wrong, fix="give every training row a fold"))
    fold[pool] = folds[pool]
    n = int(folds[pool].max()) + 1
    empty = [number for number in range(n) if not (folds[pool] == number).any()]
    if n < 2 or empty:
        wrong = f"fold {listing(empty)} has no training image" if empty else "there is a single fold"
        raise DataError(problem("split=given", wrong, fix="number the folds 0, 1, 2, ..."))
    return Split(fold, n, tuple(range(n)), True, 0, is_given=True, rare=rare)


def on_test(samples: Samples, *, rare: Rare = "refuse") -> Split:
    """All training samples (and those of a validation part) in fold 1, and the test part in fold 0, which is validated.

    A task without a test part is trained without evaluation. Scores on the test part stay unbiased only if nothing is
    chosen by them: use the weights of the last epoch, without early stopping or a plateau schedule.

    Args:
        samples: The task's samples.
        rare: As for `mlpipe.data.splits.methods.kfold`.
    """
    fold = np.full(len(samples), UNLABELLED, np.int64)
    fold[samples.in_part("train", "val") & samples.labelled] = 1
    fold[samples.in_part("test") & samples.labelled] = 0
    return Split(fold, 2, (0,), True, 0, is_given=True, rare=rare)
