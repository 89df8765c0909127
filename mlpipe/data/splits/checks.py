"""Checks that a split can be trained on: enough samples of every class in each fold, no group in two parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import kinds
from mlpipe.data import kind as kind_data
from mlpipe.data.splits.assignment import Ints, grouped
from mlpipe.data.splits.methods import TEST, Split
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Part, Samples, Task, has_target
from mlpipe.errors import counted, listing, problem

_ALLOWED = "accept it with split.rare=allow"


def size_problems(kind: str, samples: Samples, split: Split, classes: Sequence[str], *, nested: bool) -> list[str]:
    """Return a sentence for every class or label that is too rare for the split; none if the split allows rare classes.

    Plain folds, drawn without classes or groups, and folds that came with the task are refused only if a class could not be
    learned; classes missing in a part are only reported (`lacking`).

    Args:
        kind: The task's kind.
        samples: The task's samples.
        split: The split.
        classes: The names of classes, labels or numbers.
        nested: Whether each fold is set aside and the rest is split again.
    """
    of_kind = kind_data.of(kind)
    if split.rare == "allow" or not (of_kind.IS_CLASS_NUMBER or of_kind.IS_LABELS):
        return []
    pool = split.fold >= 0
    targets, is_single = samples.targets[pool], len(split.validated) == 1
    if split.is_given or split.dealing == "group":
        return _unlearned_problems(kind, samples, split, classes)
    if is_lenient(split, samples):
        counts = _counts(targets, len(classes)) if of_kind.IS_CLASS_NUMBER else np.ones(len(classes))
        absent = [name for name, count in zip(classes, counts.tolist(), strict=True) if not count]
        return [problem(f"class {name!r}", "no training image has it", fix=_ALLOWED) for name in absent]
    if of_kind.IS_CLASS_NUMBER:
        problems = class_size_problems(targets, classes, split.n_folds, nested=nested, is_single=is_single)
        return problems or missing_classes(samples, split, classes)
    into = _parts_text(split.n_folds, nested=False, is_single=is_single)
    fix = f"{_fewer_folds_advice(nested=False, is_single=is_single)}add images, or {_ALLOWED}"
    few = [
        problem(
            f"label {name!r}",
            f"{_training_images_text(count, f' {phrase}')} too few for {into}",
            fix=fix,
        )
        for column, name in enumerate(classes)
        for value, phrase in ((1, "with it"), (0, "without it"))
        if (count := int((targets[:, column] == value).sum())) < split.n_folds
    ]
    return few or missing_classes(samples, split, classes)


def of_repeats(kind: str, samples: Samples, split: Split, classes: Sequence[str], *, nested: bool) -> list[str]:
    """Return `size_problems` of all repeats of a split, without duplicates."""
    sentence_lists = [size_problems(kind, samples, repeat, classes, nested=nested) for repeat in split.each()]
    return list(dict.fromkeys(sentence for sentences in sentence_lists for sentence in sentences))


def _training_images_text(count: int, phrase: str = "") -> str:
    return counted(count, f"training image{phrase} is", f"training images{phrase} are")


def class_size_problems(
    targets: Ints, classes: Sequence[str], n_folds: int, *, nested: bool, is_single: bool = False
) -> list[str]:
    """Return a sentence for every class with too few images for its folds.

    A class of c images needs c >= n folds; nested, the c - ceil(c / n) that remain must again be at least n.

    Args:
        targets: Class numbers of the pool, shape (n,).
        classes: The classes' names.
        n_folds: The number of folds.
        nested: Whether each fold is set aside and the rest is split again.
        is_single: Whether there is a single validation part instead of one per fold.
    """
    counts = _counts(targets, len(classes))
    remaining = counts - np.ceil(counts / n_folds).astype(np.int64) if nested else counts
    into = _parts_text(n_folds, nested=nested, is_single=is_single)
    fix = f"{_fewer_folds_advice(nested=nested, is_single=is_single)}add images, or {_ALLOWED}"
    return [
        problem(f"class {name!r}", f"{_training_images_text(count)} too few for {into}", fix=fix)
        for name, count, left in zip(classes, counts.tolist(), remaining.tolist(), strict=True)
        if left < n_folds
    ]


def missing_classes(samples: Samples, split: Split, classes: Sequence[str]) -> list[str]:
    """Return a sentence for every class or label that is missing in a fold although it has enough images.

    A class needs an image to train on and one to validate on, a label only one to train on.

    Args:
        samples: The task's samples.
        split: Folds that were drawn with classes or groups in mind.
        classes: The names of classes or labels.
    """
    pool, is_class = split.fold >= 0, samples.targets.ndim == 1
    counts = np.array([_counts_of(samples, split.fold == fold, len(classes)) for fold in split.validated])
    # A fold without any image is one that nothing is validated on.
    is_there = np.array([[bool((split.fold == fold).any())] for fold in split.validated])
    lost = {
        "to validate on": is_there & (counts == 0) & is_class,
        "to train on": is_there & (counts == _counts_of(samples, pool, len(classes))),
    }
    noun, image = ("class", "image of it") if is_class else ("label", "image with it")
    problems = []
    for number in np.flatnonzero(np.any([*lost.values()], axis=(0, 1))).tolist():
        held = len(set(grouped(samples, np.flatnonzero(pool & _class_mask(samples, number)))))
        folds = {to: at[:, number] for to, at in lost.items()}
        where = [f"{to} in fold {listing(np.array(split.validated)[at])}" for to, at in folds.items() if at.any()]
        why = ", because groups and given folds stay as they are" if samples.groups else ""
        held_by = f"it is of {counted(held, _unit(samples))}"
        wrong = f"no {image} is left {' and '.join(where)}{why}: {held_by}"
        problems.append(problem(f"{noun} {classes[number]!r}", wrong, fix=_missing_class_advice(samples, split, held)))
    return problems


def _class_mask(samples: Samples, number: int) -> npt.NDArray[np.bool_]:
    """Return a mask of the samples that belong to a class or have a label."""
    if samples.targets.ndim == 1:
        return np.asarray(samples.targets == number)
    return np.asarray(samples.targets[:, number] == 1)


def _counts_of(samples: Samples, rows: npt.NDArray[np.bool_], classes: int) -> Ints:
    """Return the number of the given samples in each class or with each label, shape (classes,)."""
    targets = samples.targets[rows]
    return _counts(targets, classes) if targets.ndim == 1 else (targets == 1).sum(axis=0)


def torn_groups(samples: Samples, split: Split) -> list[str]:
    """Return a sentence if groups lie in several folds, or also in the test part, as given folds and time folds allow.

    A task's own test part is not checked here; `group_overlap_problems` does that.

    Args:
        samples: The task's samples.
        split: Its split.
    """
    folds: dict[str, set[int]] = {}
    for group, fold, part in zip(samples.groups, split.fold.tolist(), samples.parts, strict=False):
        if group and (fold >= 0 or (fold == TEST and part != "test")):
            folds.setdefault(group, set()).add(fold)
    torn = [group for group, numbers in folds.items() if len(numbers) > 1]
    if not torn:
        return []
    amount = counted(len(torn), "group is", "groups are")
    why = ", as the folds came with the task" if split.is_given else ""
    clause = "what is learned from a group is judged on the same group"
    where = (
        "in several folds, or in the test part too"
        if any(TEST in folds[group] for group in torn)
        else "in several folds"
    )
    return [f"{amount} {where} ({listing(torn, most=3)}){why}: {clause}"]


def _missing_class_advice(samples: Samples, split: Split, held: int) -> str:
    """Return advice for a missing class, which has images in `held` groups or sets of identical images."""
    is_single = len(split.validated) == 1
    ways = []
    if is_single and held > 1:
        ways.append("use a larger split.val_fraction")
    elif not is_single and held > 1:
        ways.append(
            f"use split.folds={min(held, split.n_folds - 1)}" if split.n_folds > 2 else "use another split.seed"
        )
    if samples.groups:
        ways.append("use other groups (task.group)")
    return ", or ".join([*ways, _ALLOWED])


def _unit(samples: Samples) -> str:
    return "group" if samples.groups else "image"


def is_lenient(split: Split, samples: Samples) -> bool:
    """Return whether a fold may lack a class: rare classes are allowed, or folds were not drawn by classes or groups."""
    if split.rare == "allow" or split.dealing == "time":
        return True
    return not (split.stratify or samples.groups or split.is_given)


def _counts(targets: npt.NDArray[Any], classes: int) -> Ints:
    """Return the number of rows of each class."""
    return np.bincount(targets[targets >= 0], minlength=classes).astype(np.int64)


def lacking(task: Task, views: Sequence[View]) -> list[str]:
    """Return a sentence for each part that lacks classes or labels, with the folds concerned.

    Args:
        task: The task.
        views: The rows of the folds that will be trained.
    """
    absences: dict[tuple[str, str, tuple[str, ...]], list[int]] = {}

    def note(view: View, part: str, what: str, counts: npt.NDArray[Any]) -> None:
        absent = tuple(name for name, count in zip(task.classes, counts.tolist(), strict=True) if not count)
        if absent:
            absences.setdefault((part, what, absent), []).append(view.fold)

    for view in views:
        for part, rows in (("training", view.train), ("validation", view.val), ("test", view.test)):
            if has_target(task.samples.targets[rows]).any():
                note(view, part, kinds.of(task.kind).words.SAMPLE_OF, task.class_counts(rows))
                if kind_data.of(task.kind).IS_LABELS:
                    note(view, part, "image without", (task.samples.targets[rows] == 0).sum(axis=0))
    return [
        f"no {part} {phrase} {listing(names, most=10)}{_folds_text(folds, len(views))}"
        for (part, phrase, names), folds in absences.items()
    ]


def _folds_text(folds: Sequence[int], of: int) -> str:
    """Return the folds as text for a sentence; empty if there is only one, or all are meant."""
    if len(folds) == of:
        return " in any fold" if of > 1 else ""
    return f" in fold{'s' * (len(folds) > 1)} {listing(folds)}"


def _unlearned_problems(kind: str, samples: Samples, split: Split, classes: Sequence[str]) -> list[str]:
    """Return a sentence for every class or label without a training image in folds that came with the task."""
    noun, pool = kinds.of(kind).words.OUTPUT, split.fold >= 0
    trained = [_counts_of(samples, pool & (split.fold != fold), len(classes)) for fold in split.validated]
    problems = []
    for name, counts in zip(classes, np.transpose(trained), strict=True):
        folds = np.array(split.validated)[counts == 0].tolist()
        if folds:
            fix = f"give it other {'folds' if split.is_given else 'groups'}, or {_ALLOWED}"
            why = "as the folds came with the task" if split.is_given else "as all its images are of one group"
            wrong = f"no training image has it in fold {listing(folds)}, {why}"
            problems.append(problem(f"{noun} {name!r}", wrong, fix=fix))
    return problems


def _parts_text(n_folds: int, *, nested: bool, is_single: bool) -> str:
    if is_single:
        return "a training and a validation part"
    return f"nested {n_folds} x {n_folds} folds" if nested else f"{n_folds} folds"


def _fewer_folds_advice(*, nested: bool, is_single: bool) -> str:
    """Return advice for a class with too few samples for so many parts."""
    if is_single:
        return ""
    return "use fewer folds (split.folds=N)" + (" or mode.nested=false" if nested else "") + ", "


# For each part that is judged, the parts that its model may train on: a validation part joins the folds, each of which
# trains on the others, and every fold trains on the extra part.
_LEARNED_BESIDE: Mapping[str, tuple[Part, ...]] = {
    "extra": ("train",),
    "val": ("train", "extra"),
    "test": ("train", "extra", "val"),
}
_PARTS_IN_WORDS: Mapping[str, str] = {
    "train": "the training part too",
    "extra": "the extra part too, which every fold learns",
    "val": "the validation part too, which folds may learn from",
}


def overlap_problems(samples: Samples) -> list[str]:
    """Return a sentence for each part that is trained on and shares byte-identical images with other parts."""
    fix = "remove them, or accept them with task.allow_overlap=true"
    problems = []
    for learned, pairs in _shared(samples, samples.digests).items():
        examples = listing([f"{name} = {other}" for name, other, _ in pairs], most=3)
        parts = {part for _, _, part in pairs}
        images = "test" if parts == {"test"} and learned != "train" else "validation or test"
        images += " (or extra)" if "extra" in parts else ""
        amount = counted(len(pairs), f"{images} image is", f"{images} images are")
        wrong = f"{amount} in {_PARTS_IN_WORDS[learned]} ({examples})"
        problems.append(problem("task", wrong, fix=fix))
    return problems


def _shared(samples: Samples, keys: Sequence[str]) -> dict[str, list[tuple[str, str, Part]]]:
    """For each part that is trained on, list images with the same key in another part: (id, other id, other part).

    Args:
        samples: The task's samples.
        keys: A key for each sample; an empty key matches no other.
    """
    by_part: dict[str, dict[str, str]] = {}
    for key, name, part in zip(keys, samples.ids, samples.parts, strict=True):
        by_part.setdefault(part, {})[key] = name
    pairs: dict[str, list[tuple[str, str, Part]]] = {}
    for key, name, part in zip(keys, samples.ids, samples.parts, strict=True):
        others = (other for other in _LEARNED_BESIDE.get(part, ()) if key in by_part.get(other, {}))
        if key and (learned := next(others, None)):
            pairs.setdefault(learned, []).append((by_part[learned][key], name, part))
    return pairs


def group_overlap_problems(samples: Samples) -> list[str]:
    """Return a sentence for each part that is trained on and has groups that also occur in other parts."""
    fix = "give each group one part, or accept it with task.allow_overlap=true"
    group_of, problems = dict(zip(samples.ids, samples.groups, strict=False)), []
    for learned, pairs in (_shared(samples, samples.groups) if samples.groups else {}).items():
        torn = sorted({group_of[name] for _, name, _ in pairs})
        where = _PARTS_IN_WORDS[learned].replace(" too", " and in another one", 1)
        wrong = f"{counted(len(torn), 'group is', 'groups are')} in {where} ({listing(torn, most=3)})"
        problems.append(problem("task", wrong, fix=fix))
    return problems


def learned_images_notes(task: Task, split: Split, other: Task) -> list[str]:
    """Return a sentence if a task that another task's models evaluate has images that these models were trained on.

    Args:
        task: The task that is trained on.
        split: Its split.
        other: The evaluated task: its test part, or without one all samples that have a target.
    """
    learned = {task.samples.digests[row] for row in np.flatnonzero(split.fold >= 0)}
    test = other.samples.in_part("test")
    judged = np.flatnonzero(test if test.any() else other.samples.labelled)
    count = sum(other.samples.digests[row] in learned for row in judged)
    if not count:
        return []
    amount = counted(count, f"of its {len(judged)} images is", f"of its {len(judged)} images are")
    return [f"{other.name}: {amount} among those that {task.name} is learned from, which flatters its scores"]
