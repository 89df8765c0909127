"""Rows of a task that one model uses: training, validation, test and unlabelled rows, plain or nested.

A nested variant `name+nested?k` sets fold k aside as test data and splits the other folds anew into as many folds, of
which the first is for validation and the others for training (the mode reference's nested cross-validation).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mlpipe import kinds
from mlpipe.data.splits.methods import TEST, UNLABELLED, Split, inner_folds
from mlpipe.data.task import Task
from mlpipe.errors import DataError, listing, problem

Rows = npt.NDArray[np.int64]

# The fold number of a model that trains on all folds.
REFIT = -1
_REFIT_DRAWS = 999


@dataclass(frozen=True)
class View:
    """Rows of a task that one model trains on, validates on, is tested on and predicts.

    Attributes:
        task: The variant's name, such as `digits` or `digits+nested?2`.
        fold: The fold's number k, or `REFIT`.
        train: Rows of the task's samples; so are the other three.
        val: Rows to validate on.
        test: Rows to test on: the task's test part, or fold k when nested.
        unlabelled: Rows without a target; empty when nested.
    """

    task: str
    fold: int
    train: Rows
    val: Rows
    test: Rows
    unlabelled: Rows

    @property
    def name(self) -> str:
        """The name in sentences: `fold 2`, or `refit`."""
        return fold_name(self.fold)

    @property
    def draws(self) -> int:
        """Return the number that random draws use besides the seed: the fold's number, and a separate one for a refit."""
        return _REFIT_DRAWS if self.fold == REFIT else self.fold

    def without(self, unreadable: npt.NDArray[np.bool_]) -> View:
        """Return the view without the rows of unreadable images; `unreadable` has one flag per sample."""

        def readable(rows: Rows) -> Rows:
            return rows[~unreadable[rows]]

        return replace(
            self,
            train=readable(self.train),
            val=readable(self.val),
            test=readable(self.test),
            unlabelled=readable(self.unlabelled),
        )

    def rows(self) -> dict[str, Rows]:
        """Return the four sets of rows by the name of their split."""
        return {"train": self.train, "val": self.val, "test": self.test, "unlabelled": self.unlabelled}


def fold_name(fold: int) -> str:
    """Return the name of a fold in sentences and names of steps: `fold 2`, or `refit`."""
    return "refit" if fold == REFIT else f"fold {fold}"


def plain(task: Task, split: Split, fold: int) -> View:
    """Train on all folds but one (in time: on the folds before it), validate on that one, test on the task's test part."""
    split, own = split.of_fold(fold)
    pool = np.flatnonzero(split.fold >= 0)
    of_pool = split.fold[pool]
    learned = (of_pool < own) | (of_pool >= split.n_folds) if split.dealing == "time" else of_pool != own
    return View(
        task.name,
        fold,
        train=_resampled(task, pool[learned], fold),
        val=pool[split.fold[pool] == own],
        test=np.flatnonzero(split.fold == TEST),
        unlabelled=np.flatnonzero(split.fold == UNLABELLED),
    )


def whole(task: Task, split: Split) -> View:
    """Train on all folds, including those that are never validated, without validation; the test part is as for a fold.

    With folds in time it trains on all blocks, including the first and the last.
    """
    learned = (split.fold >= 0) & ~task.samples.in_part("test")
    none = np.empty(0, np.int64)
    view = View(
        task.name,
        REFIT,
        train=np.flatnonzero(learned),
        val=none,
        test=np.flatnonzero(split.fold == TEST),
        unlabelled=np.flatnonzero(split.fold == UNLABELLED),
    )
    return replace(view, train=_resampled(task, view.train, view.draws))


def nested(task: Task, split: Split, fold: int) -> View:
    """Set one fold aside as test data, split the others anew into as many folds, and validate on the first of them."""
    split, own = split.of_fold(fold)
    inner = inner_folds(task.samples, split, own)
    return View(
        f"{task.name}+nested?{fold}",
        fold,
        train=_resampled(task, np.flatnonzero(inner > 0), fold),
        val=np.flatnonzero(inner == 0),
        test=np.flatnonzero(split.fold == own),
        unlabelled=np.empty(0, np.int64),
    )


def check(task: Task, view: View, *, is_judged: bool = True, is_lenient: bool = False) -> None:
    """Refuse a view in which a class has no training image, or no row is left to validate on.

    Args:
        task: The task.
        view: The rows of one of its folds.
        is_judged: Whether the split gives the fold something to validate on.
        is_lenient: Whether a fold may lack a class.

    Raises:
        DataError: With the names of the classes.
    """
    counts = task.class_counts(view.train)
    empty = [name for name, count in zip(task.classes, counts, strict=True) if count == 0]
    # Most masks lack most classes of a task: a class that is missing in a fold does not prevent training on the others.
    kind = kinds.of(task.kind)
    if empty and not is_lenient and not kind.is_dense:
        wrong = f"no readable training image is left {kind.words.OF_OUTPUT} {listing(empty)}"
        fix = "add images, use fewer folds, or accept it with split.rare=allow"
        raise DataError(problem(f"{view.task} {view.name}", wrong, fix=fix))
    if is_judged and len(view.val) == 0:
        raise DataError(problem(f"{view.task} {view.name}", "no validation image is left", fix="use fewer folds"))


def _resampled(task: Task, train: Rows, fold: int) -> Rows:
    """Resample the training rows with replacement if a tag asks for it (Efron 1979); validation rows stay as they are."""
    for seed in task.bootstraps:
        generator = np.random.Generator(np.random.Philox(key=[seed, fold]))
        train = np.sort(generator.choice(train, len(train)))
    return train
