"""A share is one of samples: as near as half the largest group, with classes and labels as near as groups allow."""

from __future__ import annotations

import dataclasses
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.data.splits import methods, shares
from mlpipe.data.splits.methods import TEST
from mlpipe.data.task import Samples
from mlpipe.errors import DataError
from tests.data.samples import make_samples

few = settings(max_examples=30, deadline=None, derandomize=True)
fractions = st.sampled_from([0.02, 0.1, 0.2, 0.25, 0.3, 0.5, 0.8])
seeds = st.integers(0, 2**32)


@st.composite
def group_sizes(draw: st.DrawFn) -> list[int]:
    """Few large groups, many small ones, one giant, single samples, geometric sizes."""
    kind = draw(st.sampled_from(["few", "many", "giant", "single", "geometric"]))
    if kind == "few":
        return draw(st.lists(st.integers(8, 40), min_size=3, max_size=8))
    if kind == "single":
        return [1] * draw(st.integers(8, 60))
    if kind == "geometric":
        return [2**power for power in draw(st.lists(st.integers(0, 6), min_size=4, max_size=16))]
    small = draw(st.lists(st.integers(1, 5), min_size=8, max_size=40))
    return small if kind == "many" else [draw(st.integers(60, 200)), *small]


def grouped(sizes: list[int], targets: npt.ArrayLike) -> Samples:
    names = np.repeat([f"g{number}" for number in range(len(sizes))], sizes)
    made = make_samples([0] * len(names))
    return dataclasses.replace(made, groups=tuple(names.tolist()), targets=np.asarray(targets))


@st.composite
def tasks(draw: st.DrawFn) -> tuple[Samples, list[int]]:
    sizes = draw(group_sizes())
    rng, n = np.random.default_rng(draw(st.integers(0, 99))), sum(sizes)
    kind = draw(st.sampled_from(["classes", "classes of groups", "labels", "numbers"]))
    targets = {
        "classes": rng.integers(0, 3, n),
        "classes of groups": np.repeat(rng.integers(0, 3, len(sizes)), sizes),
        "labels": (rng.random((n, 4)) < [0.5, 0.3, 0.1, 0.02]).astype(np.float64),
        "numbers": rng.normal(size=(n, 2)),
    }[kind]
    return grouped(sizes, targets), sizes


def check(taken: npt.NDArray[np.bool_], fraction: float, samples: Samples, sizes: list[int]) -> None:
    off = abs(int(taken.sum()) - fraction * len(samples))
    parts = [int(taken.sum()), int((~taken).sum())]
    assert parts[0] > 0 and parts[1] > 0
    # Where that would leave a part empty, it is the smallest group.
    assert off <= max(sizes) / 2 + 1e-9 or min(parts) == min(sizes)
    groups = np.array(samples.groups)
    assert all(len(set(taken[groups == name])) == 1 for name in np.unique(groups))


@few
@given(tasks(), fractions, seeds, st.booleans())
def test_a_share_is_off_by_half_the_largest_group_at_most(
    task: tuple[Samples, list[int]], fraction: float, seed: int, stratify: bool
) -> None:
    samples, sizes = task
    held = methods.holdout(samples, val_fraction=fraction, seed=seed, stratify=stratify)
    check(held.fold == 0, fraction, samples, sizes)
    set_aside = methods.holdout(samples, val_fraction=0.5, test_fraction=0.2, test_seed=seed, stratify=stratify)
    check(set_aside.fold == TEST, 0.2, samples, sizes)


@few
@given(tasks(), fractions, seeds, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    task: tuple[Samples, list[int]], fraction: float, seed: int, random: object
) -> None:
    samples, _ = task
    order = list(range(len(samples)))
    random.shuffle(order)  # type: ignore[attr-defined]
    one = methods.holdout(samples, val_fraction=fraction, seed=seed)
    other = methods.holdout(samples.only(np.array(order)), val_fraction=fraction, seed=seed)
    assert other.fold.tolist() == one.fold[order].tolist()


def distance(taken: npt.NDArray[np.bool_], levels: npt.NDArray[np.bool_], fraction: float) -> float:
    """By hand: squared distances of the share of each level, and of all samples, weighed by how many they are."""
    shares = [(taken[column].mean() - fraction) ** 2 * column.sum() for column in levels.T if column.any()]
    return float(sum(shares) + (taken.mean() - fraction) ** 2 * len(taken)) / len(taken)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_classes_are_as_near_as_the_best_of_all_choices(seed: int, labels: bool) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, 9).tolist()
    groups, fraction = np.repeat(np.arange(9), sizes), float(rng.choice([0.2, 0.3, 0.5]))
    if labels:
        targets = (rng.random((len(groups), 3)) < 0.3).astype(np.float64)
        levels = np.hstack([targets == 1, targets == 0])
    else:
        targets = rng.integers(0, 3, len(groups))
        levels = targets[:, None] == np.arange(3)
    held = methods.holdout(grouped(sizes, targets), val_fraction=fraction, seed=seed).fold == 0
    best = np.inf
    for choice in product((False, True), repeat=9):
        taken = np.array(choice)[groups]
        whole = all(
            taken[column].any() and not taken[column].all() for column in levels.T if spread_over(groups[column])
        )
        if whole and abs(taken.sum() - fraction * len(groups)) <= max(sizes) / 2:
            best = min(best, distance(taken, levels, fraction))
    assert np.isfinite(best) and distance(held, levels, fraction) <= best + 1e-12


def spread_over(groups: npt.NDArray[np.int64]) -> bool:
    return len(np.unique(groups)) > 1


def test_shares_of_patients_that_were_two_to_six_times_too_large() -> None:
    """40 patients of 10 images, two classes; 60 patients of 1 to 5 images."""
    classes = np.repeat(np.arange(40) % 2, 10)
    for fraction in (0.1, 0.2, 0.3):
        held = methods.holdout(grouped([10] * 40, classes), val_fraction=fraction).fold == 0
        assert held.mean() == pytest.approx(fraction) and held[classes == 0].mean() == pytest.approx(fraction)
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 6, 60).tolist()
    ill = np.repeat(rng.random(60) < 0.2, sizes).astype(np.int64)
    for seed in (42, 1, 2):
        for fraction in (0.1, 0.2, 0.25, 0.3, 0.5):
            made = methods.kfold(grouped(sizes, ill), folds=2, test_fraction=fraction, test_seed=seed)
            assert (made.fold == TEST).mean() == pytest.approx(fraction, abs=0.01)
            assert (made.fold == TEST)[ill == 1].mean() == pytest.approx(fraction, abs=0.06)


def test_seeds_take_different_groups() -> None:
    samples = grouped([5] * 40, np.repeat(np.arange(40) % 2, 5))
    drawn = {tuple((methods.holdout(samples, seed=seed).fold == 0).tolist()) for seed in range(8)}
    assert len(drawn) == 8


@pytest.mark.parametrize("with_groups", [False, True])
def test_rare_labels_are_in_every_part_that_can_have_them(with_groups: bool) -> None:
    for seed in range(15):
        rng = np.random.default_rng(seed)
        targets = np.zeros((60, 4))
        targets[:, 0], targets[:, 1] = rng.random(60) < 0.5, rng.random(60) < 0.3
        targets[rng.choice(60, 2, replace=False), 2] = 1
        targets[rng.choice(60, 3, replace=False), 3] = 1
        sizes = [3] * 20 if with_groups else [1] * 60
        samples = grouped(sizes, targets)
        samples = samples if with_groups else dataclasses.replace(samples, groups=())
        for fraction in (0.1, 0.2, 0.3):
            held = methods.holdout(samples, val_fraction=fraction, seed=seed).fold == 0
            check(held, fraction, dataclasses.replace(samples, groups=samples.groups or samples.ids), sizes)
            for label in range(4):
                holders = {samples.groups[row] if with_groups else row for row in np.flatnonzero(targets[:, label])}
                assert len(holders) < 2 or 0 < targets[held, label].sum() < targets[:, label].sum()


def test_a_class_of_two_images_gives_one_to_each_part() -> None:
    for seed in range(20):
        held = methods.holdout(make_samples([0] * 40 + [1] * 40 + [2] * 2), seed=seed).fold == 0
        assert held[80:].sum() == 1 and abs(held.sum() - 0.2 * 82) <= 1.5
    # Ten classes cannot be in a part of six images; as many as can are.
    held = methods.holdout(make_samples([number % 10 for number in range(60)]), val_fraction=0.1).fold == 0
    assert held.sum() == 6 and len({row % 10 for row in np.flatnonzero(held)}) == 6


def test_a_class_that_folds_need_whole_is_left_to_them() -> None:
    samples = make_samples([0] * 95 + [1] * 5)
    made = methods.kfold(samples, folds=5, test_fraction=0.05)
    assert (made.fold[95:] >= 0).all() and (made.fold == TEST).sum() in (4, 5)


def test_shares_that_cannot_be_taken() -> None:
    with pytest.raises(DataError, match=r"split\.val_fraction: leaves a part empty: the 6 images are of one group"):
        methods.holdout(grouped([6], [0, 1] * 3))
    with pytest.raises(DataError, match=r"split\.test_fraction: leaves a part of the 20 images empty, got 0\.01"):
        methods.kfold(make_samples([0, 1] * 10), folds=2, test_fraction=0.01)
    # With groups the smallest one is the part.
    held = methods.holdout(grouped([10, 8, 3], np.zeros(21, np.int64)), val_fraction=0.01).fold == 0
    assert held.sum() == 3


@pytest.mark.program
def test_many_groups_and_classes_take_seconds() -> None:
    rng = np.random.default_rng(0)
    sizes = np.full(20_000, 5).tolist()
    classes = np.repeat(rng.integers(0, 1000, 20_000), 5)
    held = methods.holdout(grouped(sizes, classes), val_fraction=0.2).fold == 0
    assert abs(held.mean() - 0.2) <= 2.5 / 100_000 + 1e-12
    shares = np.bincount(classes[held], minlength=1000) / np.bincount(classes, minlength=1000)
    assert np.abs(shares - 0.2).max() < 0.25 and shares.min() > 0


def test_names_are_sorted_once_however_many_classes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were sorted for every class anew: 20,000 samples of 1,000 classes took 2.4 seconds, 100,000 five times that."""
    calls: list[int] = []

    def counting(items: Any, **how: Any) -> list[Any]:
        values = sorted(items, **how)
        calls.append(len(values))
        return values

    monkeypatch.setattr(shares, "sorted", counting, raising=False)
    samples = make_samples([index % 30 for index in range(300)])
    rows = shares.of_samples(samples, np.arange(300), 0.2, True, 0, key="split.val_fraction", others=1)
    assert (np.bincount(samples.targets[rows], minlength=30) == 2).all()
    assert sum(calls) <= 3 * 300
