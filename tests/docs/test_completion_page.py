"""The page on completion: what it says becomes of a line is what becomes of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlpipe.cli import main
from mlpipe.modes.completion import candidates, line

PAGE = (Path(__file__).parents[2] / "docs" / "completion.md").read_text("utf-8")
TABLE = re.findall(r"^\| (`mml .*?) \| (.*) \|$", PAGE, re.MULTILINE)
LINES = [(typed, said) for cell, said in TABLE for typed in re.findall(r"`(mml [^`]*)`", cell)]
BECOMES = [(typed, found[-1]) for typed, said in LINES if (found := re.findall(r"`(mml [^`]*)`", said))]


def words(typed: str) -> list[str]:
    read = line.read(typed)
    return [one.text for one in candidates.of(read.words, read.word, {})]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the lines speak of is there."""
    for name in ("results/demo/runs/2026-01-02/10-00-00-aaaa", "results/demo/tasks", "images"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


def test_the_page_has_lines() -> None:
    assert len(LINES) >= 14 and len(BECOMES) >= 5


@pytest.mark.parametrize(("typed", "becomes"), BECOMES)
def test_what_becomes_of_a_line(typed: str, becomes: str) -> None:
    assert [line.read(becomes).word] == words(typed)


@pytest.mark.parametrize("typed", [typed for typed, _ in LINES])
def test_every_line_has_candidates(typed: str) -> None:
    assert words(typed)


def test_names_that_the_page_lists() -> None:
    said = dict(LINES)
    for typed, names in ((one, said[one]) for one in ("mml train arch=resnet3", "mml train metrics.direction=")):
        listed = {f"{line.read(typed).word.partition('=')[0]}={name}" for name in names.split(": ")[-1].split(", ")}
        assert listed == {*words(typed)}


@pytest.mark.parametrize(("shell", "of_page"), re.findall(r"^\| (bash|zsh|fish) \|.*\| `(.*)` \|$", PAGE, re.MULTILINE))
def test_the_program_prints_the_same_lines(shell: str, of_page: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion"]) == 0
    assert of_page.replace("\\|", "|") in capsys.readouterr().out
