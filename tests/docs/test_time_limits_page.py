"""The page on time limits: every command on it runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mlpipe.cli import main
from mlpipe.runs import records
from mlpipe.runs.project import Project

PAGE = (Path(__file__).parents[2] / "docs" / "time_limits.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
QUICK = ["arch=test_resnet", "arch.pretrained=false", "trainer.max_epochs=2", "sys.threads=1", "mode.nested=false"]


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) == 2


@pytest.mark.program
def test_the_commands_of_the_page(tmp_path: Path) -> None:
    for command in COMMANDS:
        assert main([*shlex.split(command)[1:], *QUICK, "preprocessing.size=16"]) == 0, command
    last = records.load_all(Project(tmp_path / "results" / "default"), "digits")[-1]
    # 30 steps are less than two epochs of the digits.
    assert last.epochs <= 2
