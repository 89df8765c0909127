"""Targets in arrays: classes by numbers or names, labels, or numbers to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe.data import spelling
from mlpipe.data.sources.error_lists import advice, raise_some
from mlpipe.data.sources.targets import class_numbers
from mlpipe.data.sources.targets.missing_labels import Missing
from mlpipe.data.task import NO_TARGET
from mlpipe.errors import DataError, counted, listing, problem

Array = np.ndarray[Any, Any]
# Up to this many distinct numbers are classes whatever else there is.
_FEW_CLASSES = 20


def kind_of(path: Path, targets: list[Array]) -> str:
    """Return the kind of the task, from the targets of all parts.

    Raises:
        DataError: If there are none, or they could be of several kinds.
    """
    if not targets:
        fix = "add targets, or task.targets=NAME"
        raise DataError(problem(path.name, "has no targets", fix=fix))
    if all(values.ndim == 1 and values.dtype.kind in "iubUS" for values in targets):
        return "classification"
    if all(values.ndim == 2 and np.isin(values, (0, 1)).all() for values in targets):
        return "multilabel"
    single = all(values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1) for values in targets)
    if single and all(values.dtype.kind in "iubf" and _are_classes(values) for values in targets):
        return "classification"
    shapes = listing([f"{list(values.shape)} of {values.dtype}" for values in targets])
    fix = "add task.kind=regression, or task.kind=classification if each number is a class of its own"
    raise DataError(problem("task.kind", f"targets of shape {shapes} need it", fix=fix))


def _are_classes(targets: Array) -> bool:
    """Return whether numbers look like classes, as for tables: integers with few distinct values."""
    values = np.unique(targets[~np.isnan(targets)]) if targets.dtype.kind == "f" else np.unique(targets)
    with np.errstate(invalid="ignore"):
        are_whole = bool((values.astype(np.float64) % 1 == 0).all())
    return are_whole and len(values) <= max(_FEW_CLASSES, targets.size / 10)


@dataclass(frozen=True)
class Labels:
    """Targets as classes, labels or numbers.

    Attributes:
        names: The names of the classes, labels or numbers.
        targets: For each part with targets: class numbers, shape (n,), or numbers, shape (n, outputs).
        notes: Notes for the user.
        kind: What is predicted.
    """

    names: list[str]
    targets: Mapping[str, Array]
    notes: list[str]
    kind: str


def labels_of(
    path: Path, targets: Mapping[str, Array], kind: str, classes: list[str] | None, missing: Missing
) -> Labels:
    """Return targets in the form of a task, and the names of classes, labels or numbers.

    Args:
        path: The file.
        targets: The targets of each part that has them.
        kind: What is predicted.
        classes: The names; None: those of the targets.
        missing: The values that mean "no class", or an unknown label or number.

    Raises:
        DataError: With one sentence for each fault.
    """
    if "train" not in targets:
        raise DataError(problem(path.name, "has no targets of training images", fix="add them, or task.targets=NAME"))
    if kind != "classification":
        wide = _columns(path, targets, kind, missing)
        width = wide["train"].shape[1]
        names = classes or [f"output{index}" if kind == "regression" else f"label{index}" for index in range(width)]
        if len(names) != width:
            raise DataError(problem("task.classes", f"there are {width} columns of targets", got=names))
        return Labels(names, wide, [], kind)
    if odd := [part for part, values in targets.items() if values.size != len(values)]:
        fix = "give class numbers of shape (n,), or use task.kind=multilabel or regression"
        raise DataError(
            problem(path.name, f"targets of {odd[0]} are no class numbers", got=list(targets[odd[0]].shape), fix=fix)
        )
    if targets["train"].dtype.kind in "US":
        return _named_classes(path, targets, classes, missing)
    numbering = class_numbers.class_numbering(targets, classes, path.name, missing.said)
    notes = class_numbers.none_notes(numbering, targets, path.name)
    if len(numbering.names) < 2:
        description = f"{listing(numbering.names) or 'none'}" + (
            f" beside {listing(numbering.none)}, which means none" if notes else ""
        )
        fix = "a classification task needs two classes; task.missing=false makes every number one"
        raise DataError(problem(path.name, f"has the classes {description}", fix=fix))
    return Labels(numbering.names, {part: numbering.classes(values) for part, values in targets.items()}, notes, kind)


def _columns(path: Path, targets: Mapping[str, Array], kind: str, missing: Missing) -> dict[str, Array]:
    """Return labels or numbers to predict, float64, shape (n, outputs) for each part, NaN if one is unknown."""
    if odd := [part for part, values in targets.items() if values.dtype.kind not in "iubf"]:
        fix = "save numbers, or use task.kind=classification"
        raise DataError(
            problem(path.name, f"targets of {odd[0]} are no numbers", got=str(targets[odd[0]].dtype), fix=fix)
        )
    columns = {part: np.asarray(values, np.float64).reshape(len(values), -1) for part, values in targets.items()}
    width, is_labels = columns["train"].shape[1], kind == "multilabel"
    wrong: list[str] = []
    for part, values in columns.items():
        if values.shape[1] != width:
            fault = f"targets of {part} have {counted(values.shape[1], 'column')}, those of train {width}"
            wrong.append(problem(path.name, fault, fix="give all parts as many"))
            continue
        unknown = np.isnan(values) | np.isin(values, sorted(class_numbers.none_of(missing.said)))
        columns[part] = np.where(unknown, np.nan, values)
        fits = np.isin(values, (0, 1)) if is_labels else np.isfinite(values)
        fault, fix = "is no finite number", "save a number, or NaN where it is unknown"
        if is_labels:
            fault, fix = "is no label", "save 0 and 1; task.missing=[...] names numbers that mean unknown, as NaN does"
        wrong += [
            problem(
                f"{path.name}, row {row} of {part}, column {column}", fault, got=float(values[row, column]), fix=fix
            )
            for row, column in np.argwhere(~fits & ~unknown).tolist()
        ]
    raise_some(wrong)
    return columns


def _named_classes(path: Path, targets: Mapping[str, Array], classes: list[str] | None, missing: Missing) -> Labels:
    """Return the classes of targets that are texts."""
    texts = {part: [spelling.plain(text_of(value)) for value in values.ravel()] for part, values in targets.items()}
    training = [text for text in texts["train"] if not missing.means(text)]
    if classes is None and (doubtful := missing.problem(path.name, training)):
        raise DataError(doubtful)
    names = spelling.plain_all(classes) or sorted(set(training))
    numbers = {name: index for index, name in enumerate(names)}
    wrong = list[str]()
    for part, part_texts in texts.items():
        for row, text in enumerate(part_texts):
            if text not in numbers and not missing.means(text):
                where, fix = f"{path.name}, row {row} of {part}", f"the classes are {listing(names)}"
                fix = advice(wrong, text, names, otherwise=fix)
                wrong.append(problem(where, "no training row has this class", got=text, fix=fix))
    raise_some(wrong)
    places = {
        part: np.array([NO_TARGET if missing.means(text) else numbers[text] for text in part_texts], np.int64)
        for part, part_texts in texts.items()
    }
    without = sum(int((part_places == NO_TARGET).sum()) for part_places in places.values())
    stored = [text_of(value) for values in targets.values() for value in values.ravel()]
    notes = spelling.same_text_problems(stored, f"labels in {path.name}")
    notes += missing.notes(path.name, training) if classes is None else []
    clause = counted(
        without, f"image of {path.name} has no label, and is", f"images of {path.name} have no label, and are"
    )
    notes += [f"{clause} predicted only"] if without else []
    return Labels(names, places, notes, "classification")


def text_of(value: Any) -> str:
    """Return a text in an array, which holds UTF-8 bytes or characters."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
