"""Read untrusted SQLite files: files with computed contents or too much data are not queried."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from mlpipe import limits

# Open mode that does not create a missing file.
_AS_IT_IS = urlencode({"mode": "rw"})


class Size(NamedTuple):
    """Size of some tables: rows, bytes of all their cells, and the maximum number of JSON values in the cells."""

    rows: int
    bytes: int
    values: int


class BoundedConnection(sqlite3.Connection):
    """A connection with values of at most `limits.STUDY` bytes; SQLite raises an error when it reads or creates a larger one."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limits.STUDY)


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    """Open an SQLite file in the mode of the library that reads it next, with its journal or write-ahead log included.

    Args:
        file: The file, which must exist.

    Raises:
        sqlite3.Error: When it is not an SQLite file.
    """
    address = f"{file.absolute().as_uri()}?{_AS_IT_IS}"
    with closing(sqlite3.connect(address, uri=True, factory=BoundedConnection)) as connection:
        # A name may be any bytes; invalid UTF-8 must not stop the search for computed contents.
        connection.text_factory = lambda content: content.decode("utf-8", "backslashreplace")
        yield connection


def computed_in(file: Path, own: Sequence[str] = ()) -> str | None:
    """Find anything in an SQLite file that is computed, perhaps without end, when its tables are queried.

    Args:
        file: The file, which must exist.
        own: Tables whose triggers and computed columns are allowed.

    Returns:
        Its name and kind: a view, a trigger, a virtual table, or a computed column; None if there is none.

    Raises:
        sqlite3.Error: When it is not an SQLite file, or another process holds a write lock for seconds.
    """
    places = ", ".join("?" * len(own))
    with opened(file) as connection:
        row = connection.execute(
            "SELECT name || ' is a view or a trigger' FROM sqlite_master WHERE type NOT IN ('table', 'index')"
            f" AND NOT (type = 'trigger' AND tbl_name IN ({places}))"
            # SQLite stores the statement that created a table in this normalised form.
            " UNION ALL SELECT name || ' is a virtual table' FROM sqlite_master"
            " WHERE type = 'table' AND sql NOT LIKE 'CREATE TABLE %'"
            " UNION ALL SELECT one.name || '.' || cell.name || ' is a computed column'"
            " FROM sqlite_master AS one, pragma_table_xinfo(one.name) AS cell WHERE one.type = 'table' AND cell.hidden <> 0"
            f" AND one.name NOT IN ({places}) LIMIT 1",
            [*own, *own],
        ).fetchone()
    return None if row is None else str(row[0])


def size(connection: sqlite3.Connection, tables: Mapping[str, tuple[str, Sequence[Any]]]) -> Size:
    """Return the size of the rows of tables, summed without loading them.

    Args:
        connection: The opened file.
        tables: For each table the SQL condition for the rows that count, with its parameters.

    Raises:
        sqlite3.DataError: When a cell has more than `limits.STUDY` bytes.
        sqlite3.Error: When the file is damaged.
    """
    total = Size(0, 0, 0)
    for table, (condition, values) in tables.items():
        names = [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", [table])]
        # Each JSON value after the first follows a comma, a bracket or a brace; SQLite has no function to count characters.
        cells = [f"CAST({_quoted(name)} AS BLOB)" for name in names]
        length = " + ".join(f"ifnull(length({cell}), 0)" for cell in cells) or "0"
        bare = [f"replace(replace(replace({_quoted(name)}, ',', ''), '[', ''), '{{', '')" for name in names]
        rest = " + ".join(f"ifnull(length(CAST({cell} AS BLOB)), 0)" for cell in bare) or "0"
        totals = connection.execute(
            f"SELECT count(*), total({length}), total({rest}) FROM {_quoted(table)} WHERE {condition}",
            values,
        ).fetchone()
        total = Size(total.rows + totals[0], total.bytes + int(totals[1]), total.values + int(totals[1] - totals[2]))
    return total


def _quoted(name: str) -> str:
    """Return a name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'
