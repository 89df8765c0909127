"""Splits that cannot be learned from are named: too few samples, classes without any, the same sample in two parts."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlpipe.data import split_checks, splits
from mlpipe.data.splits import TEST
from tests.data.samples import make_samples
from tests.data.test_splits import few, folds


@few
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), folds)
def test_class_sizes_are_refused_exactly_when_too_small(counts: list[int], n: int) -> None:
    targets = np.repeat(np.arange(len(counts)), counts)
    classes = [f"class{index}" for index in range(len(counts))]
    plain = split_checks.class_size_problems(targets, classes, n, nested=False)
    nested = split_checks.class_size_problems(targets, classes, n, nested=True)
    assert [sentence.split("'")[1] for sentence in plain] == [
        name for name, count in zip(classes, counts, strict=True) if count < n
    ]
    assert [sentence.split("'")[1] for sentence in nested] == [
        name for name, count in zip(classes, counts, strict=True) if count - -(-count // n) < n
    ]


def test_class_size_sentences_say_what_to_do() -> None:
    targets = np.array([0] * 3 + [1] * 50)
    (sentence,) = split_checks.class_size_problems(targets, ["rare", "common"], 5, nested=True)
    assert "'rare'" in sentence and "3 training images" in sentence and "nested 5 x 5 folds" in sentence
    assert "split.folds" in sentence and "mode.nested=false" in sentence
    (sentence,) = split_checks.class_size_problems(targets, ["rare", "common"], 5, nested=False)
    assert "mode.nested" not in sentence


def test_overlap_pairs_identical_images_of_different_parts_only() -> None:
    samples = make_samples(
        [0, 1, 0, 1, -1], ["same", "own", "same", "same", "same"], ["train", "train", "val", "test", "unlabelled"]
    )
    assert split_checks.overlap(samples) == [("0000", "0002"), ("0000", "0003")]
    assert split_checks.overlap(dataclasses.replace(samples, digests=tuple("abcde"))) == []
    sentence = split_checks.overlap_problem(split_checks.overlap(samples))
    assert "2 validation or test images" in sentence and "0000 = 0002" in sentence and "allow_overlap" in sentence


def test_groups_of_the_training_part_that_are_elsewhere_too() -> None:
    samples = make_samples([0] * 6, parts=["train", "train", "val", "test", "test", "unlabelled"])
    assert split_checks.group_overlap_problems(samples) == []
    grouped = dataclasses.replace(samples, groups=("a", "", "a", "b", "", "a"))
    (sentence,) = split_checks.group_overlap_problems(grouped)
    assert sentence.startswith("task: 1 groups are in the training part and in another one (a)")
    assert "give each group one part, or accept it with task.allow_overlap=true" in sentence
    assert split_checks.group_overlap_problems(dataclasses.replace(samples, groups=("a", "b", "c", "d", "", "a"))) == []
    for groups in (("a", "b", "c", "b", "", ""), ("a", "b", "b", "c", "", "")):
        assert "another one (b)" in split_checks.group_overlap_problems(dataclasses.replace(samples, groups=groups))[0]


def test_sentences_about_a_fold_without_a_class() -> None:
    targets = np.array([0, 1, 0, 0, 1, 1])
    assert split_checks.missing_classes(np.array([0, 0, 1, 1, 1, 0]), 2, targets, ["a", "b"]) == []
    found = split_checks.missing_classes(np.array([0, 0, 1, 1, 3, 0]), 4, targets, ["a", "b"])
    why = "because groups and given folds stay as they are; use fewer folds (split.folds=N), or other groups"
    assert found == [f"fold 1: has no image of b, {why}", f"fold 3: has no image of a, {why}"]


def test_labels_need_images_with_and_without_them() -> None:
    targets = np.array([[1, 0], [1, 0], [1, 1], [0, 1], [np.nan, np.nan]])
    samples = dataclasses.replace(make_samples([0] * 5), targets=targets)
    split = splits.Split(np.array([0, 1, 2, 0, 1]), 3, (0, 1, 2), True, 0)
    found = split_checks.size_problems("multilabel", samples, split, ["x", "y"], nested=False)
    assert all(sentence.endswith("; use fewer folds (split.folds=N), or add images") for sentence in found)
    assert [sentence.partition(";")[0] for sentence in found] == [
        "label 'x': 1 training images without it are too few for 3 folds",
        "label 'y': 2 training images with it are too few for 3 folds",
        "label 'y': 2 training images without it are too few for 3 folds",
    ]
    assert (
        split_checks.size_problems(
            "multilabel", samples, dataclasses.replace(split, n_folds=1), ["x", "y"], nested=True
        )
        == []
    )
    assert split_checks.size_problems("regression", samples, split, ["x", "y"], nested=False) == []


def test_sizes_count_the_pool_only() -> None:
    samples = make_samples([0, 0, 1, 1, 1], parts=["train"] * 4 + ["test"])
    split = splits.Split(np.array([0, 1, 0, 1, TEST]), 2, (0, 1), True, 0)
    assert split_checks.size_problems("classification", samples, split, ["a", "b"], nested=False) == []
    found = split_checks.size_problems(
        "classification", samples, dataclasses.replace(split, n_folds=3), ["a", "b"], nested=False
    )
    assert len(found) == 2 and "'b'" in found[1] and "2 training images are too few for 3 folds" in found[1]
