"""Task: samples, classes and hashes of the data to learn from, saved as one readable JSON file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict, cast, get_args

import numpy as np
import numpy.typing as npt

from mlpipe import files, limits
from mlpipe import stored as typed
from mlpipe.data import kind as kind_data
from mlpipe.errors import DataError, in_one_line, is_one_line, is_out_of_memory, listing, problem

FORMAT = 2
Dtype = Literal["uint8", "uint16", "float32"]
# `extra` is trained on in every fold and never validated.
Part = Literal["train", "val", "test", "unlabelled", "extra"]
PARTS: tuple[Part, ...] = ("train", "val", "test", "unlabelled", "extra")
DTYPES = get_args(Dtype)
NO_TARGET = -1
# The mask value, in caches and batches, of pixels that are left out of loss and scores; class numbers are below it.
IGNORED = 255
MOST_CHANNELS = 1024


class Stored(TypedDict):
    """The file that `save` writes."""

    format: int
    name: str
    kind: str
    classes: list[str]
    channels: int
    dtype: str
    source: dict[str, Any]
    source_hash: str
    notes: list[str]
    samples: dict[str, list[Any]]
    splits: NotRequired[dict[str, Any]]


class Row(NamedTuple):
    """One sample as a source describes it.

    Attributes:
        id: Its unique name.
        part: The part that it came with.
        target: A class number (-1: none), or a number for each label or output (NaN: unknown).
        digest: The hash of its source bytes or pixels.
        group: Samples of one group (one patient, one site) are never split; empty: a group of its own.
        weight: Its weight in the loss.
        fold: The fold that it came with; -1: none.
        positive: Whether it is a positive sample; None: not given.
        mask: Path and hash of its mask, or of its target image if that is a separate file; empty: it has none.
        stratum: A name to stratify folds by instead of the target; empty: none.
        order: Its position in time or in another order; NaN: none.
    """

    id: str
    part: Part
    target: int | tuple[float, ...]
    digest: str
    group: str = ""
    weight: float = 1.0
    fold: int = -1
    positive: bool | None = None
    mask: tuple[str, str] = ("", "")
    stratum: str = ""
    order: float = math.nan


@dataclass(frozen=True)
class Samples:
    """The images of a task, one row each, ordered by id.

    Attributes:
        ids: Unique names; for files the path below the task's root.
        parts: The part that each came with, one of `PARTS`.
        targets: Classification: class numbers, shape (n,), int64, -1 for none. Multi-label: 0, 1 or NaN (unknown), and
            regression: numbers or NaN, both of shape (n, outputs), float64. Segmentation: the share of each class in the
            pixels of the mask, NaN without one, shape (n, classes), float64. Images: 1 for each channel of a target
            image, NaN without one.
        digests: Hashes of the source bytes or pixels.
        groups: A name for each sample whose group must not be split; empty text: a group of its own.
        weights: The weight of each sample in the loss, shape (n,); None: all equal.
        folds: The folds that the samples came with, shape (n,), -1 for none; None: no sample has one.
        noisy: Targets as training sees them if labels were made noisy on purpose; None: the true ones.
        positives: Whether each sample is positive, shape (n,); None: not given.
        masks: Path and hash of each sample's mask or target image, both empty if it has none; also empty if each image is
            its own target.
        strata: A name for each sample to stratify folds by instead of targets; empty: targets are used.
        orders: Each sample's position in time or in another order, shape (n,), NaN for none; None: no sample has one.
    """

    ids: tuple[str, ...]
    parts: tuple[Part, ...]
    targets: npt.NDArray[Any]
    digests: tuple[str, ...]
    groups: tuple[str, ...] = ()
    weights: npt.NDArray[np.float64] | None = None
    folds: npt.NDArray[np.int64] | None = None
    noisy: npt.NDArray[Any] | None = None
    positives: npt.NDArray[np.bool_] | None = None
    masks: tuple[tuple[str, str], ...] = ()
    strata: tuple[str, ...] = ()
    orders: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def learned(self) -> npt.NDArray[Any]:
        """Return the targets that training sees; validation, test and predictions use the true ones."""
        return self.targets if self.noisy is None else self.noisy

    def only(self, rows: npt.NDArray[np.int64]) -> Samples:
        """Return some of the samples, in the order of `rows`."""
        return Samples(
            tuple(self.ids[row] for row in rows),
            tuple(self.parts[row] for row in rows),
            self.targets[rows],
            tuple(self.digests[row] for row in rows),
            tuple(self.groups[row] for row in rows) if self.groups else (),
            None if self.weights is None else self.weights[rows],
            None if self.folds is None else self.folds[rows],
            None if self.noisy is None else self.noisy[rows],
            None if self.positives is None else self.positives[rows],
            tuple(self.masks[row] for row in rows) if self.masks else (),
            tuple(self.strata[row] for row in rows) if self.strata else (),
            None if self.orders is None else self.orders[rows],
        )

    @property
    def spread(self) -> Samples:
        """Return the samples for stratified folds: with the numbers of their strata, if they have any, as targets."""
        if not self.strata:
            return self
        number = {name: place for place, name in enumerate(sorted(set(self.strata)))}
        return replace(self, targets=np.array([number[name] for name in self.strata], np.int64))

    def in_part(self, *parts: Part) -> npt.NDArray[np.bool_]:
        """Return a mask of the samples that came in one of these parts, shape (n,)."""
        return np.isin(np.array(self.parts), parts)

    def group_of(self) -> dict[str, str]:
        """Return the group of each sample by its id, or the id if it has none; empty if the task has no groups."""
        if not self.groups:
            return {}
        return {name: group or name for name, group in zip(self.ids, self.groups, strict=True)}

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """Return a mask of the samples that have a target (at least one known label or output), shape (n,)."""
        return has_target(self.targets)


def has_target(targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return a mask of the rows of `Samples.targets` with a target, shape (n,)."""
    if targets.ndim == 1:
        return np.asarray(targets >= 0)
    return np.asarray(~np.isnan(targets).all(axis=1))


@dataclass(frozen=True)
class Task:
    """A learning task.

    Attributes:
        name: Its name, which is also the name of its folder below the data folder.
        kind: What is predicted, one of `mlpipe.data.kind.names()`.
        classes: The names of the classes, the labels, the numbers or the channels to predict; a class number is an index
            into them.
        channels: 1 for grey images, 3 for colour, or the number of channels of arrays.
        source: Where the images are read from, as plain data for `mlpipe.data.sources.open`.
        samples: The images.
        dtype: How a channel's value is stored: 8 or 16 bit, or float32 from 0 to 1.
        notes: Notes for the user about how it was made.
        bases: For a variant, the tasks that its images come from, the pivot first; see `mlpipe.data.tags`.
        bootstraps: For each of these seeds, the training rows of a fold are resampled with replacement.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    channels: int
    source: Mapping[str, Any]
    samples: Samples
    dtype: Dtype = "uint8"
    notes: tuple[str, ...] = field(default=())
    bases: tuple[Task, ...] = ()
    bootstraps: tuple[int, ...] = ()

    @property
    def source_hash(self) -> str:
        """Return the hash of all contents: ids, parts, targets, classes and the bytes of the images."""
        return files.digest([self.kind, self.classes, self.dtype, _as_plain(self.samples)])

    def class_counts(self, rows: npt.NDArray[Any] | None = None, *, learned: bool = False) -> npt.NDArray[np.int64]:
        """Return the number of the given rows (all if None) of each class, or with each label, shape (classes,).

        For regression: the number of rows with each number; for segmentation: of masks in which a class occurs; for images:
        of rows with a target. `learned` counts targets as training sees them.
        """
        known = self.samples.learned if learned else self.samples.targets
        targets = known if rows is None else known[rows]
        return kind_data.of(self.kind).counts(targets, len(self.classes))

    def part_sizes(self) -> dict[str, int]:
        """Return the number of samples in each part."""
        counted = Counter(self.samples.parts)
        return {part: counted[part] for part in PARTS if counted[part]}


def axes_of(task: Task) -> int:
    """Return the number of spatial axes of a task's samples; images have two."""
    return int((task.bases or (task,))[0].source.get("axes", 2))


def origins(task: Task) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the origin of each sample of a variant: the number of its task in `bases`, and its row there, shape (n,).

    Samples of the first task keep their ids; those of others are named `TASK:ID`.
    """
    places: dict[str, tuple[int, int]] = {}
    for number, base in enumerate(task.bases):
        prefix = f"{base.name}:" if number else ""
        places |= {prefix + name: (number, row) for row, name in enumerate(base.samples.ids)}
    pairs = np.array([places[name] for name in task.samples.ids], np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def in_classes(task: Task, classes: Sequence[str]) -> Task | None:
    """Return a task with class numbers that index a longer list of class names.

    Args:
        task: The task.
        classes: The names, in the order of the wanted numbers.

    Returns:
        The task; None if one of its classes is not among the names, or targets are not class numbers.
    """
    if task.classes == tuple(classes):
        return task
    if not kind_data.of(task.kind).IS_CLASS_NUMBER or not set(task.classes) <= set(classes):
        return None
    numbers, samples = np.array([classes.index(name) for name in task.classes], np.int64), task.samples

    def renumbered(targets: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.where(targets == NO_TARGET, NO_TARGET, numbers[targets])

    noisy = None if samples.noisy is None else renumbered(samples.noisy)
    samples = replace(samples, targets=renumbered(samples.targets), noisy=noisy)
    return replace(task, classes=tuple(classes), samples=samples)


def changing(path: Path) -> AbstractContextManager[None]:
    """Hold the lock of a task's file while it is read, changed and written, so that no other process changes it meanwhile.

    Args:
        path: The file.
    """
    return files.locked(path.with_name(".lock"))


def save(task: Task, path: Path) -> None:
    """Durably write `task` as JSON; splits and decisions that the file already holds are kept."""
    described = {
        "format": FORMAT,
        "name": task.name,
        "kind": task.kind,
        "classes": task.classes,
        "channels": task.channels,
        "dtype": task.dtype,
        "source": dict(task.source),
        "source_hash": task.source_hash,
        "notes": task.notes,
        "samples": _as_plain(task.samples),
    }
    with changing(path):
        stored = files.read_json(path) if path.exists() else {}
        decisions = {"decided": stored["decided"]} if "decided" in stored else {}
        files.write_json(path, {**described, "splits": stored.get("splits", {}), **decisions})


def rewrite_source(stored: Task, current_task: Task, path: Path) -> bool:
    """Durably update where the samples of a stored task are read from; everything else in the file is kept.

    Args:
        stored: The task in the file.
        current_task: The current task with the same samples.
        path: The file that `save` wrote.

    Returns:
        Whether anything changed.
    """
    before, now = (
        # Notes in the form in which `load` returns them.
        files.plain_json(files.json_text({"source": dict(task.source), "notes": list(map(in_one_line, task.notes))}))
        for task in (stored, current_task)
    )
    if before == now:
        return False
    with changing(path):
        files.write_json(path, {**files.read_json(path), **now})
    return True


def load(path: Path) -> Task:
    """Read a task that `save` wrote; `mlpipe.data.sources.load` also refuses samples outside of its folders.

    Raises:
        DataError: If the file does not exist, is damaged, or has a newer format.
    """
    try:
        stored = typed.checked(Stored, files.read_json(path))
        if stored["format"] != FORMAT:
            raise DataError(
                problem(
                    str(path),
                    "has another format",
                    got=stored["format"],
                    fix=f"this version reads {FORMAT}; mml upgrade brings older ones to it",
                )
            )
        task = Task(
            name=stored["name"],
            kind=stored["kind"],
            classes=tuple(stored["classes"]),
            channels=stored["channels"],
            source=stored["source"],
            samples=_from_plain(stored["samples"], stored["kind"], len(stored["classes"])),
            dtype=cast(Dtype, stored["dtype"]),
            notes=tuple(map(in_one_line, stored["notes"])),
        )
        source_hash = stored["source_hash"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        if is_out_of_memory(error):
            raise
        raise DataError(
            problem(str(path), f"cannot be read as a task ({error})", fix="remove it and create the task again")
        ) from error
    if task.source_hash != source_hash:
        raise DataError(
            problem(str(path), "was changed by hand: its hash does not fit", fix="remove it and create the task again")
        )
    if wrong := _damage(task, path):
        fix = "remove it and create the task again"
        raise DataError([problem(str(path), sentence, fix=fix) for sentence in wrong])
    return task


def _damage(task: Task, path: Path) -> list[str]:
    """Return the impossible values in a stored task: classes that do not exist, truncated columns."""
    samples, n, classes = task.samples, len(task.samples), len(task.classes)
    if not isinstance(task.name, str) or Path(task.name).name != task.name:
        return [f"is named {task.name!r}, which is no folder's name"]
    if task.kind not in kind_data.names() or task.dtype not in DTYPES or not 1 <= task.channels <= MOST_CHANNELS:
        return [f"describes {task.channels} channels of {task.dtype!r} for {task.kind!r}, which cannot be"]
    texts = (*task.classes, *samples.ids, *samples.parts, *samples.digests, *samples.groups, *samples.strata)
    if not all(isinstance(text, str) for text in texts) or not isinstance(task.source.get("type"), str):
        return ["has other values where texts belong"]
    columns = [samples.parts, samples.targets, samples.digests]
    columns += [
        values
        for values in (
            samples.groups or None,
            samples.orders,
            samples.weights,
            samples.folds,
            samples.positives,
            samples.masks or None,
            samples.strata or None,
        )
        if values is not None
    ]
    of_kind = kind_data.of(task.kind)
    if any(len(column) != n for column in columns) or samples.targets.shape != of_kind.shape(n, classes):
        return ["has columns of different lengths"]
    problems = []
    if unknown := sorted(set(samples.parts) - set(PARTS)):
        problems.append(f"has parts that are none: {listing(unknown, most=3)}")
    if wrong := of_kind.damage(samples.targets, classes):
        problems.append(wrong)
    if samples.folds is not None and n and not -1 <= samples.folds.min() <= samples.folds.max() < max(n, 1):
        problems.append("has fold numbers beyond its rows")
    return problems


def make(
    name: str,
    classes: Sequence[str],
    rows: Sequence[Row],
    *,
    channels: int,
    source: Mapping[str, Any],
    kind: str = kind_data.DEFAULT,
    dtype: Dtype = "uint8",
    notes: Sequence[str] = (),
    has_new_classes: bool = True,
) -> Task:
    """Make a task from its rows, ordered by id.

    Class names of a stored task (`has_new_classes=False`) are not checked, because the rules for names may be newer.

    Raises:
        DataError: If ids or classes repeat, or are not valid names, or targets are impossible for the kind.
    """
    ordered = sorted(rows, key=lambda row: row.id)
    ids = tuple(row.id for row in ordered)
    if len(set(ids)) != len(ids):
        twice = [name for name, count in Counter(ids).items() if count > 1]
        raise DataError(problem(name, f"sample ids are not unique: {listing(twice, most=3)}"))
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise DataError(problem("task.classes", f"{listing(twice, most=3)} comes twice", fix="give each its own name"))
    if foreign := [text for text in (*ids, *classes) if not files.is_utf8(text)]:
        raise DataError(problem(foreign[0], "is not UTF-8, as names of files and samples must be", fix="rename it"))
    if has_new_classes and (odd := [name for name in classes if not is_one_line(name)]):
        wrong = "has an end of a line, a tab or a control character"
        raise DataError(problem("task.classes", wrong, got=odd[0], fix="rename the class"))
    if has_new_classes and (long := [name for name in classes if len(name) > limits.NAME]):
        wrong = f"a name has more than {limits.NAME:,} letters"
        raise DataError(problem("task.classes", wrong, got=long[0], fix="shorten it"))
    of_kind = kind_data.of(kind)
    targets = np.array([row.target for row in ordered], of_kind.DTYPE).reshape(
        of_kind.shape(len(ordered), len(classes))
    )
    if wrong := of_kind.damage(targets, len(classes)):
        raise DataError(problem(name, wrong, fix="correct the targets"))
    weights = np.array([row.weight for row in ordered], np.float64)
    folds = np.array([row.fold for row in ordered], np.int64)
    orders = np.array([row.order for row in ordered], np.float64)
    samples = Samples(
        ids,
        tuple(row.part for row in ordered),
        targets,
        tuple(row.digest for row in ordered),
        tuple(row.group for row in ordered) if any(row.group for row in ordered) else (),
        weights if (weights != 1.0).any() else None,
        folds if (folds >= 0).any() else None,
        positives=np.array([bool(row.positive) for row in ordered])
        if ordered and ordered[0].positive is not None
        else None,
        masks=tuple(row.mask for row in ordered) if any(row.mask[0] for row in ordered) else (),
        strata=tuple(row.stratum for row in ordered) if any(row.stratum for row in ordered) else (),
        orders=None if np.isnan(orders).all() else orders,
    )
    return Task(name, kind, tuple(classes), channels, source, samples, dtype, tuple(notes))


def _as_plain(samples: Samples) -> dict[str, Any]:
    """Return the samples as columns for JSON; columns without any value are left out."""
    known = samples.targets.tolist()
    if samples.targets.ndim == 2:
        known = [[None if value != value else value for value in row] for row in known]
    columns: dict[str, Any] = {
        "id": list(samples.ids),
        "part": list(samples.parts),
        "target": known,
        "digest": list(samples.digests),
    }
    if samples.groups:
        columns["group"] = list(samples.groups)
    if samples.weights is not None:
        columns["weight"] = samples.weights.tolist()
    if samples.folds is not None:
        columns["fold"] = samples.folds.tolist()
    if samples.positives is not None:
        columns["positive"] = samples.positives.tolist()
    if samples.masks:
        columns["mask"] = [list(pair) for pair in samples.masks]
    if samples.strata:
        columns["stratum"] = list(samples.strata)
    if samples.orders is not None:
        columns["order"] = [None if value != value else value for value in samples.orders.tolist()]
    return columns


def _from_plain(columns: Mapping[str, Any], kind: str, classes: int) -> Samples:
    # An unknown kind is reported with all other damage.
    of_kind = kind_data.of(kind) if kind in kind_data.names() else None
    targets = np.array(columns["target"], np.float64 if of_kind is None else of_kind.DTYPE)
    if of_kind is not None and not columns["target"]:
        # An empty list does not say how many columns each row would have.
        targets = targets.reshape(of_kind.shape(0, classes))
    return Samples(
        tuple(columns["id"]),
        tuple(columns["part"]),
        targets,
        tuple(columns["digest"]),
        tuple(columns.get("group", ())),
        np.array(columns["weight"], np.float64) if "weight" in columns else None,
        np.array(columns["fold"], np.int64) if "fold" in columns else None,
        positives=np.array(columns["positive"], np.bool_) if "positive" in columns else None,
        masks=tuple((str(path), str(digest)) for path, digest in columns.get("mask", ())),
        strata=tuple(columns.get("stratum", ())),
        orders=np.array(columns["order"], np.float64) if "order" in columns else None,
    )
