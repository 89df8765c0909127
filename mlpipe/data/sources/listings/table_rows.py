"""Columns of a table besides the target: file, part, fold, group, weight and order of each row."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlpipe.data import spelling
from mlpipe.data.sources.error_lists import Faults, raise_kinds
from mlpipe.data.sources.listings.class_folders import PART_FOLDERS
from mlpipe.data.sources.listings.table_files import Table
from mlpipe.data.sources.targets.missing_labels import Missing
from mlpipe.data.sources.targets.table_targets import number
from mlpipe.data.task import Part
from mlpipe.errors import counted, listing, problem

# Usual names of group columns, without an ending such as _id.
_GROUP = re.compile(
    "animal|camera|case|cent(re|er)|clinic|clip|donor|examination|family|hospital|individual|lesion|location|mouse|participant|"
    "patient|person|plate|scanner|scene|sequence|series|session|site|slide|specimen|study|subject|video|visit|volunteer|wsi"
)
_ENDING = re.compile(r"[ _-]*(id|ids|no|nr|num|number|name|code|uid|key)$")


@dataclass(frozen=True)
class OtherColumns:
    """Columns of a table besides files and targets.

    Attributes:
        parts: The part; None if the table does not state it.
        folds: The fold; None: none.
        weights: The weight; None: not given.
        groups: The group; empty: none.
        orders: The number or time, in seconds since 1970; NaN: none.
        notes: Notes for the user.
    """

    parts: list[Part | None]
    folds: list[float | None]
    weights: list[float | None]
    groups: list[str]
    orders: list[float]
    notes: list[str]

    def weight(self, index: int) -> float:
        """Return the weight of a row."""
        weight = self.weights[index]
        return 1.0 if weight is None else float(weight)

    def fold(self, index: int) -> int:
        """Return the fold of a row, -1 if it has none."""
        fold = self.folds[index]
        return -1 if fold is None else int(fold)


def other_columns(table: Table, columns: Mapping[str, str | None], missing: Missing, faults: Faults) -> OtherColumns:
    """Return the columns of a table's rows besides files and targets.

    Args:
        table: The table.
        columns: The columns of `split`, `fold`, `weight`, `group` and `order`; None: there is none.
        missing: The cells that mean "no value".
        faults: Collects the faults.
    """
    groups, notes = groups_in(table, columns["group"], missing)
    return OtherColumns(
        _parts_of(table, columns["split"], missing, faults),
        _numbers_of(table, columns["fold"], missing, faults, whole=True),
        _numbers_of(table, columns["weight"], missing, faults, whole=False),
        groups,
        _orders_of(table, columns.get("order"), missing, faults),
        notes,
    )


def groups_in(table: Table, column: str | None, missing: Missing) -> tuple[list[str], list[str]]:
    """Return the group of each row, empty if it has none, and notes for the user.

    Args:
        table: The table.
        column: The column of groups; None: there is none.
        missing: The cells that mean that a row has no group.
    """
    if column is None:
        return [""] * len(table), []
    groups, where = table.column(column), f"{table.path.name}, column {column}"
    notes = spelling.same_text_problems(table.stored(column), f"groups in {where}") + missing.notes(where, groups)
    return ["" if missing.means(group) else group for group in groups], notes


def group_hint(table: Table, own_columns: Collection[str], fix: str) -> list[str]:
    """Return a note about a column that looks like groups but is not used as such; nothing if there is none.

    Args:
        table: The table.
        own_columns: Columns with another role.
        fix: Advice for keeping its groups together, with `COLUMN` for its name.
    """
    likely = {}
    for name in table.names:
        plain = _ENDING.sub("", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
        count = len({cell for cell in table.column(name) if cell})
        if (
            _GROUP.fullmatch(plain)
            and name not in own_columns
            and 1 < count < sum(1 for cell in table.column(name) if cell)
        ):
            likely[name] = count
    if not likely:
        return []
    finest = max(likely, key=likely.__getitem__)
    also = [name for name in likely if name != finest]
    others = f", as {listing(also)} does" if also else ""
    return [
        f"column {finest} ({likely[finest]} values in {counted(len(table), 'row')}) looks like groups{others}, and images of "
        f"one group may lie in several parts and folds; {fix.replace('COLUMN', finest)}"
    ]


def _orders_of(table: Table, column: str | None, missing: Missing, faults: Faults) -> list[float]:
    """Return numbers unchanged, dates and times (ISO 8601; UTC by default) as seconds since 1970, NaN for empty cells."""
    if column is None:
        return [math.nan] * len(table)
    wrong, orders = list[str](), list[float]()
    texts = table.numerals(column)
    are_numbers = all(number(text) is not None for text in texts if not missing.means(text))
    for index, text in enumerate(texts):
        if missing.means(text):
            orders.append(math.nan)
            continue
        value = number(text) if are_numbers else _seconds(text)
        if value is None:
            fix = "write 2024-03-31, 2024-03-31 14:05:00, or numbers in all rows"
            wrong.append(problem(table.where(index, column), "is no date or time", got=text, fix=fix))
        orders.append(math.nan if value is None else value)
    faults.add(wrong)
    return orders


def _seconds(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _parts_of(table: Table, column: str | None, missing: Missing, faults: Faults) -> list[Part | None]:
    """Return the part of every row; None if the table does not state it, or the cell is not a part."""
    if column is None:
        return [None] * len(table)
    wrong, parts = list[str](), list[Part | None]()
    for index, text in enumerate(table.column(column)):
        part = PART_FOLDERS.get(text.lower())
        if part is None and not missing.means(text):
            fix = "use train, val, test or unlabelled"
            wrong.append(problem(table.where(index, column), "unknown part", got=text, fix=fix))
        parts.append(part)
    faults.add(wrong)
    return parts


def check_paths(table: Table, column: str, paths: Sequence[Path], base: Path) -> None:
    """Refuse cells without a path, missing files and duplicates.

    Args:
        table: The table.
        column: The column of paths, for error messages.
        paths: The file of each row.
        base: The folder that paths are relative to.

    Raises:
        DataError: With a sentence for each of the first faults.
    """
    empty, twice, lost, first_rows = list[str](), list[str](), list[str](), dict[Path, int]()
    for index, (path, text) in enumerate(zip(paths, table.column(column), strict=True)):
        if not text:
            fix = "write the image's path, or remove the line"
            empty.append(problem(table.where(index, column), "is empty", fix=fix))
            continue
        first = first_rows.setdefault(path, index)
        if first != index:
            twice.append(problem(table.where(index, column), f"repeats {table.where(first, column)}", got=path.name))
        elif not _is_file(path):
            fix = f"correct the path, or give the folder with task.root (paths are taken from {base})"
            lost.append(problem(table.where(index, column), "there is no such file", got=str(path), fix=fix))
    raise_kinds(empty, twice, lost)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # The name is too long for any file.
        return False


def _numbers_of(
    table: Table, column: str | None, missing: Missing, faults: Faults, *, whole: bool
) -> list[float | None]:
    """Return the numbers of a column, None if a cell is empty, or holds no valid number."""
    if column is None:
        return [None] * len(table)
    wrong, values = list[str](), list[float | None]()
    for index, (text, numeral) in enumerate(zip(table.column(column), table.numerals(column), strict=True)):
        value, is_empty = number(numeral), missing.means(text)
        fits = value is not None and value >= 0 and (not whole or (value == int(value) and value < len(table)))
        if not is_empty and not fits:
            kind = "a whole number >= 0, less than there are rows" if whole else "a number >= 0"
            wrong.append(problem(table.where(index, column), f"must be {kind}", got=text, fix="correct it"))
        values.append(value if fits else None)
    faults.add(wrong)
    return values


def relative(path: Path, base: Path) -> str:
    """Return a file's path relative to a folder, or its absolute path if it lies elsewhere."""
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()
