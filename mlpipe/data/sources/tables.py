"""A table of image files: CSV, TSV or Parquet with columns for path, target and, optionally, split, fold, group, weight."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from mlpipe.data import task
from mlpipe.data.sources import looking
from mlpipe.data.sources.class_folders import PART_FOLDERS, dtype_of, finished, opened
from mlpipe.data.sources.table_files import Table, read
from mlpipe.data.sources.table_targets import Targets, find_targets, number, raise_some
from mlpipe.data.task import Part, Row, Task
from mlpipe.errors import DataError, problem

PATHS = ("path", "file", "filename", "file_name", "image", "image_path", "image_id", "id")


def csv(
    *,
    file: str,
    root: str | None = None,
    name: str | None = None,
    kind: Literal["classification", "multilabel", "regression"] | None = None,
    path: str | None = None,
    target: str | list[str] | None = None,
    separator: str | None = None,
    classes: list[str] | None = None,
    suffix: str = "",
    split: str | None = "split",
    fold: str | None = "fold",
    group: str | None = "group",
    weight: str | None = "weight",
    channels: Literal[1, 3, 4] | None = None,
    bits: Literal[8, 16] | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
    data_dir: str | None = None,
) -> Task:
    """A table with one row for each image file.

    Args:
        file: The table: .csv, .tsv or .parquet; the first line of a text file names the columns.
        root: The folder, or the zip or tar archive, that paths are relative to; None: the table's folder.
        name: The task's name before the hash; None takes the table's.
        kind: What is predicted; None: several columns of 0 and 1, or a `separator`, are labels, one column is a class.
        path: The column of paths; None: the first of path, file, filename, image, image_id, ... that is there.
        target: The column of the target, or the columns of several labels or numbers; None: target, label or class.
        separator: What separates labels in one column; empty or blank: any blanks.
        classes: The classes or labels in their order; None: those of the training rows, sorted.
        suffix: Added to every path, such as `.jpg`.
        split: The column of train, val, test or unlabelled; without it every row is train. None, here and in the next
            three: the column is not used even when it is there.
        fold: The column of fold numbers from 0, which are then used instead of drawing folds.
        group: The column of groups that are never split, such as patients.
        weight: The column of weights in the loss.
        channels: As for `folder`.
        bits: As for `folder`.
        max_unreadable: As for `folder`.
        allow_overlap: As for `folder`.
        data_dir: As for `folder`.

    Raises:
        DataError: With a sentence for every wrong row, naming file, line and column.
    """
    where = Path(file).expanduser().absolute()
    table = read(where)
    columns = _Columns(table, path, {"split": split, "fold": fold, "group": group, "weight": weight})
    base = opened(root, data_dir, "task.root") if root is not None else where.parent
    parts = parts_of(table, columns.optional["split"])
    targets = find_targets(table, target, kind, separator, classes, parts)
    paths = [base / f"{text}{suffix}" for text in table.column(columns.path)]
    check_paths(table, columns.path, paths)
    looks = looking.look(paths, looking.memory_file(data_dir, where))
    folds = numbers_of(table, columns.optional["fold"], whole=True)
    weights = numbers_of(table, columns.optional["weight"], whole=False)
    groups = table.column(columns.optional["group"]) if columns.optional["group"] else [""] * len(table)
    rows = [
        Row(
            relative(paths[index], base),
            _part(parts[index], targets, index),
            targets.values[index],
            looks[index].digest,
            groups[index],
            1.0 if weights[index] is None else float(weights[index] or 0.0),
            -1 if folds[index] is None else int(folds[index] or 0),
        )
        for index in range(len(table))
    ]
    made = task.make(
        name or where.stem,
        targets.classes,
        rows,
        kind=targets.kind,
        channels=channels or looking.channels_of(looks),
        dtype=dtype_of(bits or looking.bits_of(looks)),
        source={"type": "csv", "root": str(base), "file": str(where)},
        notes=[*targets.notes, *columns.notes()],
    )
    return finished(made, allow_overlap)


class _Columns:
    """Which column holds what; a column under its default name is used when it is there, a named one must be there."""

    def __init__(self, table: Table, path: str | None, named: dict[str, str | None]) -> None:
        if path is not None:
            table.require(path, "task.path")
        found = path or next((column for column in PATHS if column in table.names), None)
        if found is None:
            fix = f"name the column with task.path=COLUMN; there are {', '.join(table.names)}"
            raise DataError(problem(str(table.path), "has no column of paths", fix=fix))
        self.path = found
        self.optional: dict[str, str | None] = {}
        for key, column in named.items():
            if column not in (None, key):
                table.require(str(column), f"task.{key}")
            self.optional[key] = column if column in table.names else None

    def notes(self) -> list[str]:
        """What a person should know of the columns that are used."""
        used = [column for column in self.optional.values() if column]
        return [f"columns used besides path and target: {', '.join(used)}"] if used else []


def parts_of(table: Table, column: str | None) -> list[Part | None]:
    """The part of every row; None where the table leaves it open."""
    if column is None:
        return [None] * len(table)
    wrong, parts = list[str](), list[Part | None]()
    for index, text in enumerate(table.column(column)):
        part = PART_FOLDERS.get(text.strip().lower())
        if part is None and text.strip():
            fix = "use train, val, test or unlabelled"
            wrong.append(problem(table.where(index, column), "unknown part", got=text, fix=fix))
        parts.append(part)
    raise_some(wrong)
    return parts


def _part(part: Part | None, targets: Targets, index: int) -> Part:
    if part is None:
        return "train" if targets.known[index] else "unlabelled"
    return part


def check_paths(table: Table, column: str, paths: Sequence[Path]) -> None:
    """Refuse files that are not there or come twice.

    Args:
        table: The table.
        column: The column of paths, for sentences.
        paths: The file of each row.

    Raises:
        DataError: With a sentence for each of the first ones.
    """
    wrong, seen = list[str](), dict[Path, int]()
    for index, path in enumerate(paths):
        first = seen.setdefault(path, index)
        if first != index:
            wrong.append(problem(table.where(index, column), f"repeats {table.where(first, column)}", got=path.name))
        elif not _is_file(path):
            fix = f"correct the path, or give the folder with task.root (paths are taken from {path.parent})"
            wrong.append(problem(table.where(index, column), "there is no such file", got=str(path), fix=fix))
    raise_some(wrong)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # A name that is too long for any file.
        return False


def numbers_of(table: Table, column: str | None, *, whole: bool) -> list[float | None]:
    """The numbers of a column, None where it is empty."""
    if column is None:
        return [None] * len(table)
    wrong, found = list[str](), list[float | None]()
    for index, text in enumerate(table.column(column)):
        value = number(text)
        fits = value is not None and value >= 0 and (not whole or (value == int(value) and value < len(table)))
        if text.strip() and not fits:
            kind = "a whole number >= 0, less than there are rows" if whole else "a number >= 0"
            wrong.append(problem(table.where(index, column), f"must be {kind}", got=text, fix="correct it"))
        found.append(value if text.strip() else None)
    raise_some(wrong)
    return found


def relative(path: Path, base: Path) -> str:
    """A file's name below a folder, its whole path where it lies elsewhere."""
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()
