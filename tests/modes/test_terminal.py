"""Columns and paragraphs end where the terminal's lines do."""

from __future__ import annotations

import pytest

from mlpipe.modes.terminal import paragraph, table


def test_the_last_column_is_wrapped_below_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert table([("a", "one two three four five six seven eight nine ten"), ("long", "x")]) == [
        "  a     one two three four five six seven eight",
        "        nine ten",
        "  long  x",
    ]


def test_a_cell_that_is_too_long_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "n" * 50
    assert table([(name, "text"), ("b", "")]) == [f"  {name}", " " * 40 + "text", "  b"]


def test_nothing_is_no_line() -> None:
    assert table([]) == [] and paragraph("") == []


def test_words_are_never_cut_at_hyphens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert paragraph("a" * 30 + " cross-validated-and-more") == ["a" * 30, "cross-validated-and-more"]
