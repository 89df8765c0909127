"""Tables of image files: CSV, TSV or Parquet with columns for path, target and optionally split, fold, group, weight, order."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from mlpipe import current_folder
from mlpipe.data import spelling, task
from mlpipe.data.archives import opened
from mlpipe.data.sources.error_lists import Faults
from mlpipe.data.sources.listings import file_headers, pixel_rules
from mlpipe.data.sources.listings.pixel_rules import PixelSettings
from mlpipe.data.sources.listings.table_files import Table, read
from mlpipe.data.sources.listings.table_rows import check_paths, group_hint, other_columns, relative
from mlpipe.data.sources.source import finished
from mlpipe.data.sources.targets.missing_labels import Missing
from mlpipe.data.sources.targets.table_targets import TARGETS, Targets, find_targets
from mlpipe.data.task import Part, Row, Task
from mlpipe.errors import problem

_KEEP_GROUPS = "task.group=COLUMN keeps them together, task.group=null says that there are none"
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
    missing: bool | list[Any] | None = None,
    suffix: str = "",
    split: str | None = "split",
    fold: str | None = "fold",
    group: str | None = "group",
    weight: str | None = "weight",
    order: str | None = None,
    channels: Literal[1, 3, 4] | None = None,
    bits: Literal[8, 16] | None = None,
    value_range: tuple[float, float] | None = None,
    background: Literal["white", "black"] = "white",
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
    data_dir: str | None = None,
) -> Task:
    """A table with one row per image file.

    Whitespace around cells and the Unicode composition of letters do not matter (`mlpipe.data.spelling`).

    Args:
        file: The table: .csv, .tsv or .parquet; the first line of a text file names the columns.
        root: The folder, or zip or tar archive, that paths are relative to; None: the table's folder.
        name: The task's name before the hash; None: the table's name.
        kind: What is predicted; None: labels for several columns of 0 and 1 or with a `separator`, classes for one column.
        path: The column of paths; None: the first that exists of path, file, filename, image, image_id, ...
        target: The column of the target, or the columns of several labels or numbers; None: target, label or class.
        separator: What separates several labels in one column; empty or blank: any whitespace.
        classes: The classes or labels in order; None: those of the training rows, sorted, or the names of several columns.
        missing: The cells that mean "no value", besides empty ones: True: `nan`, `NA`, `N/A`, `None`, `null` and the like;
            False: none, such words are names; or a list of cells. Rows without a label are unlabelled. None: if several
            such words occur as labels, or one that is not a word, an error asks for a choice.
        suffix: Text appended to every path, such as `.jpg`.
        split: The column of train, val, test or unlabelled; without it every row is train. None, here and for the next
            three keys: do not use the column even if it exists.
        fold: The column of fold numbers from 0, used instead of drawing folds.
        group: The column of groups, such as patients; a group is never split between parts.
        weight: The column of sample weights in the loss.
        order: The column of numbers, dates or times that `split=time` sorts by; None: none.
        channels: As for `folder`.
        bits: As for `folder`.
        value_range: As for `folder`.
        background: As for `folder`.
        max_unreadable: As for `folder`.
        allow_overlap: As for `folder`.
        data_dir: As for `folder`.

    Raises:
        DataError: With one sentence for every faulty row, naming file, line and column.
    """
    where = current_folder.expanded(file).absolute()
    table, faults, absent = read(where), Faults(), Missing(missing)
    base = opened(root, data_dir, "task.root") if root is not None else where.parent
    columns = _Columns(
        table, path, {"split": split, "fold": fold, "group": group, "weight": weight, "order": order}, faults
    )
    paths = _paths(table, columns.path, suffix, base, faults)
    extras = other_columns(table, columns.optional, absent, faults)
    targets = faults.of(
        lambda: find_targets(table, target, kind, separator, classes, extras.parts, absent),
        Targets("classification", [], [], [], []),
    )
    faults.tell()
    looks = file_headers.look(paths, file_headers.memory_file(data_dir, where))
    pixels = pixel_rules.format_of(paths, looks, PixelSettings(channels, bits, value_range, background))
    own_columns = [columns.path or "", *([target] if isinstance(target, str) else target or TARGETS)]
    hint = (
        group_hint(table, own_columns, _KEEP_GROUPS) if group is not None and columns.optional["group"] is None else []
    )
    rows = [
        Row(
            relative(paths[index], base),
            _part(extras.parts[index], targets, index, absent),
            targets.values[index],
            looks[index].digest,
            extras.groups[index],
            extras.weight(index),
            extras.fold(index),
            order=extras.orders[index],
        )
        for index in range(len(table))
    ]
    new_task = task.make(
        name or where.stem,
        targets.classes,
        rows,
        kind=targets.kind,
        channels=pixels.channels,
        dtype=pixels.dtype,
        source={"type": "csv", "root": str(base), "file": str(where), **pixels.source},
        notes=[*targets.notes, *columns.notes(), *extras.notes, *hint, *pixels.notes],
    )
    return finished(new_task, allow_overlap)


def _paths(table: Table, column: str | None, suffix: str, base: Path, faults: Faults) -> list[Path]:
    """Return the file of each row; add invalid paths, missing files and duplicates to `faults`."""
    faults.add(table.torn)
    if column is None:
        return []
    find = spelling.finder()
    paths = [find(base, f"{text}{suffix}") for text in table.stored(column)]
    faults.of(lambda: check_paths(table, column, paths, base), None)
    return paths


class _Columns:
    """Columns by role; a column under its default name is optional, a named one must exist."""

    def __init__(self, table: Table, path: str | None, choices: dict[str, str | None], faults: Faults) -> None:
        if path is not None:
            faults.of(lambda: table.require(path, "task.path"), None)
        path_column = path or next((column for column in PATHS if column in table.names), None)
        if path_column is None:
            fix = f"name the column with task.path=COLUMN; {table.there}"
            faults.add([problem(str(table.path), "has no column of paths", fix=fix)])
        self.path = path_column if table.has(path_column) else None
        self.optional: dict[str, str | None] = {}
        for key, column in choices.items():
            if column not in (None, key):
                faults.of(partial(table.require, str(column), f"task.{key}"), None)
            self.optional[key] = spelling.plain(str(column)) if table.has(column) else None

    def notes(self) -> list[str]:
        """Return notes about the columns that are used."""
        used = [column for column in self.optional.values() if column]
        return [f"columns used besides path and target: {', '.join(used)}"] if used else []


def _part(part: Part | None, targets: Targets, index: int, missing: Missing) -> Part:
    if part is None or (missing.is_wanted and not targets.known[index]):
        return part or "train" if targets.known[index] else "unlabelled"
    return part
