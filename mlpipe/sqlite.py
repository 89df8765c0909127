"""SQLite files that anybody may have written: nothing is asked of one that computes its answers, or has too much of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from mlpipe import limits

# How SQLite opens a file, which it does not make where there is none.
_AS_IT_IS = urlencode({"mode": "rw"})


class Size(NamedTuple):
    """Of some tables their rows, the bytes of all cells of these, and the most values of JSON that the cells can hold."""

    rows: int
    bytes: int
    values: int


class BoundedConnection(sqlite3.Connection):
    """Neither reads nor makes a value of more than `limits.STUDY` bytes; what is larger is an error of SQLite's."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limits.STUDY)


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    """An SQLite file as the library opens it that reads it next: what lies beside it counts too, be it written and not yet
    in it, or to be taken back.

    Args:
        file: The file, which is there.

    Raises:
        sqlite3.Error: When it is no such file.
    """
    address = f"{file.absolute().as_uri()}?{_AS_IT_IS}"
    with closing(sqlite3.connect(address, uri=True, factory=BoundedConnection)) as connection:
        # A name may be any bytes; one that is no text must not end the search for what computes.
        connection.text_factory = lambda content: content.decode("utf-8", "backslashreplace")
        yield connection


def computed_in(file: Path, own: Sequence[str] = ()) -> str | None:
    """What an SQLite file computes when its tables are asked, perhaps without end.

    Args:
        file: The file, which is there.
        own: Tables whose triggers and computed columns do not count.

    Returns:
        Its name and what it is: a view, a trigger, a virtual table, or a column that is computed; None where it has none.

    Raises:
        sqlite3.Error: When it is no such file, or somebody writes into it for seconds.
    """
    places = ", ".join("?" * len(own))
    with opened(file) as connection:
        row = connection.execute(
            "SELECT name || ' is a view or a trigger' FROM sqlite_master WHERE type NOT IN ('table', 'index')"
            f" AND NOT (type = 'trigger' AND tbl_name IN ({places}))"
            # How SQLite keeps what made a table, however it was spelt.
            " UNION ALL SELECT name || ' is a virtual table' FROM sqlite_master"
            " WHERE type = 'table' AND sql NOT LIKE 'CREATE TABLE %'"
            " UNION ALL SELECT one.name || '.' || cell.name || ' is a computed column'"
            " FROM sqlite_master AS one, pragma_table_xinfo(one.name) AS cell WHERE one.type = 'table' AND cell.hidden <> 0"
            f" AND one.name NOT IN ({places}) LIMIT 1",
            [*own, *own],
        ).fetchone()
    return None if row is None else str(row[0])


def size(connection: sqlite3.Connection, tables: Mapping[str, tuple[str, Sequence[Any]]]) -> Size:
    """How much the rows of tables hold, which is summed without making anything of them.

    Args:
        connection: The opened file.
        tables: The condition for the rows of each table that count, an expression of SQL with its values.

    Raises:
        sqlite3.DataError: When a cell has more than `limits.STUDY` bytes.
        sqlite3.Error: When it is damaged.
    """
    total = Size(0, 0, 0)
    for table, (condition, values) in tables.items():
        names = [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", [table])]
        # A value of JSON after the first follows a comma, a bracket or a brace; nothing of SQLite counts letters.
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
    """A name as SQL reads it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
