"""Folds forward in time and folds that are groups, against scikit-learn's and by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneGroupOut, TimeSeriesSplit

from mlpipe.data.splits import checks, ordered, variants
from mlpipe.data.splits.methods import TEST, Rare, Split, kfold
from mlpipe.data.task import Samples, Task
from mlpipe.errors import DataError
from tests.data.samples import make_samples


def timed(orders: list[float], targets: list[int] | None = None) -> Samples:
    samples = make_samples(targets or [0, 1] * (len(orders) // 2) + [0] * (len(orders) % 2))
    return dataclasses.replace(samples, orders=np.array(orders, np.float64))


def as_task(samples: Samples) -> Task:
    return Task("t", "classification", ("a", "b", "c"), 1, {"type": "folder"}, samples)


def rows(view: variants.View) -> tuple[list[int], list[int], list[int]]:
    return view.train.tolist(), view.val.tolist(), view.test.tolist()


def test_folds_in_time_are_those_of_scikit_learn() -> None:
    drawn = np.random.default_rng(0).permutation(24)
    samples = timed([float(place) * 7 - 30 for place in drawn])
    split = ordered.time(samples, folds=5)
    assert (split.validated, split.n_folds) == ((1, 2, 3, 4, 5), 6)
    in_order = np.argsort(drawn)
    for fold, (learned, held) in zip(split.validated, TimeSeriesSplit(5).split(in_order), strict=True):
        view = variants.plain(as_task(samples), split, fold)
        assert view.train.tolist() == sorted(in_order[learned].tolist())
        assert view.val.tolist() == sorted(in_order[held].tolist())


def test_equal_times_stay_together_and_the_test_part_is_the_last_one() -> None:
    samples = timed([1, 1, 1, 2, 2, 3, 3, 3, 4, 4])
    split = ordered.time(samples, folds=2, test_fraction=0.2)
    assert split.fold.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, TEST, TEST]
    assert rows(variants.plain(as_task(samples), split, 2)) == ([0, 1, 2, 3, 4], [5, 6, 7], [8, 9])
    # A day with most of the images leaves no block empty.
    assert ordered.time(timed([1, 2, 2, 2, 2, 2, 2, 3]), folds=2).fold.tolist() == [0, 1, 1, 1, 1, 1, 1, 2]


def test_nested_in_time_validates_on_the_last_fifth_of_what_came_before() -> None:
    samples = timed([float(place) for place in range(15)])
    split = ordered.time(samples, folds=2)
    assert rows(variants.nested(as_task(samples), split, 2)) == (list(range(8)), [8, 9], list(range(10, 15)))
    assert rows(variants.nested(as_task(samples), split, 1)) == ([0, 1, 2, 3], [4], list(range(5, 10)))


def test_what_time_needs() -> None:
    with pytest.raises(DataError, match=r"samples have no order; name the column .*task\.order=COLUMN"):
        ordered.time(make_samples([0, 1, 0, 1]))
    with pytest.raises(DataError, match="1 training images have no order|1 training image has no order"):
        ordered.time(timed([1, 2, float("nan"), 4]), folds=2)
    with pytest.raises(DataError, match=r"only 2 different times, got 3"):
        ordered.time(timed([1, 1, 1, 2, 2, 2]), folds=3)
    assert checks.is_lenient(ordered.time(timed([1, 2, 3, 4]), folds=1), timed([1, 2, 3, 4]))


def test_a_fold_for_each_group_as_scikit_learn_has_them() -> None:
    groups = [f"site {number}" for number in np.random.default_rng(1).integers(0, 4, 30)]
    samples = dataclasses.replace(make_samples([0, 1, 2] * 10), groups=tuple(groups))
    split = ordered.leave_one_group_out(samples)
    assert split.validated == (0, 1, 2, 3)
    for fold, (learned, held) in enumerate(LeaveOneGroupOut().split(groups, groups=groups)):
        view = variants.plain(as_task(samples), split, fold)
        assert (view.train.tolist(), view.val.tolist()) == (learned.tolist(), held.tolist())
        inner = variants.nested(as_task(samples), split, fold)
        assert inner.test.tolist() == held.tolist()
        assert len({groups[row] for row in inner.val}) == 1
        assert {groups[row] for row in inner.train}.isdisjoint(groups[row] for row in [*inner.val, *inner.test])


def test_what_groups_are_refused() -> None:
    samples = make_samples([0, 1] * 6)
    with pytest.raises(DataError, match=r"have no group"):
        ordered.leave_one_group_out(samples)
    many = dataclasses.replace(samples, groups=tuple(f"p{number}" for number in range(12)))
    with pytest.raises(DataError, match=r"12 groups would be 12 trainings, got 5; .*split\.most_folds=12"):
        ordered.leave_one_group_out(many, most_folds=5)
    with pytest.raises(DataError, match="of one group"):
        ordered.leave_one_group_out(dataclasses.replace(samples, groups=("p",) * 12))


def test_a_class_of_a_single_group_is_refused_and_a_group_of_a_single_class_is_not() -> None:
    targets, groups = [0, 0, 0, 1, 0, 1, 2, 2], ("p", "p", "q", "q", "r", "r", "s", "s")
    samples = dataclasses.replace(make_samples(targets), groups=groups)
    split = ordered.leave_one_group_out(samples)
    found = checks.size_problems("classification", samples, split, ["a", "b", "c"], nested=False)
    assert len(found) == 1 and "class 'c'" in found[0] and "all its images are of one group" in found[0]
    assert not checks.size_problems(
        "classification", samples, dataclasses.replace(split, rare="allow"), ["a", "b", "c"], nested=False
    )


@pytest.mark.parametrize(("rare", "count"), [("refuse", 1), ("allow", 0)])
def test_a_class_without_images_is_refused_in_time_unless_it_is_allowed(rare: Rare, count: int) -> None:
    samples = timed([1, 2, 3, 4])
    split = ordered.time(samples, folds=2, rare=rare)
    classes = [f"c{number}" for number in range(int(samples.targets.max()) + 2)]
    assert len(checks.size_problems("classification", samples, split, classes, nested=False)) == count


def test_splits_are_stored_whole() -> None:
    for split in (ordered.time(timed([1, 2, 3, 4]), folds=2), kfold(make_samples([0, 1] * 5), folds=2)):
        again = Split.from_plain(split.as_plain())
        assert (again.fold.tolist(), again.dealing, again.validated) == (
            split.fold.tolist(),
            split.dealing,
            split.validated,
        )


def test_groups_on_both_sides_of_the_beginning_of_a_test_part_are_said() -> None:
    samples = dataclasses.replace(timed([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), groups=tuple("aabbccddee"))
    told = "what is learned from a group is judged on the same group"
    even = ordered.time(samples, folds=3, test_fraction=0.2)
    assert even.fold.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, TEST, TEST]
    assert checks.torn_groups(samples, even) == []
    torn = dataclasses.replace(samples, groups=tuple("aabbccdeee"))
    assert checks.torn_groups(torn, even) == [f"1 group is in several folds, or in the test part too (e): {told}"]
    # Of a test part that came with the task `group_overlap_problems` tells.
    given = dataclasses.replace(torn, parts=(*["train"] * 8, "test", "test"))
    assert checks.torn_groups(given, ordered.time(given, folds=3)) == []
