"""Task variants by tags in the name: `digits+subset?0.1+noise?0.2` is a tenth of digits with a fifth of labels wrong.

A tag is `+NAME?ARGUMENT`, and a second argument follows after another `?` (a seed, if the tag draws). Tags are applied from
left to right. They change which images of the pivot are trained on, or what training sees of them; images are never copied.
First the pivot's own test part is fixed, so that every variant is tested on the same images as the pivot; only `nested`,
`remove` and `bring` change that, as documented. Draws depend only on the tag's seed and the samples' ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from mlpipe.data import kind
from mlpipe.data.augment.samples import uniform
from mlpipe.data.records import outputs
from mlpipe.data.sampling import sample_seeds
from mlpipe.data.splits.assignment import grouped
from mlpipe.data.splits.methods import TEST, UNLABELLED, Split, inner_folds
from mlpipe.data.task import Part, Samples, Task
from mlpipe.errors import DataError, did_you_mean, listing, problem
from mlpipe.files import digest_bytes

_ALIASES = {"confuse": "noise"}


@dataclass(frozen=True)
class Tag:
    """One tag of a name.

    Attributes:
        name: The name of the tag, a key of `KNOWN`.
        argument: Its first argument as it was given.
        seed: Its second argument; 0 if it was left out.
    """

    name: str
    argument: str
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.name}?{self.argument}" + (f"?{self.seed}" if self.seed else "")


@dataclass(frozen=True)
class World:
    """Facts that tags may need.

    Attributes:
        split: Returns the configured split of a task; for a variant without drawing another test part.
        task: Returns another task by its name.
    """

    split: Callable[[Task], Split]
    task: Callable[[str], Task]


def problems(text: str) -> list[str]:
    """Return a sentence for each fault of tags that shows without the task."""
    try:
        parse(text)
    except DataError as error:
        return list(error.problems)
    return []


def parse(text: str) -> list[Tag]:
    """Return the tags in a text such as `subset?0.1+noise?0.2`.

    Raises:
        DataError: With a sentence for each tag that is unknown, or has an argument that does not fit.
    """
    tags: list[Tag] = []
    wrong: list[str] = []
    for part in text.split("+") if text else ():
        name, *arguments = part.split("?")
        name = _ALIASES.get(name, name)
        if name not in KNOWN:
            fix = did_you_mean(name, [*KNOWN, *_ALIASES], otherwise=f"tags: {listing(KNOWN)}")
            wrong.append(problem("task", "there is no such tag", got=f"+{part}", fix=fix))
            continue
        known = KNOWN[name]
        if not arguments or not re.fullmatch(known.pattern, arguments[0]):
            wrong.append(
                problem("task", f"tag {name} needs {known.what}", got=f"+{part}", fix=f"write {known.example}")
            )
        elif len(arguments) > 1 + known.draws or not all(
            re.fullmatch(r"\d{1,9}", argument) for argument in arguments[1:]
        ):
            fix = "a seed may follow after '?'" if known.draws else "leave the rest out"
            wrong.append(problem("task", f"tag {name} has an argument too many", got=f"+{part}", fix=fix))
        else:
            plain = f"{float(arguments[0]):g}" if "." in arguments[0] and known.pattern == _SHARE else arguments[0]
            tags.append(Tag(name, plain, int(arguments[1]) if len(arguments) > 1 else 0))
    if wrong:
        raise DataError(wrong)
    return tags


def canonical(text: str) -> str:
    """Return the tags as records store them: aliases replaced, numbers in one form."""
    return "+".join(map(str, parse(text)))


def derive(base: Task, tags: Sequence[Tag], world: World) -> Task:
    """Return the variant of a task that tags describe; its samples are rows of the tasks in its `bases`.

    Args:
        base: The pivot.
        tags: Applied from left to right.
        world: The split, and other tasks.

    Raises:
        DataError: If an argument does not fit the task, or a class is left without a training image.
    """
    variant = replace(_with_fixed_test(base, world.split(base)), bases=(base,))
    for tag in tags:
        changed = KNOWN[tag.name].apply(variant, tag, world)
        variant = replace(changed, name=f"{variant.name}+{tag}")
        _check(variant)
    return variant


def _with_fixed_test(task: Task, split: Split) -> Task:
    """Return the task with the parts of the split, so that later splits have the same test images."""
    fixed_parts: dict[int, Part] = {TEST: "test", UNLABELLED: "unlabelled"}
    parts = tuple(fixed_parts.get(int(fold), part) for fold, part in zip(split.fold, task.samples.parts, strict=True))
    return replace(task, samples=replace(task.samples, parts=parts))


def _pool(samples: Samples) -> Rows:
    return np.flatnonzero(samples.in_part("train", "val") & samples.labelled)


def _check(variant: Task) -> None:
    pool = _pool(variant.samples)
    if kind.of(variant.kind).IS_CLASS_NUMBER:
        counts = variant.class_counts(pool).tolist()
        empty = [name for name, count in zip(variant.classes, counts, strict=True) if not count]
        if empty:
            wrong = f"no training image is left of {listing(empty)}"
            raise DataError(problem(f"task {variant.name}", wrong, fix="keep more images, or remove the class"))
    if not len(pool):
        raise DataError(problem(f"task {variant.name}", "no training image is left", fix="keep more images"))


def _subset(task: Task, tag: Tag, world: World) -> Task:
    share = float(tag.argument)
    if not 0 < share <= 1:
        raise DataError(problem("task", "the share must lie in 0 to 1", got=f"+{tag}", fix="write +subset?0.1"))
    if task.samples.groups:
        return _subset_of_groups(task, share, tag)
    return _subset_of_samples(task, round(share * len(_pool(task.samples))), tag)


def _subset_of_groups(task: Task, share: float, tag: Tag) -> Task:
    """Return the task with whole groups of the training part: as many as come nearest to the share of its images.

    Groups are ordered so that each class, by the majority class of a group, loses the same share, and a smaller subset is
    contained in a larger one.
    """
    samples, pool = task.samples, _pool(task.samples)
    names, group = np.unique(grouped(samples, pool), return_inverse=True)
    order, sizes = draws("subset", tag.seed, names.tolist()), np.bincount(group)
    of_samples = kind.of(task.kind).strata(samples.targets[pool])
    table = np.zeros((len(names), int(of_samples.max(initial=0)) + 1), np.int64)
    np.add.at(table, (group, of_samples), 1)
    strata, urgency = table.argmax(axis=1), np.empty(len(names))
    for level in np.unique(strata):
        members = np.flatnonzero(strata == level)
        ranked = members[np.argsort(order[members], kind="stable")]
        urgency[ranked] = (np.cumsum(sizes[ranked]) - sizes[ranked] / 2) / sizes[ranked].sum()
    ranked = np.lexsort((order, urgency))
    count = int(np.abs(np.cumsum(sizes[ranked]) - share * len(pool)).argmin()) + 1
    return _with_training_rows(task, pool[np.isin(group, ranked[:count])])


def _shrink(task: Task, tag: Tag, world: World) -> Task:
    count, pool_size = int(tag.argument), len(_pool(task.samples))
    if count > pool_size:
        raise DataError(problem("task", f"there are only {pool_size} training images", got=f"+{tag}", fix="use fewer"))
    return _subset_of_samples(task, count, tag)


def _subset_of_samples(task: Task, count: int, tag: Tag) -> Task:
    """Return the task with fewer training samples: classes lose equal shares, and smaller subsets lie in larger ones."""
    samples, pool = task.samples, _pool(task.samples)
    order = draws("subset", tag.seed, [samples.ids[row] for row in pool])
    strata = kind.of(task.kind).strata(samples.targets[pool])
    urgency = np.empty(len(pool))
    for level in np.unique(strata):
        members = np.flatnonzero(strata == level)
        ranked = members[np.argsort(order[members], kind="stable")]
        urgency[ranked] = (np.arange(len(members)) + 0.5) / len(members)
    return _with_training_rows(task, pool[np.lexsort((order, urgency))[:count]])


def _with_training_rows(task: Task, rows: Rows) -> Task:
    """Return the task with these rows of its training part, and all rows of its other parts."""
    samples = task.samples
    gone = np.setdiff1d(np.flatnonzero(samples.in_part("train", "val")), rows)
    return replace(task, samples=samples.only(np.setdiff1d(np.arange(len(samples)), gone)))


def _noise(task: Task, tag: Tag, world: World) -> Task:
    _refuse_kind(task, tag)
    share = float(tag.argument)
    if not 0 <= share <= 1:
        raise DataError(problem("task", "the share must lie in 0 to 1", got=f"+{tag}", fix="write +noise?0.2"))
    if kind.of(task.kind).IS_CLASS_NUMBER and len(task.classes) < 2:
        raise DataError(problem("task", "there is a single class", got=f"+{tag}", fix="leave the tag out"))
    samples = task.samples
    changed = noisy(samples, _pool(samples), share, tag.seed, len(task.classes))
    return replace(task, samples=replace(samples, noisy=changed))


def _bootstrap(task: Task, tag: Tag, world: World) -> Task:
    text = "".join(task.samples.ids[row] + "\n" for row in _pool(task.samples))
    # The key also depends on the samples, so that two tasks of the same size are not drawn alike.
    key = int(digest_bytes(f"{tag.argument}\n{text}".encode())[:12], 16)
    return replace(task, bootstraps=(*task.bootstraps, key))


def _nested(task: Task, tag: Tag, world: World) -> Task:
    split, fold = world.split(task), int(tag.argument)
    if not split.can_nest:
        raise DataError(problem("task", "nested needs folds that all validate", got=f"+{tag}", fix="use split=kfold"))
    if fold not in split.validated:
        fix = f"the folds are {split.validated[0]} to {split.validated[-1]}"
        raise DataError(problem("task", "there is no such fold", got=f"+{tag}", fix=fix))
    split, fold = split.of_fold(fold)
    inner = inner_folds(task.samples, split, fold)
    rows = np.flatnonzero((inner >= 0) | (split.fold == fold))
    samples = task.samples.only(rows)
    is_extra = samples.in_part("extra")
    parts: tuple[Part, ...] = tuple(
        "test" if held else "extra" if extra else "train"
        for held, extra in zip(split.fold[rows] == fold, is_extra, strict=True)
    )
    return replace(task, samples=replace(samples, parts=parts, folds=np.where(is_extra, -1, inner[rows])))


def _refuse_kind(task: Task, tag: Tag) -> None:
    if refusal := kind.of(task.kind).KEPT:
        wrong, fix = refusal
        raise DataError(problem("task", wrong, got=f"+{tag}", fix=fix))


def _remove(task: Task, tag: Tag, world: World) -> Task:
    _refuse_kind(task, tag)
    name, samples = unquote(tag.argument), task.samples
    number = _class_number(task, name, tag)
    of_kind = kind.of(task.kind)
    if wrong := of_kind.unremovable(len(task.classes)):
        raise DataError(problem("task", wrong, got=f"+{tag}", fix="leave the tag out"))
    classes = tuple(label for label in task.classes if label != name)
    if of_kind.IS_CLASS_NUMBER:
        remainder = samples.only(np.flatnonzero(samples.targets != number))
        noisy = remainder.noisy
        if noisy is not None:
            # A removed label cannot be the noisy one: the true label is restored.
            noisy = _renumbered_classes(np.where(noisy == number, remainder.targets, noisy), number)
        return replace(
            task,
            classes=classes,
            samples=replace(remainder, targets=_renumbered_classes(remainder.targets, number), noisy=noisy),
        )
    noisy = None if samples.noisy is None else np.delete(samples.noisy, number, axis=1)
    remainder = replace(samples, targets=np.delete(samples.targets, number, axis=1), noisy=noisy)
    return replace(task, classes=classes, samples=remainder)


def _renumbered_classes(targets: Rows, number: int) -> Rows:
    """Renumber classes after one class was removed."""
    return np.where(targets > number, targets - 1, targets)


def _class_number(task: Task, name: str, tag: Tag) -> int:
    if name not in task.classes:
        fix = did_you_mean(name, task.classes, otherwise=f"{task.name} has {listing(task.classes)}")
        raise DataError(problem("task", f"{task.name} has no {name!r}", got=f"+{tag}", fix=fix))
    return task.classes.index(name)


def _bring(task: Task, tag: Tag, world: World) -> Task:
    source, _, text = tag.argument.partition(":")
    name, other = unquote(text), world.task(source)
    for candidate in (task, other):
        if not kind.of(candidate.kind).IS_CLASS_NUMBER:
            fix = "leave the tag out"
            raise DataError(problem("task", f"{candidate.name} has no classes to bring", got=f"+{tag}", fix=fix))
    if other.name == task.bases[0].name:
        raise DataError(problem("task", "the class is of the task itself", got=f"+{tag}", fix="leave the tag out"))
    if other.dtype != task.dtype or (other.channels != task.channels and 1 not in (other.channels, task.channels)):
        wrong = (
            f"{other.name} has {other.channels} channels of {other.dtype}, {task.name} {task.channels} of {task.dtype}"
        )
        raise DataError(problem("task", wrong, got=f"+{tag}", fix="bring a class of images alike"))
    number = _class_number(other, name, tag)
    fixed = _with_fixed_test(other, world.split(other)).samples
    classes = task.classes if name in task.classes else (*task.classes, name)
    rows = np.flatnonzero(fixed.targets == number)
    samples = _joined(task.samples, fixed.only(rows), other.name, classes.index(name))
    known = {base.name for base in task.bases}
    bases = task.bases if other.name in known else (*task.bases, other)
    return replace(task, classes=classes, samples=samples, channels=max(task.channels, other.channels), bases=bases)


def _joined(own: Samples, brought: Samples, source: str, number: int) -> Samples:
    """Merge the samples of both in the order of their ids; the brought ones are named after their task."""
    n, targets = len(brought), np.full(len(brought), number, np.int64)
    groups: tuple[str, ...] = ()
    if own.groups or brought.groups:
        others = [f"{source}:{group}" if group else "" for group in brought.groups or ("",) * n]
        groups = (*(own.groups or ("",) * len(own)), *others)
    weights = None
    if own.weights is not None or brought.weights is not None:
        weights = np.concatenate(
            [np.ones(len(part)) if part.weights is None else part.weights for part in (own, brought)]
        )
    both = Samples(
        (*own.ids, *(f"{source}:{name}" for name in brought.ids)),
        own.parts + brought.parts,
        np.concatenate([own.targets, targets]),
        own.digests + brought.digests,
        groups,
        weights,
        None,
        None if own.noisy is None else np.concatenate([own.noisy, targets]),
        strata=tuple(name for part in (own, brought) for name in part.strata or ("",) * len(part))
        if own.strata or brought.strata
        else (),
        orders=None
        if own.orders is None and brought.orders is None
        else np.concatenate(
            [np.full(len(part), np.nan) if part.orders is None else part.orders for part in (own, brought)]
        ),
    )
    if len(set(both.ids)) != len(both.ids):
        wrong = "ids of the two tasks are the same, or the class was brought before"
        raise DataError(problem("task", wrong, got=source, fix="bring it once"))
    order = np.array(sorted(range(len(both)), key=both.ids.__getitem__), np.int64)
    return both.only(order)


def _head(task: Task, tag: Tag, world: World) -> Task:
    return outputs.of(task, unquote(tag.argument))


@dataclass(frozen=True)
class _Known:
    """A known tag: its effect, the form of its argument, and whether a seed may follow."""

    apply: Callable[[Task, Tag, World], Task]
    pattern: str
    what: str
    example: str
    draws: bool = False


_SHARE, _NUMBER, _TEXT = r"\d+(\.\d+)?|\.\d+", r"\d{1,9}", r".+"
KNOWN = {
    "nested": _Known(_nested, _NUMBER, "a fold's number", "+nested?0"),
    "subset": _Known(_subset, _SHARE, "a share of the training images", "+subset?0.1", draws=True),
    "shrink": _Known(_shrink, _NUMBER, "a number of training images", "+shrink?100", draws=True),
    "noise": _Known(_noise, _SHARE, "a share of the training labels", "+noise?0.2", draws=True),
    "remove": _Known(_remove, _TEXT, "a class", "+remove?CLASS"),
    "bring": _Known(_bring, r"[^:]+:.+", "a task and a class", "+bring?TASK:CLASS"),
    "bootstrap": _Known(_bootstrap, _NUMBER, "a seed", "+bootstrap?1"),
    "head": _Known(_head, _TEXT, "an output of records with several", "+head?NAME"),
}


Rows = npt.NDArray[np.int64]


def draws(purpose: str, seed: int, ids: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return a number from 0 to 1 for each id that depends only on it, the purpose and the seed; shape (ids,)."""
    return uniform(sample_seeds(tuple(f"{purpose} {seed} {name}" for name in ids)), 0)


def noisy(samples: Samples, pool: Rows, share: float, seed: int, n_classes: int) -> npt.NDArray[Any]:
    """Return the targets that training sees if a share of the pool's targets are wrong, shaped as `Samples.targets`.

    A class number becomes one of the other classes with equal probability (symmetric noise, Patrini et al. 2017). Labels and
    numbers to predict are permuted among the chosen samples, which keeps the frequency of each value.

    Args:
        samples: The task's samples.
        pool: The rows that may be trained on.
        share: The share that is wrong, 0 to 1; the rounded number exactly.
        seed: The seed of the choice and of the new values.
        n_classes: The number of classes.
    """
    ids = [samples.ids[row] for row in pool]
    chosen = pool[np.argsort(draws("noise", seed, ids), kind="stable")[: round(share * len(pool))]]
    targets = samples.learned.copy()
    if targets.ndim == 2:
        targets[chosen] = targets[np.roll(chosen, 1)]
        return targets
    steps = 1 + np.floor(draws("class", seed, [samples.ids[row] for row in chosen]) * (n_classes - 1)).astype(np.int64)
    targets[chosen] = (targets[chosen] + steps) % n_classes
    return targets
