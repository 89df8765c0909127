"""Samples in NumPy or HDF5 files, with class numbers, masks or other arrays as targets, or with folders as classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from mlpipe import current_folder
from mlpipe.data import spelling, task, visible_files
from mlpipe.data.sources.error_lists import raise_some
from mlpipe.data.sources.listings.array_files import ENDS, array_of, arrays, arrays_below, channels_of, require_numbers
from mlpipe.data.sources.listings.array_layout import Form, pixel_digest
from mlpipe.data.sources.source import ByName, Places, Read, finished
from mlpipe.data.sources.targets import array_labels, array_targets, class_numbers
from mlpipe.data.sources.targets.missing_labels import Missing
from mlpipe.data.task import NO_TARGET, Part, Row, Task
from mlpipe.errors import DataError, counted, listing, problem

Array = np.ndarray[Any, Any]
# Part, name, values and label of a sample; the label is a class name or number, or empty for none.
_Sample = tuple[Part, str, Array, str | float]


def samples(
    *,
    train: str | None = None,
    train_targets: str | None = None,
    test: str | None = None,
    test_targets: str | None = None,
    labels: Literal["files", "folders", "masks", "images", "numbers", "none"] = "files",
    classes: list[str] | None = None,
    missing: bool | list[Any] | None = None,
    values: list[int] | None = None,
    ignore_index: Annotated[int, ">= 0", "<= 65535"] | None = None,
    layout: Literal["chw", "hwc"] = "chw",
    axes: Literal[1, 2, 3] | None = None,
    labelled: bool = True,
    name: str | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
) -> Task:
    """Arrays from .npy files (one sample each) or .npz and .h5 files (many), one file or all files below a folder.

    Values reach the network unchanged, as float32. Inputs and targets are matched in the order of their names.

    Args:
        train: The file or folder of training samples.
        train_targets: The file or folder of their class numbers, masks or target arrays.
        test: The file or folder of test samples.
        test_targets: The file or folder of the test targets.
        labels: The kind of targets: `files` (class numbers from the target files), `folders` (the folder that a sample lies
            in is its class), `masks` (arrays of the sample's size with a class per pixel), `images` (arrays of numbers to
            predict, of the sample's size or, with two axes, larger by one common factor; without target files, each sample
            is its own target), `numbers` (the values of each target array, as many for every sample, are numbers to predict,
            which the loss compares as they are, without a scale), or none.
        classes: The class names, for the numbers 0, 1, 2, ..., or, if there are as many, for the occurring numbers in
            ascending order; None: folder names, or the numbers that occur in training. With `images`, the channel names.
        missing: As for `arrays`: the class numbers that mean "no class".
        values: With masks, the value of each class; None: as for `masks`.
        ignore_index: With masks, the value of pixels that are left out of the loss and all scores.
        layout: The position of a sample's channel axis: first (chw) or last (hwc); without one, there is one channel.
        axes: The number of axes besides the channel axis: 3 for volumes, 1 for series; None: 2, or 3 if the first array has
            four axes.
        labelled: With images, False: no sample has a target; samples are only predicted.
        name: The task's name before the hash; None: the name of the file or folder.
        max_unreadable: As for `folder`; a sample that cannot be read is always an error.
        allow_overlap: As for `folder`.

    Raises:
        DataError: If files are missing or damaged, counts differ, or targets are not class numbers.
    """
    form = Form(layout, axes or _axes_of({"train": train, "test": test}))
    source: dict[str, Any] = {"type": "samples", "layout": layout, "axes": form.axes}
    if labels == "masks":
        targets_of = {"train": train_targets, "test": test_targets}
        return finished(
            array_targets.masked(
                {"train": train, "test": test}, targets_of, source, name, (classes, values, ignore_index)
            ),
            allow_overlap,
        )
    if labels == "images":
        _refuse_classes(values=values, ignore_index=ignore_index)
        targets_of = {"train": train_targets, "test": test_targets} if labelled else {}
        new_task = array_targets.array_target_task(
            {"train": train, "test": test}, targets_of, source, name, classes, labelled
        )
        return finished(new_task, allow_overlap)
    if labels == "numbers":
        _refuse_classes(values=values, ignore_index=ignore_index)
        parts = {"train": (train, train_targets), "test": (test, test_targets)}
        return finished(_of_numbers(parts, source, name, classes, missing, form), allow_overlap)
    entries: list[_Sample] = []
    for part, inputs, targets in (("train", train, train_targets), ("test", test, test_targets)):
        if inputs is None:
            continue
        base = current_folder.expanded(inputs).absolute()
        own: Part = "train" if part == "train" else "test"
        source[part] = str(base)
        part_arrays = [(f"{part}/{key}", value) for key, value in arrays_below(base, f"task.{part}", form)]
        part_labels = _labels(part, labels, targets, [key for key, _ in part_arrays], base)
        entries += [(own, key, value, label) for (key, value), label in zip(part_arrays, part_labels, strict=True)]
    if not entries:
        raise DataError(problem("task.train", "a file or folder is needed", fix="add task.train=DIR"))
    require_numbers((key, value) for _, key, value, _ in entries)
    of_labels = _understood(entries, classes, Path(str(train or test)).name, missing)
    channels = channels_of([value for _, _, value, _ in entries], form)
    rows = [
        Row(key, part if place != NO_TARGET else "unlabelled", place, pixel_digest(value))
        for (part, key, value, _), place in zip(entries, of_labels.places, strict=True)
    ]
    bases = [Path(source[part]) for part in ("train", "test") if part in source]
    notes = [*of_labels.notes, *visible_files.notes([base for base in bases if base.is_dir()], ENDS)]
    title = name or current_folder.expanded(str(train or test)).absolute().stem
    new_task = task.make(title, of_labels.names, rows, channels=channels, dtype="float32", source=source, notes=notes)
    return finished(new_task, allow_overlap)


class ArraySamples(ByName):
    """Arrays in NumPy and HDF5 files; an id is the part, the path below its file or folder, and the array's name."""

    has_arrays = True

    @property
    def inputs_in(self) -> Places:
        """Return the file or folder of each part."""
        return _places(self.task.source)

    @property
    def targets_in(self) -> Places:
        """Return the file or folder of the targets of each part."""
        return _places(self.task.source.get("masks") or self.task.source.get("targets") or {})

    def by_name(self) -> Callable[[str], Array]:
        """Return a function from sample id to values of shape (*spatial, channels)."""
        source, form, unchanged = self.task.source, Form.of(self.task.source), self.unchanged()
        return lambda name: unchanged(name, array_of(source, name, form))

    def targets(self, channels: int, least: int | None = None) -> Read:
        """Return a function from row number to the class numbers of a mask, or to a target array."""
        return array_targets.rows_of(self.task)

    def title(self, name: str) -> str:
        """Return the sample's file and its name in that file."""
        return name.removeprefix("test/")


def _places(source: Mapping[str, Any]) -> Places:
    bases = {part: Path(source[part]) for part in ("train", "test") if isinstance(source.get(part), str)}
    return Places(bases, end=":")


def _refuse_classes(**settings: object) -> None:
    wrong = [name for name, value in settings.items() if value is not None]
    if wrong:
        raise DataError(
            [problem(f"task.{name}", "is for classes, not for images", fix="leave it out") for name in wrong]
        )


def _axes_of(paths: Mapping[str, str | None]) -> int:
    """Return the default number of axes of samples, from the first sample."""
    for part, path in array_targets.absolute_paths(paths).items():
        for _, value in arrays(path, f"task.{part}"):
            return 3 if value.ndim == 4 else 2
    return 2


def _labels(part: str, labels: str, targets: str | None, keys: list[str], base: Path) -> list[str | float]:
    """Return the class of each sample; empty text: none."""
    if labels == "folders":
        return [spelling.plain((base / key.partition("/")[2]).parent.name) for key in keys]
    if labels == "none" or (targets is None and part == "test"):
        return [""] * len(keys)
    if targets is None:
        raise DataError(problem(f"task.{part}_targets", "is needed", fix="name the file or folder of class numbers"))
    key, entries = f"task.{part}_targets", _target_entries(part, targets, len(keys))
    odd = [name for name, value in entries if value.size != 1 or value.dtype.kind not in "buif"]
    if odd:
        wrong = f"holds targets that are no class numbers: {listing(odd, most=3)}"
        raise DataError(problem(key, wrong, got=targets, fix="save one whole number for each sample"))
    return [float(value.ravel()[0]) for _, value in entries]


def _target_entries(part: str, targets: str, count: int) -> list[tuple[str, Array]]:
    """Return name and values of each target, in the order of the samples.

    Raises:
        DataError: If there are not as many as samples.
    """
    key = f"task.{part}_targets"
    entries = list(arrays(current_folder.expanded(targets).absolute(), key))
    if len(entries) != count:
        fix = "give every sample one target, in the same order of names"
        wrong = f"has {counted(len(entries), 'target')} for {counted(count, 'sample')}"
        raise DataError(problem(key, wrong, got=targets, fix=fix))
    return entries


def _of_numbers(
    parts: Mapping[str, tuple[str | None, str | None]],
    source: dict[str, Any],
    name: str | None,
    classes: list[str] | None,
    missing: bool | list[Any] | None,
    form: Form,
) -> Task:
    """Return a task of numbers, from the paths of inputs and targets of each part."""
    samples: list[tuple[Part, str, Array]] = []
    targets: dict[str, Array] = {}
    for part, (inputs, of_inputs) in parts.items():
        if inputs is None:
            continue
        base = current_folder.expanded(inputs).absolute()
        source[part] = str(base)
        own = [(f"{part}/{key}", value) for key, value in arrays_below(base, f"task.{part}", form)]
        samples += [("train" if part == "train" else "test", key, value) for key, value in own]
        if of_inputs is not None:
            targets[part] = _columns(part, of_inputs, len(own))
        elif part == "train":
            raise DataError(problem("task.train_targets", "is needed", fix="name the file or folder of numbers"))
    if not targets:
        raise DataError(problem("task.train", "a file or folder is needed", fix="add task.train=DIR"))
    require_numbers((key, value) for _, key, value in samples)
    first = Path(str(parts["train"][1] or parts["test"][1]))
    # The names follow the training targets, or those of the test samples if nothing is trained.
    known = targets if "train" in targets else {"train": targets["test"]}
    numbers = array_labels.labels_of(first, known, "regression", classes, Missing(missing))
    columns = numbers.targets if "train" in targets else {"test": numbers.targets["train"]}
    place = {part: iter(columns[part]) for part in columns}
    unknown = (float("nan"),) * len(numbers.names)
    rows = [
        Row(key, part, tuple(next(place[part]).tolist()), pixel_digest(value))
        if part in place
        else Row(key, "unlabelled", unknown, pixel_digest(value))
        for part, key, value in samples
    ]
    title = name or current_folder.expanded(str(parts["train"][0] or parts["test"][0])).absolute().stem
    channels = channels_of([value for _, _, value in samples], form)
    source["own_unit"] = True
    return task.make(title, numbers.names, rows, kind=numbers.kind, channels=channels, dtype="float32", source=source)


def _columns(part: str, targets: str, count: int) -> Array:
    """Return the numbers of each sample, shape (n, outputs)."""
    key, entries = f"task.{part}_targets", _target_entries(part, targets, count)
    sizes, wrong = {value.size for _, value in entries}, ""
    if len(sizes) > 1:
        wrong = f"holds targets of {listing(sorted(sizes))} numbers"
    elif any(value.dtype.kind not in "buif" for _, value in entries):
        wrong = "holds targets that are no numbers"
    if wrong:
        raise DataError(problem(key, wrong, got=targets, fix="save as many numbers for every sample"))
    return np.stack([np.asarray(value, np.float64).ravel() for _, value in entries])


@dataclass(frozen=True)
class _Understood:
    """The classes, the class of each sample (`NO_TARGET`: none), and notes for the user."""

    names: list[str]
    places: list[int]
    notes: list[str]


def _understood(
    entries: Sequence[_Sample], classes: list[str] | None, where: str, missing: bool | list[Any] | None
) -> _Understood:
    """Return the labels of samples: classes, or other targets.

    Raises:
        DataError: If they do not fit the classes.
    """
    numbers = [(part, label) for part, _, _, label in entries if isinstance(label, float)]
    if not numbers:
        return _labels_of_folders(entries, classes)
    parts = {
        str(part): np.array([label for own, label in numbers if own == part])
        for part in dict.fromkeys(part for part, _ in numbers)
    }
    samples = [(key, label) for _, key, _, label in entries if isinstance(label, float)]
    known = class_numbers.class_numbering(parts, classes, where, missing, samples)
    every = np.array([label if isinstance(label, float) else np.nan for _, _, _, label in entries])
    return _Understood(known.names, known.classes(every).tolist(), class_numbers.none_notes(known, parts, where))


def _labels_of_folders(samples: Sequence[_Sample], classes: list[str] | None) -> _Understood:
    labels = [str(label) for _, _, _, label in samples]
    names = spelling.plain_all(classes) or sorted(set(labels) - {""})
    numbers = {name: number for number, name in enumerate(names)}
    wrong = [
        problem(key, "lies in a folder that is no class", got=label, fix=f"use {listing(names)}")
        for (_, key, _, _), label in zip(samples, labels, strict=True)
        if label and label not in numbers
    ]
    raise_some(wrong)
    return _Understood(names, [numbers[label] if label else NO_TARGET for label in labels], [])
