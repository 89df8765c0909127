"""Splits that cannot be learned from are named: too few samples, classes without any, the same sample in two parts."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlpipe.data.splits import checks, methods, variants
from mlpipe.data.splits.methods import TEST
from mlpipe.data.task import Part, Row, Task, make
from tests.data.samples import make_samples, make_task
from tests.data.splits.test_methods import few, folds


@few
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), folds)
def test_class_sizes_are_refused_exactly_when_too_small(counts: list[int], n: int) -> None:
    targets = np.repeat(np.arange(len(counts)), counts)
    classes = [f"class{index}" for index in range(len(counts))]
    plain = checks.class_size_problems(targets, classes, n, nested=False)
    nested = checks.class_size_problems(targets, classes, n, nested=True)
    assert [sentence.split("'")[1] for sentence in plain] == [
        name for name, count in zip(classes, counts, strict=True) if count < n
    ]
    assert [sentence.split("'")[1] for sentence in nested] == [
        name for name, count in zip(classes, counts, strict=True) if count - -(-count // n) < n
    ]


def test_class_size_sentences_say_what_to_do() -> None:
    targets = np.array([0] * 3 + [1] * 50)
    (sentence,) = checks.class_size_problems(targets, ["rare", "common"], 5, nested=True)
    assert "'rare'" in sentence and "3 training images" in sentence and "nested 5 x 5 folds" in sentence
    assert "split.folds" in sentence and "mode.nested=false" in sentence
    (sentence,) = checks.class_size_problems(targets, ["rare", "common"], 5, nested=False)
    assert "mode.nested" not in sentence


def test_overlap_pairs_identical_images_of_different_parts_only() -> None:
    samples = make_samples(
        [0, 1, 0, 1, -1], ["same", "own", "same", "same", "same"], ["train", "train", "val", "test", "unlabelled"]
    )
    assert checks.overlap_problems(dataclasses.replace(samples, digests=tuple("abcde"))) == []
    (sentence,) = checks.overlap_problems(samples)
    assert sentence == (
        "task: 2 validation or test images are in the training part too (0000 = 0002, 0000 = 0003); "
        "remove them, or accept them with task.allow_overlap=true"
    )


def test_what_folds_learn_from_is_not_judged_either() -> None:
    """A validation part joins the folds, and every fold learns the extra part: a test image of either was learned."""
    parts: list[Part] = ["train", "val", "test", "test", "extra", "extra"]
    samples = make_samples([0] * 6, list("abbcca"), parts)
    fold = methods.with_extra(samples, methods.kfold(samples, folds=2, rare="allow")).fold
    learned = {samples.digests[row] for row in np.flatnonzero(fold >= 0)}
    assert {samples.digests[row] for row in np.flatnonzero(fold == TEST)} <= learned
    fix = "remove them, or accept them with task.allow_overlap=true"
    assert checks.overlap_problems(samples) == [
        f"task: 1 test image is in the validation part too, which folds may learn from (0001 = 0002); {fix}",
        f"task: 1 test image is in the extra part too, which every fold learns (0004 = 0003); {fix}",
        f"task: 1 validation or test (or extra) image is in the training part too (0000 = 0005); {fix}",
    ]
    grouped = dataclasses.replace(samples, digests=tuple("abcdef"), groups=("p", "q", "q", "r", "r", ""))
    fix = "give each group one part, or accept it with task.allow_overlap=true"
    assert checks.group_overlap_problems(grouped) == [
        f"task: 1 group is in the validation part and in another one, which folds may learn from (q); {fix}",
        f"task: 1 group is in the extra part and in another one, which every fold learns (r); {fix}",
    ]
    assert checks.overlap_problems(grouped) == []


def test_groups_of_the_training_part_that_are_elsewhere_too() -> None:
    samples = make_samples([0] * 6, parts=["train", "train", "val", "test", "test", "unlabelled"])
    assert checks.group_overlap_problems(samples) == []
    grouped = dataclasses.replace(samples, groups=("a", "", "a", "b", "", "a"))
    (sentence,) = checks.group_overlap_problems(grouped)
    assert sentence.startswith("task: 1 group is in the training part and in another one (a)")
    assert "give each group one part, or accept it with task.allow_overlap=true" in sentence
    assert checks.group_overlap_problems(dataclasses.replace(samples, groups=("a", "b", "c", "d", "", "a"))) == []
    for groups in (("a", "b", "c", "b", "", ""), ("a", "b", "b", "c", "", "")):
        assert "another one (b)" in checks.group_overlap_problems(dataclasses.replace(samples, groups=groups))[0]


def drawn(fold: list[int], n_folds: int, *, validated: tuple[int, ...] | None = None) -> methods.Split:
    return methods.Split(np.array(fold), n_folds, validated or tuple(range(n_folds)), True, 0)


def test_sentences_about_a_fold_without_a_class() -> None:
    samples = make_samples([0, 1, 0, 0, 1, 1, 0, 0, 1])
    every = drawn([0, 0, 1, 1, 1, 0, 2, 2, 2], 3)
    assert checks.missing_classes(samples, every, ["a", "b"]) == []
    torn = drawn([0, 0, 1, 1, 0, 2, 2, 2, 2], 3)
    allow = "accept it with split.rare=allow"
    wrong = "class 'b': no image of it is left to validate on in fold 1: it is of 4 images"
    assert checks.missing_classes(samples, torn, ["a", "b"]) == [f"{wrong}; use split.folds=2, or {allow}"]
    grouped = dataclasses.replace(samples, groups=("p", "q", "r", "r", "q", "s", "s", "s", "s"))
    (sentence,) = checks.missing_classes(grouped, torn, ["a", "b"])
    assert sentence == (
        "class 'b': no image of it is left to validate on in fold 1, because groups and given folds stay as they are: "
        "it is of 2 groups; "
        f"use split.folds=2, or use other groups (task.group), or {allow}"
    )


def test_a_class_in_one_group_is_missing_to_train_on_where_it_is_validated() -> None:
    samples = dataclasses.replace(make_samples([0, 0, 0, 1, 1]), groups=("p", "q", "r", "s", "s"))
    (sentence,) = checks.size_problems("classification", samples, drawn([0, 1, 0, 1, 1], 2), ["a", "b"], nested=False)
    assert sentence.startswith(
        "class 'b': no image of it is left to validate on in fold 0 and to train on in fold 1, "
        "because groups and given folds stay as they are: it is of 1 group; "
    )
    assert "split.folds" not in sentence and sentence.endswith("or accept it with split.rare=allow")


def test_one_validation_part_is_not_told_of_folds() -> None:
    held = drawn([0, 1, 1, 1], 2, validated=(0,))
    (sentence,) = checks.size_problems("classification", make_samples([0, 0, 0, 1]), held, ["a", "b"], nested=False)
    assert sentence == (
        "class 'b': 1 training image is too few for a training and a validation part; "
        "add images, or accept it with split.rare=allow"
    )
    (sentence,) = checks.size_problems("classification", make_samples([0, 0, 1, 1]), held, ["a", "b"], nested=False)
    assert sentence.endswith(
        "in fold 0: it is of 2 images; use a larger split.val_fraction, or accept it with split.rare=allow"
    )


def test_what_is_allowed_plain_or_given_is_not_refused() -> None:
    samples, classes = make_samples([0, 0, 0, 0, 1]), ["a", "b"]

    def found(split: methods.Split) -> list[str]:
        return checks.size_problems("classification", samples, split, classes, nested=False)

    assert len(found(methods.kfold(samples, folds=2))) == 1
    assert found(methods.kfold(samples, folds=2, rare="allow")) == []
    assert found(methods.kfold(samples, folds=2, stratify=False)) == []
    assert found(methods.shuffled(samples, folds=2)) == []
    # Nothing is learned of a class that no image has.
    (sentence,) = checks.size_problems(
        "classification", samples, methods.shuffled(samples, folds=2), [*classes, "c"], nested=False
    )
    assert sentence == "class 'c': no training image has it; accept it with split.rare=allow"


def test_a_validation_part_without_a_class_is_given_but_a_training_part_is_refused() -> None:
    classes = ["a", "b"]
    given = methods.given(make_samples([0, 1, 0], parts=["train", "train", "val"]))
    samples = make_samples([0, 1, 0], parts=["train", "train", "val"])
    assert checks.size_problems("classification", samples, given, classes, nested=False) == []
    samples = make_samples([0, 0, 1], parts=["train", "train", "val"])
    (sentence,) = checks.size_problems("classification", samples, methods.given(samples), classes, nested=False)
    assert sentence.startswith("class 'b': no training image has it in fold 0, as the folds came with the task; ")
    with_folds = dataclasses.replace(make_samples([0, 1, 0, 0, 1]), folds=np.array([0, 1, 1, 2, 1]))
    (sentence,) = checks.size_problems("classification", with_folds, methods.kfold(with_folds), classes, nested=False)
    assert "in fold 1," in sentence
    labels = dataclasses.replace(with_folds, targets=np.array([[1, 0], [1, 1], [0, 0], [1, 0], [0, 1]], float))
    (sentence,) = checks.size_problems("multilabel", labels, methods.kfold(labels), classes, nested=False)
    assert sentence.startswith("label 'b'") and "in fold 1," in sentence


def test_what_parts_lack_is_said_with_its_folds() -> None:
    task = make_task(make_samples([0, 0, 0, 1, 1, 2, 2], parts=["train"] * 5 + ["train", "test"]))
    split = methods.Split(np.array([0, 1, 2, 0, 0, 1, TEST]), 3, (0, 1, 2), False, 0)
    views = [variants.plain(task, split, fold) for fold in range(3)]
    assert checks.lacking(task, views) == [
        "no training image of class b in fold 0",
        "no validation image of class c in fold 0",
        "no test image of class a, b in any fold",
        "no training image of class c in fold 1",
        "no validation image of class b in fold 1",
        "no validation image of class b, c in fold 2",
    ]
    targets = np.array([[1, 0], [1, 1], [1, np.nan], [1, 0]])
    rows = [Row(f"{row}", "train", tuple(value), f"d{row}") for row, value in enumerate(targets.tolist())]
    labels = make("labels", ["x", "y"], rows, channels=1, source={"type": "none"}, kind="multilabel")
    held = methods.Split(np.array([0, 1, 1, 0]), 2, (0,), True, 0)
    assert checks.lacking(labels, [variants.plain(labels, held, 0)]) == [
        "no training image without x, y",
        "no validation image with y",
        "no validation image without x",
    ]


def test_labels_need_images_with_and_without_them() -> None:
    targets = np.array([[1, 0], [1, 0], [1, 1], [0, 1], [np.nan, np.nan]])
    samples = dataclasses.replace(make_samples([0] * 5), targets=targets)
    split = methods.Split(np.array([0, 1, 2, 0, 1]), 3, (0, 1, 2), True, 0)
    found = checks.size_problems("multilabel", samples, split, ["x", "y"], nested=False)
    fix = "use fewer folds (split.folds=N), add images, or accept it with split.rare=allow"
    assert all(sentence.endswith(f"; {fix}") for sentence in found)
    assert [sentence.partition(";")[0] for sentence in found] == [
        "label 'x': 1 training image without it is too few for 3 folds",
        "label 'y': 2 training images with it are too few for 3 folds",
        "label 'y': 2 training images without it are too few for 3 folds",
    ]
    assert (
        checks.size_problems("multilabel", samples, dataclasses.replace(split, n_folds=1), ["x", "y"], nested=True)
        == []
    )
    assert checks.size_problems("regression", samples, split, ["x", "y"], nested=False) == []


def test_sizes_count_the_pool_only() -> None:
    samples = make_samples([0, 0, 1, 1, 1], parts=["train"] * 4 + ["test"])
    split = methods.Split(np.array([0, 1, 0, 1, TEST]), 2, (0, 1), True, 0)
    assert checks.size_problems("classification", samples, split, ["a", "b"], nested=False) == []
    found = checks.size_problems(
        "classification", samples, dataclasses.replace(split, n_folds=3), ["a", "b"], nested=False
    )
    assert len(found) == 2 and "'b'" in found[1] and "2 training images are too few for 3 folds" in found[1]


def test_labels_of_one_group_are_refused_before_anything_is_trained() -> None:
    labels = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]] * 4)
    samples = dataclasses.replace(
        make_samples([0] * 12), targets=labels, groups=tuple("aaaabbbbcccc"), digests=tuple(map(str, range(12)))
    )
    made = methods.kfold(samples, folds=3)
    assert checks.size_problems("multilabel", samples, made, ["x", "y"], nested=False) == []
    rare = dataclasses.replace(samples, targets=np.where(np.arange(12)[:, None] < 4, labels, labels * [1, 0]))
    made = methods.kfold(rare, folds=2)
    (sentence,) = checks.size_problems("multilabel", rare, made, ["x", "y"], nested=False)
    assert sentence == (
        f"label 'y': no image with it is left to train on in fold {made.fold[0]}, because groups and given folds stay as "
        "they are: it is of 1 group; use other groups (task.group), or accept it with split.rare=allow"
    )
    allowed = dataclasses.replace(made, rare="allow")
    assert checks.size_problems("multilabel", rare, allowed, ["x", "y"], nested=False) == []


def test_groups_in_several_folds_are_said() -> None:
    groups = ("a", "a", "b", "b", "", "")
    samples = dataclasses.replace(make_samples([0, 1] * 3), groups=groups)
    told = "what is learned from a group is judged on the same group"
    for given_folds, sentences in (
        ([0, 0, 1, 1, 0, 1], []),
        ([0, 1, 1, 1, 0, 1], [f"1 group is in several folds (a), as the folds came with the task: {told}"]),
        ([0, 1, 1, 0, 0, 1], [f"2 groups are in several folds (a, b), as the folds came with the task: {told}"]),
    ):
        own = dataclasses.replace(samples, folds=np.array(given_folds))
        assert checks.torn_groups(own, methods.given(own)) == sentences
    assert checks.torn_groups(samples, methods.kfold(samples, folds=2)) == []


def test_images_of_another_task_that_were_learned_are_said() -> None:
    own = dataclasses.replace(make_samples([0, 1] * 5), digests=tuple(f"d{number}" for number in range(10)))
    others = dataclasses.replace(make_samples([0, 1] * 3), digests=("d0", "d9", "x", "y", "z", "d3"))
    split = dataclasses.replace(methods.kfold(own, folds=2), fold=np.array([0, 1] * 4 + [methods.TEST] * 2))
    pivot, other = (
        Task(name, "classification", ("a", "b"), 1, {"type": "folder"}, samples)
        for name, samples in (("here", own), ("there", others))
    )
    told = "among those that here is learned from, which flatters its scores"
    assert checks.learned_images_notes(pivot, split, other) == [f"there: 2 of its 6 images are {told}"]
    tested = dataclasses.replace(others, parts=("train",) * 5 + ("test",))
    assert checks.learned_images_notes(pivot, split, dataclasses.replace(other, samples=tested)) == [
        f"there: 1 of its 1 images is {told}"
    ]
    apart = dataclasses.replace(others, digests=tuple("uvwxyz"))
    assert checks.learned_images_notes(pivot, split, dataclasses.replace(other, samples=apart)) == []


def test_missing_classes_of_very_many_take_no_table_of_samples_and_classes() -> None:
    """4,000 samples of 20,000 classes would be a table of 80 MB."""
    samples = make_samples([*range(1999), 5000] * 2)
    split = drawn([0] * 1999 + [1] + [1] * 1999 + [1], 2)
    tracemalloc.start()
    problems = checks.missing_classes(samples, split, [str(number) for number in range(20_000)])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Class 5000 is in fold 1 alone; those that no sample is of are missing everywhere.
    assert (
        most < 40e6
        and "class '5000': no image of it is left to validate on in fold 0 and to train on in fold 1" in problems[3001]
    )
    assert len(problems) == 20_000 - 1999
