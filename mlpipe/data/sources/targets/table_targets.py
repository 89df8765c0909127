"""Target columns of a table: classes, labels or numbers, with a sentence for every cell that is none of these."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlpipe.data.sources.error_lists import advice, raise_kinds, raise_some
from mlpipe.data.sources.listings.table_files import Table
from mlpipe.data.sources.targets.missing_labels import Missing, looks_missing
from mlpipe.data.spelling import plain, plain_all, same_text_problems
from mlpipe.data.task import NO_TARGET, Part
from mlpipe.errors import DataError, counted, listing, problem

TARGETS = ("target", "label", "class", "labels", "y")
# A column with at least this share of numeric cells is taken for numbers.
_MOST_CELLS = 0.9


@dataclass(frozen=True)
class Targets:
    """The targets of a table's rows.

    Attributes:
        kind: What is predicted.
        classes: The names of classes, labels or numbers.
        values: A class number or a number for each label or output, row by row.
        known: Whether a row has a target.
        notes: Notes about how the columns were interpreted.
    """

    kind: str
    classes: list[str]
    values: list[int | tuple[float, ...]]
    known: list[bool]
    notes: list[str]


def find_targets(
    table: Table,
    target: str | list[str] | None,
    kind: str | None,
    separator: str | None,
    classes: Sequence[str] | None,
    parts: Sequence[Part | None],
    missing: Missing,
) -> Targets:
    """Interpret the target columns.

    Args:
        table: The table.
        target: The column, or columns, or None for the usual names.
        kind: What is predicted, or None for the rule of `csv`.
        separator: What separates labels in one column; empty or blank: any whitespace.
        classes: The classes or labels, or columns of labels or numbers, in their order, or None.
        parts: Each row's part, None if not stated; labels must occur in a training row.
        missing: The cells that mean "no label".

    Raises:
        DataError: With a sentence for every faulty cell, or if the kind is ambiguous.
    """
    columns = _columns(table, target)
    if len(columns) > 1 and separator is not None:
        raise DataError(problem("task.separator", "is for one column of labels", got=separator, fix="leave it out"))
    decided, names = kind or _kind(table, columns, separator, missing), plain_all(classes)
    if separator is not None and decided != "multilabel":
        fix = "leave it out, or use task.kind=multilabel"
        raise DataError(problem("task.separator", f"is for labels, task.kind is {decided}", got=separator, fix=fix))
    if names is not None and (decided == "regression" or (decided == "multilabel" and len(columns) > 1)):
        columns = _columns_in_order(columns, names)
    if decided == "regression":
        return _numbers(table, columns, missing)
    if decided == "classification":
        if len(columns) > 1:
            fix = "name one column with task.target, or use task.kind=multilabel"
            raise DataError(problem("task.target", "a classification task has one column", got=columns, fix=fix))
        return _classes(table, columns[0], names, parts, missing)
    if len(columns) > 1:
        return _indicators(table, columns, missing)
    if separator is None:
        fix = "say what separates labels with task.separator, or name one column for each label with task.target"
        raise DataError(problem("task.kind", "one column of labels", got="multilabel", fix=fix))
    return _separated(table, columns[0], separator, names, parts, missing)


def _columns(table: Table, target: str | list[str] | None) -> list[str]:
    if target is None:
        column = next((name for name in TARGETS if name in table.names), None)
        if column is None:
            fix = f"name the column with task.target=COLUMN; {table.there}"
            raise DataError(problem(str(table.path), "has no column of targets", fix=fix))
        return [column]
    columns = [plain(name) for name in ([target] if isinstance(target, str) else target)]
    for name in columns:
        table.require(name, "task.target")
    if not columns:
        raise DataError(problem("task.target", "names no column", got=target, fix="name one or several"))
    return columns


def _columns_in_order(columns: list[str], names: Sequence[str]) -> list[str]:
    """Return columns of labels or numbers, which are named after them, in the order of `task.classes`."""
    if sorted(columns) != sorted(names):
        fix = f"leave it out, or name {listing(columns)} in the order that you want"
        raise DataError(problem("task.classes", "labels and numbers are named after their columns", got=names, fix=fix))
    return list(names)


def _kind(table: Table, columns: list[str], separator: str | None, missing: Missing) -> str:
    """Return the kind of the cells.

    Raises:
        DataError: If they could be of several kinds.
    """
    if separator is not None:
        return "multilabel"
    numbers = [
        [number(numeral) for _, numeral, is_missing in _numerals(table, name, missing) if not is_missing]
        for name in columns
    ]
    if len(columns) > 1:
        # Non-numeric cells are reported one by one, as those of labels.
        if all(value in (0.0, 1.0, None) for column in numbers for value in column):
            return "multilabel"
        raise DataError(
            problem("task.kind", "columns of numbers other than 0 and 1 need it", fix="add task.kind=regression")
        )
    cells = [cell for cell in table.column(columns[0]) if not missing.means(cell)]
    values = [value for value in numbers[0] if value is not None]
    # With decimal commas, or a few non-numeric cells, each number would become a class.
    alike = [cell for cell in cells if number(cell.replace(",", ".", 1)) is not None]
    is_of_numbers = len(values) == len(cells) > 0
    has_many = len(set(values) if is_of_numbers else set(alike)) > max(20, len(cells) / 10)
    if is_of_numbers and (has_many or any(not value.is_integer() for value in values)):
        wrong = f"column {columns[0]} holds {len(set(values))} different numbers"
        fix = "add task.kind=regression, or task.kind=classification if each is a class of its own"
        raise DataError(problem("task.kind", wrong, fix=fix))
    if not is_of_numbers and has_many and len(alike) >= _MOST_CELLS * len(cells):
        strange = next(cell for cell in cells if number(cell) is None)
        wrong = f"column {columns[0]} holds {len(set(alike))} different numbers, and {strange!r}"
        fix = "correct it and add task.kind=regression, or task.kind=classification if each is a class of its own"
        raise DataError(problem("task.kind", wrong, fix=fix))
    return "classification"


def _classes(
    table: Table, column: str, classes: Sequence[str] | None, parts: Sequence[Part | None], missing: Missing
) -> Targets:
    cells, where = table.column(column), f"{table.path.name}, column {column}"
    empty = [missing.means(cell) for cell in cells]
    training = [
        cell for cell, none, part in zip(cells, empty, parts, strict=True) if not none and part in (None, "train")
    ]
    if classes is None and (doubtful := missing.problem(where, training)):
        raise DataError(doubtful)
    names = list(classes) if classes is not None else sorted(set(training), key=_sort_key)
    if len(names) < 2:
        fix = "a classification task needs at least two classes among its training rows"
        raise DataError(problem(where, f"has the classes {listing(names)}", fix=fix))
    numbers = {name: index for index, name in enumerate(names)}
    unknown, unfilled = list[str](), list[str]()
    for index, cell in enumerate(cells):
        if not empty[index] and cell not in numbers and parts[index] != "unlabelled":
            wrong = "is not among task.classes" if classes is not None else "no training row has this class"
            unknown.append(
                problem(table.where(index, column), wrong, got=cell, fix=_label_advice(unknown, cell, names))
            )
        elif empty[index] and not missing.is_wanted and parts[index] not in (None, "unlabelled"):
            fix = "fill it, or make the row unlabelled, as task.missing=true does with all such rows"
            unfilled.append(problem(table.where(index, column), f"is empty in a {parts[index]} row", fix=fix))
    raise_kinds(unknown, unfilled)
    known = [not none and part != "unlabelled" for none, part in zip(empty, parts, strict=True)]
    values: list[int | tuple[float, ...]] = [
        numbers[cell] if is_known else NO_TARGET for cell, is_known in zip(cells, known, strict=True)
    ]
    doubts = missing.notes(where, training) if classes is None else []
    notes = [
        *same_text_problems(table.stored(column), f"labels in {where}"),
        *doubts,
        *_unlabelled_notes(empty, missing, where),
    ]
    return Targets("classification", names, values, known, notes)


def _label_advice(faults: Sequence[str], cell: str, names: Sequence[str]) -> str:
    """Return advice for a label that is not one of the classes."""
    if looks_missing(cell):
        return "add task.missing=true where such rows have no label, or correct it"
    return advice(faults, cell, names, otherwise=f"the classes are {listing(names)}")


def _unlabelled_notes(empty: Sequence[bool], missing: Missing, where: str) -> list[str]:
    """Return notes about rows without a label, if the user states which these are."""
    count = sum(empty)
    clause = counted(count, f"row of {where} has no label, and is", f"rows of {where} have no label, and are")
    return [f"{clause} predicted only"] if count and missing.is_wanted else []


def _separated(
    table: Table,
    column: str,
    separator: str,
    classes: Sequence[str] | None,
    parts: Sequence[Part | None],
    missing: Missing,
) -> Targets:
    """Return the labels in one column; an empty cell of a row with a part means that no label holds."""
    # Three similar cells have different meanings: an empty one says that no label holds, one such as `NA` that the labels
    # are unknown, and any cell of an unlabelled row is ignored. Labels come only from training rows, so that a word that
    # occurs only in a test row is a fault instead of a further label.
    where, stored = f"{table.path.name}, column {column}", table.column(column)
    unknown = [bool(cell) and missing.means(cell) for cell in stored]
    parted = [[word for word in cell.split(separator.strip() or None) if word.strip()] for cell in table.stored(column)]
    cells = [[] if none else [plain(word) for word in words] for words, none in zip(parted, unknown, strict=True)]
    training = [word for words, part in zip(cells, parts, strict=True) if part in (None, "train") for word in words]
    if classes is None and (doubtful := missing.problem(where, training)):
        raise DataError(doubtful)
    names = list(classes) if classes is not None else sorted(set(training), key=_sort_key)
    if not names:
        raise DataError(problem(where, "has no label", fix="name another column"))
    wrong, known_names = list[str](), set(names)
    for index, words in enumerate(cells):
        for word in words:
            if word not in known_names and parts[index] != "unlabelled":
                fault = "is not among task.classes" if classes is not None else "no training row has this label"
                fix = advice(wrong, word, names, otherwise=f"the labels are {listing(names)}")
                wrong.append(problem(table.where(index, column), fault, got=word, fix=fix))
    raise_some(wrong)
    known = [part != "unlabelled" and not none for part, none in zip(parts, unknown, strict=True)]
    values: list[int | tuple[float, ...]] = [
        tuple(float(name in words) if is_known else math.nan for name in names)
        for words, is_known in zip(cells, known, strict=True)
    ]
    notes = ["an empty cell of labels means that none of them holds"]
    notes += same_text_problems([word.strip(" ") for words in parted for word in words], f"labels in {where}")
    notes += [*(missing.notes(where, training) if classes is None else []), *_unlabelled_notes(unknown, missing, where)]
    return Targets("multilabel", names, values, known, notes)


def _indicators(table: Table, columns: list[str], missing: Missing) -> Targets:
    fault = "must be 0, 1 or empty (unknown)"
    rows, wrong = _matrix(table, columns, missing, allowed=(0.0, 1.0), what=fault)
    raise_some(wrong)
    known = [any(value == value for value in row) for row in rows]
    return Targets("multilabel", columns, [*rows], known, [])


def _numbers(table: Table, columns: list[str], missing: Missing) -> Targets:
    rows, wrong = _matrix(table, columns, missing, allowed=None, what="must be a number or empty (unknown)")
    raise_some(wrong)
    known = [any(value == value for value in row) for row in rows]
    if not any(known):
        raise DataError(problem(f"{table.path.name}, column {listing(columns)}", "has no number", fix="fill it"))
    written = [name for name in columns if table.numerals(name) != table.column(name)]
    notes = [f"column {name}: decimal commas are read as points" for name in written]
    return Targets("regression", columns, [*rows], known, notes)


def _numerals(table: Table, name: str, missing: Missing) -> Iterator[tuple[str, str, bool]]:
    """Yield each cell of a column, its number with a point before decimals, and whether it means a missing value."""
    for cell, numeral in zip(table.column(name), table.numerals(name), strict=True):
        yield cell, numeral, missing.means(cell) or missing.means(numeral)


def _matrix(
    table: Table, columns: list[str], missing: Missing, *, allowed: tuple[float, ...] | None, what: str
) -> tuple[list[tuple[float, ...]], list[str]]:
    wrong, by_column = [], []
    for name in columns:
        values = []
        for index, (cell, numeral, is_missing) in enumerate(_numerals(table, name, missing)):
            value = math.nan if is_missing else number(numeral)
            if value is None or (allowed is not None and value == value and value not in allowed):
                fix = "add task.missing=true where it means unknown" if looks_missing(cell) else "correct it"
                fix = "write a point before decimals in all rows" if _looks_decimal(cell) else fix
                wrong.append(problem(table.where(index, name), what, got=cell, fix=fix))
                value = math.nan
            values.append(value)
        by_column.append(values)
    return list(zip(*by_column, strict=True)), wrong


def _looks_decimal(cell: str) -> bool:
    return number(cell) is None and number(cell.replace(",", ".", 1)) is not None


def number(cell: str) -> float | None:
    """Return a cell as a finite number, or None; `1_000`, which Python reads as a number, is a text in tables."""
    if "_" in cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _sort_key(name: str) -> tuple[bool, float, str]:
    """Return a sort key: numbers by value, then words alphabetically."""
    value = number(name)
    return (value is None, value if value is not None else 0.0, name)
