"""The page on post-processing: every command on it runs, in its order, in one project."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from mlpipe.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "post.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
QUICK = ["arch=test_resnet", "arch.pretrained=false", "trainer.max_epochs=2", "sys.threads=1", "preprocessing.size=16"]
SMALL = ["split.folds=2", "split.test_fraction=0.2", "mode.nested=false"]


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 12 and {shlex.split(command)[1] for command in COMMANDS} == {
        "train",
        "post",
        "predict",
        "info",
    }


@pytest.mark.program
def test_the_commands_of_the_page(tmp_path: Path) -> None:
    posts = sum(command.startswith("mml post") for command in COMMANDS)
    (tmp_path / "scans").mkdir()
    for number in range(5):
        Image.new("L", (8, 8), 40 * number).save(tmp_path / "scans" / f"{number}.png")
    for command in COMMANDS:
        _, mode, *arguments = shlex.split(command)
        assert main([mode, *arguments, *([*QUICK, *SMALL] if mode == "train" else [])]) == 0, command
    assert len(list((tmp_path / "results/default/tasks/digits/ensembles").glob("*.json"))) == posts
    assert len(list((tmp_path / "results/default/reports/predictions").glob("new-scans-*.csv"))) == 1
