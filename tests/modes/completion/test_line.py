"""A line that is still being typed, as words."""

from __future__ import annotations

import shlex

import pytest

from mlpipe.modes.completion import line


@pytest.mark.parametrize(
    ("text", "words", "word", "quote"),
    [
        ("mml", [], "", ""),
        ("mml ", [], "", ""),
        ("mml tr", [], "tr", ""),
        ("mml train ", ["train"], "", ""),
        ("mml train arch=res", ["train"], "arch=res", ""),
        ("A=1 B='x y' /opt/bin/mml  train arch=", ["train"], "arch=", ""),
        ("mml train 'optimizer.l", ["train"], "optimizer.l", "'"),
        ('mml train proj="a b" "trainer.', ["train", "proj=a b"], "trainer.", '"'),
        (r"mml train task.root=a\ b/c", ["train"], "task.root=a b/c", ""),
        ("mml train cbs=[early,s", ["train"], "cbs=[early,s", ""),
        ("mml train ''", ["train"], "", ""),
        ("", [], "", ""),
    ],
)
def test_words(text: str, words: list[str], word: str, quote: str) -> None:
    assert line.read(text) == line.TypedLine(words, word, quote)


@pytest.mark.parametrize("text", ["mml train a=b 'c d' \"e f\" g\\ h i'j k'l", "mml  a\tb  ''  c"])
def test_whole_lines_are_read_as_a_shell_does(text: str) -> None:
    assert ["mml", *line.read(text + " ").words] == shlex.split(text)


@pytest.mark.parametrize(
    ("text", "piece", "start"),
    [
        ("mml train arch=res", "res", 5),
        ("mml train arch=", "", 5),
        ("mml train arch=", "=", 5),
        ("mml train arch", "arch", 0),
        ("mml train trainer.max_", "trainer.max_", 0),
        ("mml train reuse.models=a:b", "b", 15),
        # Inside of quotes bash replaces all that stands in them.
        ("mml train 'arch=res", "arch=res", 0),
        ("mml train 'arch=res", "'arch=res", 0),
        ("mml train ", "", 0),
        ("mml train cbs=[early,s", "[early,s", 4),
    ],
)
def test_where_the_piece_begins(text: str, piece: str, start: int) -> None:
    assert line.read(text).start_of(piece) == start
