"""Text tables: CSV, TSV or Parquet, every cell with its place in the file.

Names and cells are normalised by `spelling.plain`: whitespace around them and Unicode composition do not matter.
"""

from __future__ import annotations

import csv as csv_files
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mlpipe import limits, parquet
from mlpipe.data.sources.error_lists import raise_some
from mlpipe.data.spelling import plain
from mlpipe.errors import DataError, did_you_mean, first_line, listing, no_such_file, problem

_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_POINT = re.compile(r"\d\.|\.\d")
_POINTED_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        path: Its file.
        names: The names of the columns.
        rows: The cells, row by row.
        lines: The line of each row in the file (the header of a text file is line 1), or its number from 1.
        unit: What these numbers count, `line` or `row`.
        odd: Columns that do not fit into a table, by name, with what their cells hold; not in `names`.
        torn: A sentence for each line with more or fewer cells than the header, which is left out.
        delimiter: What separates cells in a text file; empty for Parquet.
    """

    path: Path
    names: list[str]
    rows: list[list[str]]
    lines: list[int]
    unit: str
    odd: Mapping[str, str] = field(default_factory=dict)
    torn: list[str] = field(default_factory=list)
    delimiter: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[str]:
        """Return the cells of one column."""
        return [plain(cell) for cell in self.stored(name)]

    def numerals(self, name: str) -> list[str]:
        """Return the cells of a column of numbers with points for decimal commas, as spreadsheets of many countries write them.

        Cells stay as they are if commas separate cells, a number has a point, a cell with a comma is no such number, or all
        commas could separate thousands (`1,500`).

        Raises:
            DataError: If points may separate thousands (`1.500`), because numbers of another column have decimal commas.
        """
        cells = self.column(name)
        with_comma = [cell for cell in cells if "," in cell]
        if self.delimiter not in (";", "\t") or not all(_DECIMAL_COMMA.fullmatch(cell) for cell in with_comma):
            return cells
        pointed = [index for index, cell in enumerate(cells) if _POINT.search(cell)]
        is_unsure = not with_comma and all(_POINTED_THOUSANDS.fullmatch(cells[index]) for index in pointed)
        others = self.names if pointed and is_unsure else []
        if other := next((other for other in others if self._has_decimal_commas(other)), None):
            wrong = f"may be thousands or a fraction: column {other} has decimal commas"
            fix = "write whole numbers without points, and fractions with commas"
            raise DataError(problem(self.where(pointed[0], name), wrong, got=cells[pointed[0]], fix=fix))
        if all(_THOUSANDS.fullmatch(cell) for cell in with_comma) or any(_POINT.search(cell) for cell in cells):
            return cells
        return [cell.replace(",", ".") for cell in cells]

    def _has_decimal_commas(self, name: str) -> bool:
        """Return whether a column has numbers with commas that can only be decimal ones."""
        with_comma = [cell for cell in self.column(name) if "," in cell]
        is_decimal = all(_DECIMAL_COMMA.fullmatch(cell) for cell in with_comma)
        return is_decimal and any(not _THOUSANDS.fullmatch(cell) for cell in with_comma)

    def stored(self, name: str) -> list[str]:
        """Return the cells of one column as they are stored in the file."""
        position = self.names.index(plain(name))
        return [row[position] for row in self.rows]

    def has(self, name: str | None) -> bool:
        """Return whether there is such a column."""
        return name is not None and plain(name) in self.names

    @property
    def there(self) -> str:
        """Return the columns as text for error messages."""
        left_out = "".join(f"; {name} is none, its cells are {holds}" for name, holds in self.odd.items())
        return f"there are {listing(self.names)}{left_out}"

    def where(self, index: int, column: str) -> str:
        """Return the place of a cell for error messages."""
        return f"{self.path.name} {self.unit} {self.lines[index]}, column {column}"

    def require(self, name: str, key: str) -> None:
        """Refuse a missing column.

        Raises:
            DataError: With the names of the existing columns.
        """
        if holds := self.odd.get(plain(name)):
            wrong = f"column {name} of {self.path.name} holds {holds}, and no texts or numbers"
            raise DataError(problem(key, wrong, fix="save a column with a text or number in each row"))
        if not self.has(name):
            fix = did_you_mean(name, self.names, otherwise=self.there)
            raise DataError(problem(key, f"{self.path.name} has no such column", got=name, fix=fix))


def read(path: Path) -> Table:
    """Return the table in a .csv, .tsv or .parquet file.

    Raises:
        DataError: If it is missing, damaged or empty, or no line has as many cells as the header.
    """
    if not path.is_file():
        raise DataError(no_such_file("task.file", path, otherwise="name a .csv, .tsv or .parquet file"))
    table = _parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _text(path)
    twice = sorted(name for name, count in Counter(table.names).items() if count > 1)
    if twice:
        raise DataError(problem(str(path), f"has several columns of one name: {listing(twice)}", fix="rename them"))
    if not table.rows:
        raise_some(table.torn)
        raise DataError(problem(str(path), "has no rows", fix="add a line for each image"))
    return table


def _text(path: Path) -> Table:
    try:
        with path.open(encoding=_encoding(path), newline="") as handle:
            first = next(_lines(handle), "")
            handle.seek(0)
            delimiter = _delimiter(path, first)
            lines = csv_files.reader(_lines(handle), delimiter=delimiter, strict=True)
            names = [plain(name) for name in next(lines, [])]
            _require_size(path, len(names), 0)
            rows, numbers, wrong = [], [], []
            for cells in lines:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(names):
                    place = f"{path.name} line {lines.line_num}"
                    fix = "quote cells that hold the delimiter"
                    wrong.append(problem(place, f"has {len(cells)} cells, the header has {len(names)}", fix=fix))
                    continue
                rows.append(cells)
                numbers.append(lines.line_num)
                if len(rows) % 1000 == 0:
                    _require_size(path, len(names), len(rows))
    except UnicodeDecodeError as error:
        fix = "save it as UTF-8 (in Excel as 'CSV UTF-8')"
        raise DataError(problem(str(path), f"is not UTF-8 text ({error.reason})", fix=fix)) from error
    except (OSError, ValueError, csv_files.Error) as error:
        raise DataError(problem(str(path), f"cannot be read ({error})", fix="repair it")) from error
    return Table(path, names, rows, numbers, "line", torn=wrong, delimiter=delimiter)


def _encoding(path: Path) -> str:
    """Return UTF-16 if the file begins with its byte order mark, as spreadsheets save Unicode text; else UTF-8."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _lines(handle: IO[str]) -> Iterator[str]:
    """Yield the lines of a file.

    Raises:
        ValueError: If one exceeds the maximum length of a line.
    """
    while line := handle.readline(limits.LINE + 1):
        if len(line) > limits.LINE:
            raise ValueError(f"a line has more than {limits.LINE:,} characters")
        yield line


def _require_size(path: Path, columns: int, rows: int) -> None:
    """Refuse a table that is too large to process.

    Raises:
        DataError: With what is too large.
    """
    if columns > limits.COLUMNS:
        fix = f"at most {limits.COLUMNS:,} are read; leave those out that are not used"
        raise DataError(problem(str(path), f"has {columns:,} columns", fix=fix))
    if columns * rows > limits.CELLS:
        fix = f"at most {limits.CELLS:,} cells are read; leave columns out, or split the rows"
        raise DataError(problem(str(path), f"has {rows:,} rows or more of {columns:,} columns", fix=fix))


def _delimiter(path: Path, header: str) -> str:
    """Return a tab for .tsv, else the most frequent of comma, semicolon and tab in the header."""
    return "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header.count)


def _parquet(path: Path) -> Table:
    import pyarrow as pa

    try:
        with parquet.opened(path) as file:
            _require_size(path, file.metadata.num_columns, file.metadata.num_rows)
            fields = list(file.schema_arrow)
            names = [plain(field.name) for field in fields if _is_plain(field.type)]
            odd = {plain(field.name): str(field.type)[:80] for field in fields if not _is_plain(field.type)}
            if len({*names, *odd}) < len(fields):
                return Table(path, [plain(field.name) for field in fields], [], [], "row")
            plain_names = [field.name for field in fields if _is_plain(field.type)]
            # Selecting a name with a dot also reads the nested field of that path.
            stored = file.read(plain_names)
        columns = [[_cell(value) for value in stored.column(name).to_pylist()] for name in plain_names]
    except (OSError, ValueError, OverflowError, LookupError, pa.ArrowException) as error:
        # Timestamps and time zones that Python does not know raise such errors, too.
        raise DataError(problem(str(path), f"cannot be read ({first_line(error)})", fix="repair it")) from error
    rows = [list(cells) for cells in zip(*columns, strict=True)]
    return Table(path, names, rows, list(range(1, len(rows) + 1)), "row", odd)


def _is_plain(kind: Any) -> bool:
    """Return whether a Parquet column holds texts, numbers, booleans or times, and not bytes, lists or mappings."""
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    return not (
        types.is_nested(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


def _cell(value: object) -> str:
    """Return a cell as text: null and NaN are empty, true is 1."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)
