"""The first page: its commands compose, its modes and figures are those of the program and its pages, its output is real."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mlpipe.arch import names
from mlpipe.cli import main
from mlpipe.config import catalog, compose

TOP = Path(__file__).parents[2]
PAGE = (TOP / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines() if line.startswith("mml ")
]
(OUTPUT,) = [block for block in BLOCKS if block.startswith("created task")]
# Modes for other programs' files, which their own pages tell of.
OF_OTHERS = {"convert", "fit", "task", "analyze", "score"}
# A figure of the first page, and how the page that it is from writes it.
FIGURES = {
    "post.md": {"1.289": "1.2885", "1.305": "1.3051", "1.380": "1.3803"},
    "presets.md": {".245": ".245", ".322": ".322"},
    "reliability.md": {"210": "210 kill points"},
    "performance.md": {"1.02": "1.02", "1.10": "1.10"},
    "installing.md": {"3.5 GB": "3.3 GB"},
}


def test_it_is_short_and_begins_with_what_people_came_for() -> None:
    assert len(PAGE.splitlines()) <= 120
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE)[:2] == ["In a hurry", "Your own images"]
    assert "source .venv/bin/activate" in BLOCKS[0]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_composes(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("path/to/images", "path/to/new/images"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    _, mode, *rest = words
    overrides = [word for word in rest if word not in ("-m", "--json") and word != "continue=latest"]
    if "-m" in rest:
        overrides = [word.partition(",")[0] for word in overrides]
    facts = compose.Facts(names.timm_names, tasks=["pets-3fa9c1d2"], network_tags=names.timm_tags)
    compose.compose(mode, overrides, facts)


def test_the_modes_are_modes() -> None:
    table = PAGE[PAGE.index("| mode |") : PAGE.index("## What people change first")]
    named = re.findall(r"`(?:mml )?(\w+)`", " ".join(re.findall(r"^\| (`[^|]*)\|", table, re.MULTILINE)))
    assert set(named) == set(catalog.options("mode")) - OF_OTHERS


@pytest.mark.parametrize("page", FIGURES)
def test_a_figure_is_the_one_of_its_page(page: str) -> None:
    text = (TOP / "docs" / page).read_text("utf-8")
    for here, there in FIGURES[page].items():
        assert here in PAGE and there in text


def test_coverage_of_intervals_is_the_least_of_its_table() -> None:
    text = (TOP / "docs" / "post.md").read_text("utf-8")
    table = text[text.index("How often 95 % intervals hold") :].partition("\n\n|")[2].partition("\n\n")[0]
    shares = [float(one) for one in re.findall(r"(?<!\d)(1\.000|\.\d{3})", table)]
    (said,) = re.findall(r"true value in at\n?\s*least (\d+) %", PAGE)
    assert len(shares) > 300 and int(min(shares) * 100) == int(said)


def shape(line: str) -> str:
    """A line without its numbers, hashes and widths."""
    line = re.sub(r"-{5,}", "-", re.sub(r" {2,}", "  ", line))
    return re.sub(r"\b[0-9a-f]{8}\b|[0-9][0-9,.]*", "N", line)


@pytest.mark.program
def test_the_output_has_the_lines_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "task=fashion_mini", "mode.nested=false", "trainer.max_epochs=1", "sys.threads=1"]) == 0
    printed = "".join(capsys.readouterr())
    shapes = {shape(line.strip()) for line in printed.splitlines()}
    lines = [line.strip() for line in OUTPUT.splitlines() if line != "..."]
    # One epoch decides otherwise about calibration than forty.
    kept = [line for line in lines if not line.startswith(("The ", "report: "))]
    assert len(kept) >= 5 and [line for line in kept if shape(line) not in shapes] == []
