"""SQLite files of somebody else: what computes, and what there is too much of, is told before anything is read."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mlpipe import limits, sqlite


def written(path: Path, script: str) -> Path:
    with closing(sqlite3.connect(path)) as file:
        file.executescript(script)
    return path


@pytest.mark.parametrize(
    ("script", "odd"),
    [
        ("CREATE VIEW v AS SELECT a FROM t", "v is a view or a trigger"),
        ("CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t; END", "g is a view or a trigger"),
        ("CREATE VIRTUAL TABLE f USING fts5(x)", "f is a virtual table"),
        ("create/**/virtual   table f USING fts5(x)", "f is a virtual table"),
        ("CREATE TABLE c (a, b TEXT AS (printf('%.*c', 900000000, 'x')))", "c.b is a computed column"),
        ("CREATE TABLE c (a, b AS (a + 1) STORED)", "c.b is a computed column"),
        ("CREATE TABLE IF NOT EXISTS c (a DEFAULT 3); CREATE UNIQUE INDEX i ON c (a)", None),
    ],
)
def test_what_computes_is_named(script: str, odd: str | None, tmp_path: Path) -> None:
    assert sqlite.computed_in(written(tmp_path / "m.db", f"CREATE TABLE t (a); {script}")) == odd


def test_what_computes_is_named_whose_name_is_no_text(tmp_path: Path) -> None:
    path = written(tmp_path / "m.db", "CREATE TABLE t (a); CREATE VIEW vvvv AS SELECT a FROM t")
    path.write_bytes(path.read_bytes().replace(b"vvvv", b"v\xffvv"))
    assert sqlite.computed_in(path) == "v\\xffvv is a view or a trigger"


def test_rows_bytes_and_values_are_counted_without_reading_them(tmp_path: Path) -> None:
    script = """CREATE TABLE t ("a b", c); CREATE TABLE u (d);
    INSERT INTO t VALUES ('[1,2,{"k":[]}]', 7), (NULL, 'x,y'); INSERT INTO u VALUES ('four'), (x'00ff');"""
    with sqlite.opened(written(tmp_path / "m.db", script)) as file:
        # 14 letters and one digit, of which two commas, two brackets and a brace begin a value; then three letters.
        assert sqlite.size(file, {"t": ("TRUE", [])}) == (2, 14 + 1 + 3, 5 + 1)
        assert sqlite.size(file, {"t": ("c = ?", [7]), "u": ("TRUE", [])}) == (3, 15 + 4 + 2, 5)
        assert sqlite.size(file, {}) == (0, 0, 0)


def test_a_cell_beyond_the_limit_is_an_error_and_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "m.db", "CREATE TABLE t (a); INSERT INTO t VALUES (printf('%.*c', 5000, 'x'));")
    monkeypatch.setattr(limits, "STUDY", 4000)
    with sqlite.opened(path) as file, pytest.raises(sqlite3.DataError, match="too big"):
        sqlite.size(file, {"t": ("TRUE", [])})
    with sqlite.opened(path) as file, pytest.raises(sqlite3.DataError, match="too big"):
        file.execute("SELECT a FROM t").fetchall()


@pytest.mark.parametrize("beside", ["wal", "journal"])
def test_a_trigger_that_lies_beside_an_sqlite_file_counts(beside: str, tmp_path: Path) -> None:
    """What is written into a file when it is opened next: a log of what was added, a journal of what was to be deleted."""
    (tmp_path / "copy").mkdir()
    with closing(sqlite3.connect(tmp_path / "m.db", isolation_level=None)) as file:
        file.executescript("CREATE TABLE runs (a); CREATE TABLE pad (a);")
        assert sqlite.computed_in(tmp_path / "m.db") is None
        if beside == "wal":
            file.execute("PRAGMA journal_mode=WAL")
        file.execute("CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM runs; END")
        if beside == "journal":
            # More than is kept in memory is written before the transaction ends.
            file.execute("PRAGMA cache_size=5")
            file.execute("BEGIN")
            file.execute("DROP TRIGGER t")
            file.executemany("INSERT INTO pad VALUES (?)", [(bytes(5000),)] * 200)
        for name in ("m.db", f"m.db-{beside}"):
            shutil.copy(tmp_path / name, tmp_path / "copy")
    assert sqlite.computed_in(tmp_path / "copy" / "m.db") == "t is a view or a trigger"
    assert sqlite.computed_in(tmp_path / "copy" / "m.db", own=["runs"]) is None
