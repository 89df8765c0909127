"""Plain and nested views of a task: what is held out is never seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.data.splits import methods, ordered, variants
from mlpipe.errors import DataError
from tests.data.samples import make_samples, make_task

few = settings(max_examples=40, deadline=None, derandomize=True)


@few
@given(
    st.lists(st.integers(0, 3), min_size=12, max_size=60),
    st.integers(2, 5),
    st.integers(0, 1000),
    st.lists(st.integers(0, 30), min_size=60, max_size=60),
)
def test_nested_views_hold_out_every_sample_once(targets: list[int], n: int, seed: int, groups: list[int]) -> None:
    samples = make_samples(targets, [f"d{group}" for group in groups[: len(targets)]])
    task, split = make_task(samples), methods.kfold(samples, folds=n, seed=seed)
    tested: list[int] = []
    for k in range(n):
        view = variants.nested(task, split, k)
        assert view.task == f"made+nested?{k}" and view.fold == k
        outer = np.flatnonzero(split.fold == k)
        assert view.test.tolist() == outer.tolist()
        inner = np.concatenate([view.train, view.val])
        assert sorted(inner.tolist()) == np.flatnonzero(split.fold != k).tolist()
        assert not set(inner.tolist()) & set(outer.tolist())
        assert not {samples.digests[row] for row in view.train} & {samples.digests[row] for row in view.val}
        assert not {samples.digests[row] for row in inner} & {samples.digests[row] for row in outer}
        tested += view.test.tolist()
    assert sorted(tested) == list(range(len(samples)))


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_inner_split_has_as_many_folds_as_the_outer(n: int) -> None:
    """F10: inner folds were always five."""
    samples = make_samples([index % 2 for index in range(100)])
    split = methods.kfold(samples, folds=n)
    for k in range(n):
        view = variants.nested(make_task(samples), split, k)
        pool = 100 - len(view.test)
        assert len(view.val) in (pool // n, -(-pool // n))
        assert abs(int(samples.targets[view.val].sum()) - len(view.val) / 2) <= 1


def test_plain_views_validate_every_sample_once_and_test_on_the_test_part() -> None:
    samples = make_samples([0, 1] * 10 + [0, -1], parts=["train"] * 20 + ["test", "unlabelled"])
    task, split = make_task(samples), methods.kfold(samples, folds=4)
    views = [variants.plain(task, split, k) for k in range(4)]
    assert sorted(np.concatenate([view.val for view in views]).tolist()) == list(range(20))
    for k, view in enumerate(views):
        assert view.task == "made"
        assert (split.fold[view.val] == k).all()
        assert sorted(np.concatenate([view.train, view.val]).tolist()) == list(range(20))
        assert view.test.tolist() == [20] and view.unlabelled.tolist() == [21]


def test_nested_views_drop_test_part_and_unlabelled_images() -> None:
    samples = make_samples([0, 1] * 10 + [0, -1], parts=["train"] * 20 + ["test", "unlabelled"])
    view = variants.nested(make_task(samples), methods.kfold(samples, folds=2), 1)
    assert not {20, 21} & set(np.concatenate(list(view.rows().values())).tolist())
    assert view.unlabelled.tolist() == []


def test_without_leaves_out_unreadable_rows_everywhere() -> None:
    samples = make_samples([0, 1] * 10 + [0, -1], parts=["train"] * 20 + ["test", "unlabelled"])
    view = variants.plain(make_task(samples), methods.kfold(samples, folds=2), 0)
    bad = np.zeros(22, bool)
    bad[[view.train[0], view.val[0], 20, 21]] = True
    kept = view.without(bad)
    assert kept.train.tolist() == view.train[1:].tolist()
    assert kept.val.tolist() == view.val[1:].tolist()
    assert len(kept.test) == len(kept.unlabelled) == 0
    assert len(view.test) == 1


def test_check_names_classes_without_a_training_image() -> None:
    samples = make_samples([0, 0, 1, 1])
    task, split = make_task(samples), methods.kfold(samples, folds=2)
    view = variants.plain(task, split, 0)
    variants.check(task, view)
    with pytest.raises(DataError, match="made fold 0: no readable training image is left of class b"):
        variants.check(task, view.without(samples.targets == 1))
    bad = np.zeros(4, bool)
    bad[view.val] = True
    with pytest.raises(DataError, match="no validation image is left"):
        variants.check(task, view.without(bad))


@pytest.mark.parametrize("make", [variants.plain, variants.nested])
def test_a_fold_of_a_repeat_is_that_of_its_own_split(make: Callable[..., variants.View]) -> None:
    task = make_task(make_samples([0, 1, 2] * 8))
    split = methods.kfold(task.samples, folds=3, seed=5, repeats=2)
    alone = methods.kfold(task.samples, folds=3, seed=6)
    for number in range(3):
        found, wanted = make(task, split, 3 + number), make(task, alone, number)
        assert found.fold == 3 + number and found.task in ("made", f"made+nested?{3 + number}")
        for name, rows in wanted.rows().items():
            assert found.rows()[name].tolist() == rows.tolist()


def test_a_refit_learns_every_labelled_row_that_is_not_for_tests() -> None:
    parts = ["train"] * 20 + ["val"] * 4 + ["test"] * 3 + ["unlabelled"] * 2
    samples = make_samples([0, 1] * 12 + [0, 1, 0] + [-1, -1], parts=parts)
    task = make_task(samples)
    for split in (methods.kfold(samples, folds=4), methods.given(samples), methods.on_test(samples)):
        view = variants.whole(task, split)
        assert view.train.tolist() == list(range(24)) and not len(view.val)
        assert (view.task, view.name) == ("made", "refit")
    view = variants.whole(task, methods.kfold(samples, folds=4))
    assert view.test.tolist() == [24, 25, 26] and view.unlabelled.tolist() == [27, 28]
    # Its random draws are those of no fold.
    assert view.draws not in {variants.plain(task, methods.kfold(samples, folds=4), k).draws for k in range(4)}


def test_a_refit_in_time_learns_the_first_and_the_last_block() -> None:
    samples = dataclasses.replace(make_samples([0, 1] * 10), orders=np.arange(20.0))
    split = ordered.time(samples, folds=3)
    assert len(variants.plain(make_task(samples), split, 3).train) < 20
    assert variants.whole(make_task(samples), split).train.tolist() == list(range(20))
