"""Folds of labels, numbers and groups: even, whole, and the same whatever the order of rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.data.splits import assignment, checks, methods
from mlpipe.data.splits.methods import TEST, UNLABELLED
from mlpipe.data.task import Part, Samples


def labelled(
    targets: np.ndarray,
    groups: list[str] | None = None,
    digests: list[str] | None = None,
    parts: list[Part] | None = None,
) -> Samples:
    n = len(targets)
    return Samples(
        tuple(f"{index:05d}" for index in range(n)),
        tuple(parts or ["train"] * n),
        targets,
        tuple(digests or [f"d{index}" for index in range(n)]),
        tuple(groups or ()),
    )


@given(seed=st.integers(0, 50), n=st.integers(30, 120), folds=st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_labels_are_spread_about_evenly(seed: int, n: int, folds: int) -> None:
    labels = np.random.default_rng(seed).random((n, 4)) < [0.5, 0.3, 0.2, 0.1]
    names = [f"{index:05d}" for index in range(n)]
    fold = assignment.deal_labels(labels, names, folds, seed)
    sizes = np.bincount(fold, minlength=folds)
    assert sizes.sum() == n and sizes.max() - sizes.min() <= max(4, 0.2 * n / folds)
    for column in range(4):
        counts = np.bincount(fold[labels[:, column]], minlength=folds)
        assert counts.max() - counts.min() <= 3
    shuffled = np.random.default_rng(seed + 1).permutation(n)
    again = assignment.deal_labels(labels[shuffled], [names[row] for row in shuffled], folds, seed)
    assert (again == fold[shuffled]).all()


def test_rare_labels_are_spread_better_than_by_chance() -> None:
    labels = np.random.default_rng(3).random((500, 6)) < 0.04
    names = [f"{index:05d}" for index in range(500)]
    spread = [
        np.ptp([labels[fold == k].sum(axis=0) for k in range(5)], axis=0).sum()
        for fold in (assignment.deal_labels(labels, names, 5, 0), assignment.deal(np.zeros(500, np.int64), names, 5, 0))
    ]
    assert spread[0] <= 6 < spread[1]


@pytest.mark.parametrize("targets", [np.arange(60) % 3, (np.arange(180).reshape(60, 3) % 2).astype(float)])
def test_groups_and_copies_stay_together(targets: np.ndarray) -> None:
    groups = [f"p{index // 4}" for index in range(60)]
    # Image 59 is a copy of image 0, so that their groups are one.
    digests = [f"d{index % 59}" for index in range(60)]
    split = methods.kfold(labelled(targets, groups, digests), folds=4)
    for name in set(groups):
        assert len({int(fold) for fold, group in zip(split.fold, groups, strict=True) if group == name}) == 1
    assert split.fold[0] == split.fold[59]
    sizes = np.bincount(split.fold)
    assert len(sizes) == 4 and sizes.max() - sizes.min() <= 8


def test_numbers_are_stratified_by_size() -> None:
    values = np.random.default_rng(0).lognormal(0, 2, (200, 1))
    split = methods.kfold(labelled(values), folds=5)
    means = [np.log(values[split.fold == fold]).mean() for fold in range(5)]
    chance = methods.kfold(labelled(values), folds=5, stratify=False)
    drawn = [np.log(values[chance.fold == fold]).mean() for fold in range(5)]
    assert np.ptp(means) < 0.35 < np.ptp(drawn)


@pytest.mark.parametrize("kind", ["labels", "numbers"])
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.25, 0.33])
def test_a_test_part_of_labels_and_numbers(kind: str, fraction: float) -> None:
    rng = np.random.default_rng(1)
    targets = (rng.random((300, 3)) < 0.2).astype(float) if kind == "labels" else rng.random((300, 1))
    split = methods.kfold(labelled(targets), folds=3, test_fraction=fraction)
    assert abs((split.fold == TEST).mean() - fraction) < 0.02
    other = methods.kfold(labelled(targets), folds=3, test_fraction=fraction, test_seed=1)
    assert (other.fold != split.fold).any()


def test_rows_without_any_target_are_unlabelled() -> None:
    targets = np.array([[1.0], [np.nan], [2.0], [3.0], [4.0]])
    split = methods.kfold(labelled(targets), folds=2)
    assert split.fold[1] == UNLABELLED and (split.fold[[0, 2, 3, 4]] >= 0).all()


def test_groups_that_leave_a_fold_without_a_class() -> None:
    targets = np.array([0] * 8 + [1] * 8)
    groups = [f"p{index // 4}" for index in range(16)]
    made = labelled(targets, groups)
    split = methods.kfold(made, folds=3)
    found = checks.size_problems("classification", made, split, ["a", "b"], nested=False)
    assert found and all("because groups and given folds stay as they are" in sentence for sentence in found)


def test_labels_with_too_few_images() -> None:
    targets = np.zeros((20, 2))
    targets[:10, 0] = 1
    targets[:2, 1] = 1
    made = labelled(targets)
    (sentence,) = checks.size_problems("multilabel", made, methods.kfold(made, folds=3), ["a", "b"], nested=False)
    assert sentence.startswith("label 'b': 2 training images with it are too few for 3 folds")


def test_groups_are_counted_once_however_many_classes_there_are() -> None:
    """Every group was compared with every class: 5,000 groups of 1,000 classes took 13 seconds."""

    class Counting(np.ndarray):  # type: ignore[type-arg]
        compared = 0

        def __eq__(self, other: object) -> np.ndarray:  # type: ignore[override, type-arg]
            Counting.compared += 1
            return np.asarray(self) == other

    strata = (np.arange(400) % 20).view(Counting)
    names, groups = [f"{index:05d}" for index in range(400)], [f"g{index // 4}" for index in range(400)]
    fold = assignment.deal(strata, names, 5, 0, groups=groups)  # type: ignore[arg-type]
    assert Counting.compared <= 20 and (np.bincount(fold) == 80).all()
