"""Whether a split can be learned from: enough samples of every class in every fold, none and no group of them in two parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlpipe.data.dealing import Ints
from mlpipe.data.splits import Split
from mlpipe.data.task import Kind, Samples
from mlpipe.errors import listing, problem


def missing_classes(fold: Ints, n_folds: int, targets: Ints, classes: Sequence[str]) -> list[str]:
    """A sentence for every fold that groups, or folds that were given, leave without a class.

    Args:
        fold: The split's fold numbers, shape (n,).
        n_folds: How many folds.
        targets: Class numbers, shape (n,).
        classes: The classes' names.
    """
    found = []
    for number in range(n_folds):
        there = set(targets[fold == number].tolist())
        absent = [name for index, name in enumerate(classes) if index not in there]
        # A fold without any image is one that nothing is judged on.
        if there and absent:
            wrong = f"has no image of {listing(absent)}, because groups and given folds stay as they are"
            found.append(problem(f"fold {number}", wrong, fix="use fewer folds (split.folds=N), or other groups"))
    return found


def size_problems(kind: Kind, samples: Samples, split: Split, classes: Sequence[str], *, nested: bool) -> list[str]:
    """A sentence for everything that the folds of a split have too little of.

    Args:
        kind: The task's kind.
        samples: The task's samples.
        split: The split.
        classes: The names of classes, labels or numbers.
        nested: Whether each fold is set aside and the rest split again.
    """
    pool = split.fold >= 0
    targets = samples.targets[pool]
    if kind == "classification":
        found = class_size_problems(targets, classes, split.n_folds, nested=nested)
        if not found:
            found = missing_classes(split.fold, split.n_folds, samples.targets, classes)
        return found
    if kind == "multilabel":
        fix = "use fewer folds (split.folds=N), or add images"
        return [
            problem(f"label {name!r}", f"{count} training images {what} are too few for {split.n_folds} folds", fix=fix)
            for column, name in enumerate(classes)
            for value, what in ((1, "with it"), (0, "without it"))
            if (count := int((targets[:, column] == value).sum())) < split.n_folds
        ]
    return []


def class_size_problems(targets: Ints, classes: Sequence[str], n_folds: int, *, nested: bool) -> list[str]:
    """A sentence for every class with too few images for its folds.

    A class of c images needs c >= n folds; nested, the c - ceil(c / n) that remain must again be at least n.

    Args:
        targets: Class numbers of the pool, shape (n,).
        classes: The classes' names.
        n_folds: How many folds.
        nested: Whether each fold is set aside and the rest split again.
    """
    counts = np.bincount(targets[targets >= 0], minlength=len(classes))
    remaining = counts - np.ceil(counts / n_folds).astype(np.int64) if nested else counts
    scheme = f"nested {n_folds} x {n_folds} folds" if nested else f"{n_folds} folds"
    fix = "use fewer folds (split.folds=N)" + (" or mode.nested=false" if nested else "") + ", or add images"
    return [
        problem(f"class {name!r}", f"{count} training images are too few for {scheme}", fix=fix)
        for name, count, left in zip(classes, counts.tolist(), remaining.tolist(), strict=True)
        if left < n_folds
    ]


def overlap(samples: Samples) -> list[tuple[str, str]]:
    """Pairs of ids (training, validation or test) whose source bytes are identical."""
    training = {
        digest: name
        for digest, name, part in zip(samples.digests, samples.ids, samples.parts, strict=True)
        if part == "train"
    }
    return [
        (training[digest], name)
        for digest, name, part in zip(samples.digests, samples.ids, samples.parts, strict=True)
        if part in ("val", "test") and digest in training
    ]


def overlap_problem(pairs: Sequence[tuple[str, str]]) -> str:
    """The sentence for images that are in the training part and in another one."""
    shown = listing([f"{one} = {other}" for one, other in pairs], most=3)
    fix = "remove them, or accept them with task.allow_overlap=true"
    return problem("task", f"{len(pairs)} validation or test images are in the training part too ({shown})", fix=fix)


def group_overlap_problems(samples: Samples) -> list[str]:
    """A sentence when groups of the training part have images in the validation or test part too."""
    if not samples.groups:
        return []
    parts = np.array(samples.parts)
    groups = np.array(samples.groups)
    training = set(groups[parts == "train"].tolist()) - {""}
    torn = sorted(training & set(groups[np.isin(parts, ("val", "test"))].tolist()))
    if not torn:
        return []
    fix = "give each group one part, or accept it with task.allow_overlap=true"
    wrong = f"{len(torn)} groups are in the training part and in another one ({listing(torn, most=3)})"
    return [problem("task", wrong, fix=fix)]
