"""What a table's target columns say: classes, labels or numbers, or a sentence for every cell that says neither."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlpipe.data.sources.table_files import Table
from mlpipe.data.task import NO_TARGET, Kind, Part
from mlpipe.errors import DataError, did_you_mean, listing, problem

TARGETS = ("target", "label", "class", "labels", "y")
_MOST_SENTENCES = 10


@dataclass(frozen=True)
class Targets:
    """The targets of a table's rows.

    Attributes:
        kind: What is predicted.
        classes: The names of classes, labels or numbers.
        values: A class number or a number for each label or output, row by row.
        known: Whether a row has a target.
        notes: How they were understood.
    """

    kind: Kind
    classes: list[str]
    values: list[int | tuple[float, ...]]
    known: list[bool]
    notes: list[str]


def find_targets(
    table: Table,
    target: str | list[str] | None,
    kind: Kind | None,
    separator: str | None,
    classes: Sequence[str] | None,
    parts: Sequence[Part | None],
) -> Targets:
    """Understand the target columns.

    Args:
        table: The table.
        target: The column, or columns, or None for the usual names.
        kind: What is predicted, or None for the rule of `csv`.
        separator: What separates labels in one column; empty or blank: any blanks.
        classes: The classes or labels in their order, or None.
        parts: Each row's part, None where it is open; labels must occur in a training row.

    Raises:
        DataError: With a sentence for every wrong cell, or when the kind cannot be told.
    """
    columns = _columns(table, target)
    if len(columns) > 1 and separator is not None:
        raise DataError(problem("task.separator", "is for one column of labels", got=separator, fix="leave it out"))
    decided = kind or _kind(table, columns, separator)
    if decided == "regression":
        return _numbers(table, columns)
    if decided == "classification":
        if len(columns) > 1:
            fix = "name one column with task.target, or use task.kind=multilabel"
            raise DataError(problem("task.target", "a classification task has one column", got=columns, fix=fix))
        return _classes(table, columns[0], classes, parts)
    if len(columns) > 1:
        return _indicators(table, columns)
    if separator is None:
        fix = "say what separates labels with task.separator, or name one column for each label with task.target"
        raise DataError(problem("task.kind", "one column of labels", got="multilabel", fix=fix))
    return _separated(table, columns[0], separator, classes, parts)


def _columns(table: Table, target: str | list[str] | None) -> list[str]:
    if target is None:
        found = next((name for name in TARGETS if name in table.names), None)
        if found is None:
            fix = f"name the column with task.target=COLUMN; there are {', '.join(table.names)}"
            raise DataError(problem(str(table.path), "has no column of targets", fix=fix))
        return [found]
    columns = [target] if isinstance(target, str) else list(target)
    for name in columns:
        table.require(name, "task.target")
    if not columns:
        raise DataError(problem("task.target", "names no column", got=target, fix="name one or several"))
    return columns


def _kind(table: Table, columns: list[str], separator: str | None) -> Kind:
    """The kind that the cells show.

    Raises:
        DataError: When they could be either.
    """
    if separator is not None:
        return "multilabel"
    numbers = [[number(cell) for cell in table.column(name) if cell.strip()] for name in columns]
    if len(columns) > 1:
        if all(value in (0.0, 1.0) for column in numbers for value in column):
            return "multilabel"
        raise DataError(
            problem("task.kind", "columns of numbers other than 0 and 1 need it", fix="add task.kind=regression")
        )
    values = numbers[0]
    if values and all(value is not None for value in values):
        distinct = set(values)
        if any(value != int(value) for value in distinct if value is not None) or len(distinct) > max(
            20, len(values) / 10
        ):
            wrong = f"column {columns[0]} holds {len(distinct)} different numbers"
            fix = "add task.kind=regression, or task.kind=classification if each is a class of its own"
            raise DataError(problem("task.kind", wrong, fix=fix))
    return "classification"


def _classes(table: Table, column: str, classes: Sequence[str] | None, parts: Sequence[Part | None]) -> Targets:
    cells = [cell.strip() for cell in table.column(column)]
    training = {cell for cell, part in zip(cells, parts, strict=True) if cell and part in (None, "train")}
    names = list(classes) if classes is not None else sorted(training, key=_in_order)
    if len(names) < 2:
        fix = "a classification task needs at least two classes among its training rows"
        raise DataError(problem(f"{table.path.name}, column {column}", f"has the classes {listing(names)}", fix=fix))
    numbers = {name: index for index, name in enumerate(names)}
    wrong = []
    for index, cell in enumerate(cells):
        if cell and cell not in numbers and parts[index] != "unlabelled":
            where = "is not among task.classes" if classes is not None else "no training row has this class"
            fix = did_you_mean(cell, names, otherwise=f"the classes are {listing(names)}")
            wrong.append(problem(table.where(index, column), where, got=cell, fix=fix))
        elif not cell and parts[index] not in (None, "unlabelled"):
            fix = "fill it, or make the row unlabelled"
            wrong.append(problem(table.where(index, column), f"is empty in a {parts[index]} row", fix=fix))
    raise_some(wrong)
    known = [bool(cell) and part != "unlabelled" for cell, part in zip(cells, parts, strict=True)]
    values: list[int | tuple[float, ...]] = [
        numbers[cell] if there else NO_TARGET for cell, there in zip(cells, known, strict=True)
    ]
    return Targets("classification", names, values, known, [])


def _separated(
    table: Table, column: str, separator: str, classes: Sequence[str] | None, parts: Sequence[Part | None]
) -> Targets:
    """Labels in one column; an empty cell of a row with a part means that no label holds."""
    cells = [
        [word.strip() for word in cell.split(separator.strip() or None) if word.strip()]
        for cell in table.column(column)
    ]
    training = {word for words, part in zip(cells, parts, strict=True) if part in (None, "train") for word in words}
    names = list(classes) if classes is not None else sorted(training, key=_in_order)
    if not names:
        raise DataError(problem(f"{table.path.name}, column {column}", "has no label", fix="name another column"))
    wrong = []
    for index, words in enumerate(cells):
        for word in words:
            if word not in names and parts[index] != "unlabelled":
                where = "is not among task.classes" if classes is not None else "no training row has this label"
                fix = did_you_mean(word, names, otherwise=f"the labels are {listing(names)}")
                wrong.append(problem(table.where(index, column), where, got=word, fix=fix))
    raise_some(wrong)
    known = [part != "unlabelled" for part in parts]
    values: list[int | tuple[float, ...]] = [
        tuple(float(name in words) if there else math.nan for name in names)
        for words, there in zip(cells, known, strict=True)
    ]
    return Targets("multilabel", names, values, known, ["an empty cell of labels means that none of them holds"])


def _indicators(table: Table, columns: list[str]) -> Targets:
    found, wrong = _matrix(table, columns, allowed=(0.0, 1.0), what="must be 0, 1 or empty (unknown)")
    raise_some(wrong)
    known = [any(value == value for value in row) for row in found]
    return Targets("multilabel", columns, [*found], known, [])


def _numbers(table: Table, columns: list[str]) -> Targets:
    found, wrong = _matrix(table, columns, allowed=None, what="must be a number or empty (unknown)")
    raise_some(wrong)
    known = [any(value == value for value in row) for row in found]
    if not any(known):
        raise DataError(problem(f"{table.path.name}, column {listing(columns)}", "has no number", fix="fill it"))
    return Targets("regression", columns, [*found], known, [])


def _matrix(
    table: Table, columns: list[str], *, allowed: tuple[float, ...] | None, what: str
) -> tuple[list[tuple[float, ...]], list[str]]:
    wrong, by_column = [], []
    for name in columns:
        values = []
        for index, cell in enumerate(table.column(name)):
            value = number(cell) if cell.strip() else math.nan
            if value is None or (allowed is not None and value == value and value not in allowed):
                wrong.append(problem(table.where(index, name), what, got=cell, fix="correct it"))
                value = math.nan
            values.append(value)
        by_column.append(values)
    return list(zip(*by_column, strict=True)), wrong


def number(cell: str) -> float | None:
    """A cell as a finite number, None when it is none."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _in_order(name: str) -> tuple[bool, float, str]:
    """Numbers by size, then words by letters."""
    value = number(name)
    return (value is None, value if value is not None else 0.0, name)


def raise_some(wrong: list[str]) -> None:
    """Raise the first few of many sentences, if there are any.

    Raises:
        DataError: With them, and how many more there are.
    """
    more = len(wrong) - _MOST_SENTENCES
    if wrong:
        raise DataError([*wrong[:_MOST_SENTENCES], *([f"and {more} more such cells"] if more > 0 else [])])
