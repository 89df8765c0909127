"""The page for those who come from Musket: every command on it runs, one after the other, in one project."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mlpipe.cli import main
from tests import musket_project

PAGE = (Path(__file__).parents[2] / "docs" / "from_musket.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
MORE = {
    "train": ["sys.threads=1", "sys.num_workers=0", "trainer.accelerator=cpu"],
    "fit": ["--num_workers", "0", "--overrides", "sys.threads=1 trainer.accelerator=cpu"],
}


def test_the_page_has_commands() -> None:
    assert {shlex.split(command)[1] for command in COMMANDS} == {"convert", "train", "fit", "analyze", "task"}


@pytest.mark.program
def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    musket_project.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        _, mode, *arguments = shlex.split(command)
        assert main([mode, *arguments, *MORE.get(mode, [])]) == 0, command
    assert (tmp_path / "experiments" / "report.csv").is_file()
    assert len((tmp_path / "experiments/first/predict_holdout/predictions.csv").read_text().splitlines()) == 4
    assert main(["post", "proj=first", "out_dir=results", "data_dir=.cache"]) == 0
