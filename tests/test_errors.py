"""Sentences for users: numbers with their nouns, and nothing that a terminal obeys."""

from __future__ import annotations

import difflib
import logging
import os
import shlex
from pathlib import Path

import pytest

from mlpipe.errors import (
    ConfigError,
    DataError,
    VisibleLines,
    counted,
    did_you_mean,
    listing,
    no_such_file,
    own_code,
    typed,
    visible,
)


def test_a_number_has_its_noun_in_the_singular_for_one_alone() -> None:
    assert [counted(many, "image") for many in (0, 1, 2, 11)] == ["0 images", "1 image", "2 images", "11 images"]


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("task.root='meine Fotos'", "\"task.root='meine Fotos'\""),
        ("task.root=pets", "task.root=pets"),
        ("a b", "'a b'"),
        ("it's $HOME", "'it'\"'\"'s $HOME'"),
    ],
)
def test_a_line_to_type_is_what_a_person_would_type(word: str, line: str) -> None:
    assert typed([word]) == line and shlex.split(line) == [word]


def test_a_verb_goes_with_its_number() -> None:
    told = [counted(many, "image is", "images are") for many in (1, 2)]
    assert told == ["1 image is", "2 images are"]


def test_a_plural_of_its_own_is_named() -> None:
    assert counted(2, "class", "classes") == "2 classes" and counted(1, "class", "classes") == "1 class"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\x1b]0;title\x07", "a\\x1b]0;title\\x07"),
        ("one\rtwo", "one\\rtwo"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("a\x9b2J", "a\\x9b2J"),
        ("a\ud800", "a\\ud800"),
        ("two\n\tlines, é \u00a0日", "two\n\tlines, é \u00a0日"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_what_is_logged_holds_nothing_that_a_terminal_would_obey() -> None:
    record = logging.LogRecord("mlpipe", logging.INFO, "", 0, "unreadable: %s", ("\x1b[31mred.png",), None)
    assert VisibleLines("%(message)s").format(record) == "unreadable: \\x1b[31mred.png"


def test_what_a_users_code_raises_is_one_sentence() -> None:
    with pytest.raises(DataError) as told, own_code(DataError, "task", "load", got=3):
        raise KeyError("shape\nand more")
    assert str(told.value) == "task: load fails (KeyError: 'shape\\nand more'), got 3; mend it"
    assert isinstance(told.value.__cause__, KeyError)
    with pytest.raises(ConfigError) as told, own_code(ConfigError, "task cut", ""):
        raise ValueError("first\nsecond")
    assert str(told.value) == "task cut: fails (ValueError: first); mend it"


def test_a_sentence_of_the_program_is_not_wrapped_in_another() -> None:
    with pytest.raises(ConfigError, match=r"^loss: is none$"), own_code(DataError, "task", "load"):
        raise ConfigError("loss: is none")


def test_what_lies_in_the_place_of_a_file_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.txt").symlink_to("nowhere")
    for name, wrong in {
        "pipe.csv": "is no ordinary file, got 'pipe.csv'; name a file",
        "folder": "is a folder, no file, got 'folder'; name a file",
        "pip.csv": "there is no such file, got 'pip.csv'; did you mean 'pipe.csv'?",
        "link.txt": "there is no such file, got 'link.txt'; name an existing file",
    }.items():
        assert no_such_file("key", tmp_path / name, got=name) == f"key: {wrong}"


def test_a_long_word_and_very_many_names_are_not_compared_letter_by_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(
        difflib, "get_close_matches", lambda word, names, **_: compared.append((word, list(names))) or []
    )
    assert did_you_mean("wrod", ["word", "w" * 201], otherwise="none") == "none" and compared == [("wrod", ["word"])]
    assert did_you_mean("x" * 300 + "y", ["x" * 300 + "z"], otherwise="none") == "none"
    many = [f"name{number}" for number in range(20_001)]
    assert did_you_mean("naem7", many, otherwise="none") == "none" and len(compared) == 1
    # What begins as one name alone does is found all the same.
    assert did_you_mean("name2000", [*many[:20_000], "other"], otherwise="none") == "did you mean 'name2000'?"


def test_only_the_names_that_are_listed_are_looked_at() -> None:
    class Name:
        def __init__(self, number: int) -> None:
            self.number = number

        def __str__(self) -> str:
            assert self.number < 10
            return str(self.number)

    assert listing(map(Name, range(1000)), most=3) == "0, 1, 2 and 997 more"
