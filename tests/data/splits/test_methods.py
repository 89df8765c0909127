"""Folds are exact, even, keep identical images together, and are the same on every machine."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.data.splits import methods
from mlpipe.data.splits.methods import TEST, UNLABELLED
from mlpipe.data.task import Part, Samples
from mlpipe.errors import DataError
from tests.data.samples import make_samples

few = settings(max_examples=60, deadline=None, derandomize=True)
folds = st.integers(2, 6)
seeds = st.integers(0, 2**32)
labels = st.lists(st.integers(0, 4), min_size=6, max_size=80)


@st.composite
def with_copies(draw: st.DrawFn) -> Samples:
    targets = draw(labels)
    groups = draw(st.lists(st.integers(0, 25), min_size=len(targets), max_size=len(targets)))
    return make_samples(targets, [f"d{group}" for group in groups])


def fold_counts(targets: np.ndarray, fold: np.ndarray, n: int) -> np.ndarray:
    return np.array([[np.sum((targets == c) & (fold == k)) for c in np.unique(targets)] for k in range(n)])


@few
@given(with_copies(), folds, seeds, st.booleans())
def test_every_sample_is_in_exactly_one_fold(samples: Samples, n: int, seed: int, stratify: bool) -> None:
    split = methods.kfold(samples, folds=n, seed=seed, stratify=stratify)
    assert split.fold.shape == (len(samples),)
    assert set(split.fold.tolist()) <= set(range(n))
    assert sum(int((split.fold == k).sum()) for k in split.validated) == len(samples)


@few
@given(labels, folds, seeds)
def test_without_copies_counts_differ_by_one_at_most(targets: list[int], n: int, seed: int) -> None:
    samples = make_samples(targets)
    split = methods.kfold(samples, folds=n, seed=seed)
    assert np.ptp(fold_counts(samples.targets, split.fold, n), axis=0).max() <= 1
    assert np.ptp(np.bincount(split.fold, minlength=n)) <= 1


@few
@given(labels, folds, seeds)
def test_sizes_are_even_without_stratification(targets: list[int], n: int, seed: int) -> None:
    split = methods.kfold(make_samples(targets), folds=n, seed=seed, stratify=False)
    assert np.ptp(np.bincount(split.fold, minlength=n)) <= 1


@few
@given(with_copies(), folds, seeds, st.booleans())
def test_identical_images_share_a_fold(samples: Samples, n: int, seed: int, stratify: bool) -> None:
    split = methods.kfold(samples, folds=n, seed=seed, stratify=stratify)
    where: dict[str, set[int]] = {}
    for digest, fold in zip(samples.digests, split.fold.tolist(), strict=True):
        where.setdefault(digest, set()).add(fold)
    assert all(len(found) == 1 for found in where.values())


@few
@given(with_copies(), folds, seeds, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(samples: Samples, n: int, seed: int, random: object) -> None:
    order = list(range(len(samples)))
    random.shuffle(order)  # type: ignore[attr-defined]
    mixed = Samples(
        tuple(samples.ids[row] for row in order),
        samples.parts,
        samples.targets[order],
        tuple(samples.digests[row] for row in order),
    )
    split = methods.kfold(samples, folds=n, seed=seed)
    assert methods.kfold(mixed, folds=n, seed=seed).fold.tolist() == split.fold[order].tolist()
    if len(set(samples.digests)) > 15:
        split = methods.kfold(samples, folds=2, test_fraction=0.2, seed=seed)
        assert methods.kfold(mixed, folds=2, test_fraction=0.2, seed=seed).fold.tolist() == split.fold[order].tolist()


def test_copies_are_spread_as_evenly_as_they_can_be() -> None:
    digests = [f"d{index // 4}" for index in range(40)]
    split = methods.kfold(make_samples([0] * 20 + [1] * 20, digests), folds=5)
    assert fold_counts(np.array([0] * 20 + [1] * 20), split.fold, 5).tolist() == [[4, 4]] * 5


def test_another_seed_gives_other_folds() -> None:
    samples = make_samples([0, 1] * 30)
    assert methods.kfold(samples, seed=1).fold.tolist() != methods.kfold(samples, seed=2).fold.tolist()


SCRIPT = """
import hashlib, json, sys
from mlpipe.data.splits import methods as splits, variants
from tests.data.samples import make_samples, make_task
samples = make_samples([i % 3 for i in range(200)], [f"d{i % 150}" for i in range(200)])
split = splits.kfold(samples, folds=4, test_fraction=0.1)
views = [variants.nested(make_task(samples), split, k).rows() for k in range(4)]
plain = [split.fold.tolist(), [{name: rows.tolist() for name, rows in view.items()} for view in views]]
print(hashlib.sha256(json.dumps(plain).encode()).hexdigest())
"""


def test_all_processes_agree() -> None:
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))  # noqa: PTH120
    found = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": top},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }
    assert len(found) == 1
    assert len(found.pop().strip()) == hashlib.sha256().digest_size * 2


def test_this_split_never_changes() -> None:
    split = methods.kfold(make_samples([index % 3 for index in range(24)]), folds=3)
    again = methods.kfold(make_samples([index % 3 for index in range(24)]), folds=3)
    assert split.fold.tolist() == again.fold.tolist()
    assert methods.Split.from_plain(split.as_plain()).as_plain() == split.as_plain()


def test_too_few_images_for_the_folds() -> None:
    with pytest.raises(DataError, match=r"split\.folds: there are only 3 training images, got 5"):
        methods.kfold(make_samples([0, 1, 0]), folds=5)


@few
@given(st.lists(st.integers(8, 30), min_size=2, max_size=4), st.sampled_from([0.1, 0.2, 0.25, 0.5]), seeds)
def test_holdout_takes_the_rounded_share_of_every_class(counts: list[int], fraction: float, seed: int) -> None:
    samples = make_samples(np.repeat(np.arange(len(counts)), counts).tolist())
    split = methods.holdout(samples, val_fraction=fraction, seed=seed)
    for number, count in enumerate(counts):
        assert (split.fold[samples.targets == number] == 0).sum() == round(count * fraction)
    assert set(split.fold.tolist()) == {0, 1}
    assert split.validated == (0,) and split.n_folds == 2


def test_holdout_never_splits_copies_and_never_leaves_a_part_empty() -> None:
    samples = make_samples([0, 1] * 20, [f"d{index // 4}" for index in range(40)])
    split = methods.holdout(samples, val_fraction=0.3)
    assert all(len(set(split.fold[start : start + 4].tolist())) == 1 for start in range(0, 40, 4))
    with pytest.raises(DataError, match=r"split\.val_fraction"):
        methods.holdout(make_samples([0, 1, 0, 1]), val_fraction=0.01)


def test_given_uses_the_parts_that_came_with_the_task() -> None:
    samples = make_samples([0, 1, 0, 1, -1], parts=["train", "val", "test", "train", "unlabelled"])
    split = methods.given(samples)
    assert split.fold.tolist() == [1, 0, TEST, 1, UNLABELLED]
    assert split.validated == (0,)
    with pytest.raises(DataError, match="no validation part; use split=kfold or split=holdout$"):
        methods.given(make_samples([0, 1]))


def test_the_validation_part_joins_the_pool_and_the_test_part_does_not() -> None:
    samples = make_samples([0, 1] * 6, parts=["train", "val", "train", "val", "test", "unlabelled"] * 2)
    split = methods.kfold(samples, folds=2)
    parts = np.array(samples.parts)
    assert (split.fold[parts == "test"] == TEST).all()
    assert (split.fold[parts == "unlabelled"] == UNLABELLED).all()
    assert (split.fold[np.isin(parts, ["train", "val"])] >= 0).all()


def test_test_fraction_is_set_aside_once_whatever_the_split_seed() -> None:
    samples = make_samples([0] * 50 + [1] * 30)
    first, second = (methods.kfold(samples, test_fraction=0.2, seed=seed) for seed in (1, 2))
    assert np.bincount(samples.targets[first.fold == TEST]).tolist() == [10, 6]
    assert ((first.fold == TEST) == (second.fold == TEST)).all()
    other = methods.kfold(samples, test_fraction=0.2, test_seed=7)
    assert ((first.fold == TEST) != (other.fold == TEST)).any()


def test_test_fraction_and_a_test_part_exclude_each_other() -> None:
    samples = make_samples([0, 1] * 5, parts=["train"] * 9 + ["test"])
    with pytest.raises(
        DataError,
        match=r"split\.test_fraction: the task has a test part already, got 0\.2; leave split\.test_fraction out$",
    ):
        methods.kfold(samples, folds=2, test_fraction=0.2)
    assert methods.kfold(samples, folds=2, test_fraction=0.0).fold[-1] == TEST


def test_a_split_as_plain_data() -> None:
    made = methods.kfold(make_samples([0, 1] * 4 + [-1]), folds=2, stratify=False, seed=7)
    plain = made.as_plain()
    assert plain == {
        "fold": made.fold.tolist(), "n_folds": 2, "validated": [0, 1], "stratify": False, "seed": 7, "dealing": "even",
    }  # fmt: skip
    again = methods.Split.from_plain(plain)
    assert (again.n_folds, again.validated, again.stratify, again.seed, again.dealing) == (2, (0, 1), False, 7, "even")
    assert again.fold.dtype == np.int64 and made.fold[-1] == UNLABELLED


def with_folds(folds: list[int], parts: Sequence[Part] | None = None) -> Samples:
    made = make_samples([index % 2 for index in range(len(folds))], parts=parts)
    return dataclasses.replace(made, folds=np.array(folds))


@pytest.mark.parametrize("way", [methods.kfold, methods.mml, methods.shuffled, methods.given])
def test_folds_that_came_with_the_task_are_kept(way: Callable[[Samples], methods.Split]) -> None:
    made = way(with_folds([2, 0, 1, 1, 0, -1], ["train", "val", "train", "train", "train", "test"]))
    assert made.fold.tolist() == [2, 0, 1, 1, 0, TEST]
    assert (made.n_folds, made.validated) == (3, (0, 1, 2))
    with pytest.raises(
        DataError, match=r"2 training images have no fold \(0001, 0003\); give every training row a fold"
    ):
        way(with_folds([0, -1, 1, -1, 0, 1]))
    with pytest.raises(DataError, match=r"split=given: fold 1 has no training image; number the folds 0, 1, 2"):
        way(with_folds([0, 2, 2, 0, 0, 2]))
    with pytest.raises(DataError, match="split=given: there is a single fold; number the folds"):
        way(with_folds([0] * 6))


def test_as_many_folds_as_images_is_the_most() -> None:
    assert sorted(methods.kfold(make_samples([0, 1, 0]), folds=3).fold.tolist()) == [0, 1, 2]
    assert sorted(methods.mml(make_samples([0] * 3), folds=3, stratify=False).fold.tolist()) == [0, 1, 2]


def test_holdout_draws_its_two_parts_with_two_seeds() -> None:
    samples = make_samples([0, 1] * 30)
    made = methods.holdout(samples, test_fraction=0.25)
    assert np.bincount(made.fold + 1).tolist() == [16, 8, 36]
    other = methods.holdout(samples, test_fraction=0.25, seed=1)
    assert ((made.fold == TEST) == (other.fold == TEST)).all() and (made.fold != other.fold).any()
    moved = methods.holdout(samples, test_fraction=0.25, test_seed=1)
    assert ((made.fold == TEST) != (moved.fold == TEST)).any()
    assert (made.seed, made.stratify, made.dealing) == (42, True, "even")
    for fraction, n in ((0.01, 4), (0.9, 4)):
        with pytest.raises(DataError, match=rf"leaves a part of the {n} images empty, got {fraction}"):
            methods.holdout(make_samples([0, 1] * (n // 2)), val_fraction=fraction)


def test_without_stratification_a_share_is_of_all() -> None:
    samples = make_samples([0, 1, 2, 3, 4] * 2)
    made = methods.holdout(samples, val_fraction=0.3, stratify=False)
    assert (made.fold == 0).sum() == 3 and made.stratify is False


def test_a_share_of_labels_or_numbers_is_the_nearest_that_folds_make() -> None:
    values = np.linspace(0, 1, 40)[:, None]
    samples = dataclasses.replace(make_samples([0] * 40), targets=values)
    for fraction, wanted in ((0.2, 8), (0.5, 20), (0.3, 12), (0.05, 2)):
        assert (methods.holdout(samples, val_fraction=fraction).fold == 0).sum() == wanted
    assert (methods.kfold(samples, folds=2, test_fraction=0.25).fold == TEST).sum() == 10


def test_images_without_a_label_are_outside_of_every_split() -> None:
    samples = make_samples([0, 1, -1, 0, 1, -1, 0], parts=["train"] * 5 + ["val", "val"])
    for way in (methods.kfold, methods.mml, methods.shuffled):
        made = way(samples, folds=2, stratify=False)
        assert made.fold[[2, 5]].tolist() == [UNLABELLED] * 2 and (np.delete(made.fold, [2, 5]) >= 0).all()
    assert methods.given(samples).fold.tolist() == [1, 1, UNLABELLED, 1, 1, UNLABELLED, 0]


def test_an_extra_part_is_learned_by_all_and_judged_by_none() -> None:
    samples = make_samples([0, 1, 0, 1, 0, -1], parts=["train"] * 4 + ["extra", "extra"])
    plain = methods.kfold(samples, folds=2)
    assert plain.fold[4:].tolist() == [UNLABELLED] * 2
    made = methods.with_extra(samples, plain)
    assert made.fold.tolist() == [*plain.fold[:4].tolist(), 2, UNLABELLED]
    assert made.validated == (0, 1) and made.n_folds == 2
    inner = methods.inner_folds(samples, made, 0)
    assert inner[made.fold == 0].tolist() == [-1] * 2 and sorted(inner[made.fold == 1].tolist()) == [0, 1]
    assert inner[4:].tolist() == [2, -1]
    without = methods.kfold(make_samples([0, 1] * 2), folds=2)
    assert methods.with_extra(make_samples([0, 1] * 2), without) is without


def test_nested_folds_are_even_in_what_is_left() -> None:
    samples = make_samples([0, 1] * 30, parts=["train"] * 54 + ["test"] * 6)
    made = methods.kfold(samples, folds=3, seed=5)
    inner = methods.inner_folds(samples, made, 1)
    assert ((inner == -1) == ((made.fold == 1) | (made.fold == TEST))).all()
    assert fold_counts(samples.targets, inner, 3).tolist() == [[6, 6]] * 3
    assert (methods.inner_folds(samples, dataclasses.replace(made, seed=6), 1) != inner).any()


def test_groups_are_refused_where_they_would_be_torn() -> None:
    samples = dataclasses.replace(make_samples([0, 1] * 5), groups=("a",) * 10)
    with pytest.raises(DataError, match=r"split=mml: tears groups.*use split=kfold, or leave the groups out"):
        methods.mml(samples, folds=2)
    with pytest.raises(DataError, match=r"split=shuffled: tears groups.*; use split=kfold"):
        methods.shuffled(samples, folds=2)


def test_shuffled_splits_are_refused_in_words(tmp_path: Path) -> None:
    numbers = dataclasses.replace(make_samples([0] * 6), targets=np.arange(6.0)[:, None])
    with pytest.raises(
        DataError, match=r"split\.stratify: is for classes, labels and masks; add split\.stratify=false"
    ):
        methods.shuffled(numbers, folds=2, stratify=True)
    assert methods.shuffled(numbers, folds=2).n_folds == 2
    labels_ = dataclasses.replace(numbers, targets=np.array([[0.0], [1], [0], [1], [0], [1]]))
    assert methods.shuffled(labels_, folds=2, stratify=True).stratify is True
    tested = make_samples([0, 1] * 3, parts=["train"] * 5 + ["test"])
    with pytest.raises(DataError, match=r"already; leave split\.test_fraction and split\.test_file out"):
        methods.shuffled(tested, folds=2, test_fraction=0.2)
    assert methods.shuffled(tested, folds=2).fold[-1] == TEST
    with pytest.raises(DataError, match=r"split\.test_fraction: cannot be drawn \(.*\), got 0\.2"):
        methods.shuffled(make_samples([0, 1, 2, 3]), folds=2, stratify=True, test_fraction=0.2)
    (tmp_path / "test").write_text("[[0, 1], [2, 6]]")
    with pytest.raises(DataError, match=r"split\.test_file: does not fit the 6 images; remove it"):
        methods.shuffled(make_samples([0, 1] * 3), test_file=str(tmp_path / "test"))
    with pytest.raises(DataError, match=r"split\.folds: cannot be made \(.*\), got 2; use fewer"):
        methods.shuffled(make_samples([0, 1, 2, 3]), folds=2, stratify=True)
    with pytest.raises(DataError, match=r"split\.folds: there is only 1 training image, got 2; use fewer"):
        methods.shuffled(make_samples([0]), folds=1)
    for content in ("[[0, 1, 2, 3, 4, 5]]", "[3, 4]", "[[0, 1, 2], [3, 4.5, 5]]", "[[0, 1, 2], [a, b, c]]"):
        (tmp_path / "test").write_text(content)
        with pytest.raises(DataError, match=r"split\.test_file: (does not fit the 6 images|must hold lists)"):
            methods.shuffled(make_samples([0, 1] * 3), test_file=str(tmp_path / "test"))
    odd = [
        "[[[0], [1, -1]], [[1], [2]]]",
        "[[[0]]]",
        "[[[0], []]]",
        "[[[0], [a]]]",
        "[[[0], [1.5]]]",
        "[[0, 1]]",
        "[[[], [0, 1, 2, 3, 4, 5]]]",
    ]
    for content in ("[[[0], [1, 2]], [[1], [2, 3]]]", "[[[0], [1, 2]], [[1], [6]]]", *odd):
        (tmp_path / "folds").write_text(content)
        with pytest.raises(DataError, match=r"split\.folds_file: does not fit the 6 images; remove it"):
            methods.shuffled(make_samples([0, 1] * 3), folds_file=str(tmp_path / "folds"))
    (tmp_path / "folds").write_text("[[[4, 5], [0, 1]], [[0, 1], [3]]]")
    made = methods.shuffled(make_samples([0, 1] * 3), folds_file=str(tmp_path / "folds"))
    assert made.fold.tolist() == [0, 0, 2, 1, 2, 2] and (made.n_folds, made.validated) == (3, (0, 1))


@pytest.mark.parametrize("stratify", [True, False])
def test_each_repeat_is_the_split_of_the_next_seed(stratify: bool) -> None:
    samples = make_samples([0, 1, 2] * 10)
    split = methods.kfold(samples, folds=3, seed=7, stratify=stratify, test_fraction=0.2, repeats=3)
    alone = [
        methods.kfold(samples, folds=3, seed=7 + number, stratify=stratify, test_fraction=0.2) for number in range(3)
    ]
    assert split.validated == tuple(range(9)) and split.n_folds == 3 and split.can_nest
    for one, other in zip(split.each(), alone, strict=True):
        assert one.as_plain() == other.as_plain()
    assert len({one.fold.tobytes() for one in split.each()}) == 3
    again = methods.Split.from_plain(split.as_plain())
    assert again.as_plain() == split.as_plain() and [one.as_plain() for one in again.each()] == [
        one.as_plain() for one in alone
    ]
    (own, number), (first, zero) = split.of_fold(7), split.of_fold(0)
    assert (number, zero) == (1, 0) and own.fold.tolist() == alone[2].fold.tolist()
    assert first.fold.tolist() == alone[0].fold.tolist()
    assert "repeats" not in alone[0].as_plain()


def test_every_repeat_learns_the_extra_part() -> None:
    parts: list[Part] = ["train"] * 12 + ["extra"] * 2
    samples = make_samples([0, 1] * 7, parts=parts)
    split = methods.with_extra(samples, methods.kfold(samples, folds=2, repeats=2))
    assert all(one.fold[12:].tolist() == [2, 2] for one in split.each())


def test_folds_that_came_with_the_task_are_not_repeated() -> None:
    samples = dataclasses.replace(make_samples([0, 1] * 4), folds=np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    with pytest.raises(DataError, match="split.repeats: the task came with its folds.*got 2; leave it out"):
        methods.kfold(samples, repeats=2)
