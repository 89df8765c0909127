"""The page on presets: every command on it runs, in its order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mlpipe.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "presets.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
QUICK = [
    "arch=test_resnet",
    "arch.pretrained=false",
    "trainer.max_epochs=2",
    "sys.threads=1",
    "preprocessing.size=16",
    "split.folds=2",
]


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 3


@pytest.mark.program
def test_the_commands_of_the_page(tmp_path: Path) -> None:
    for command in COMMANDS:
        _, mode, *arguments = shlex.split(command)
        assert main([mode, *arguments, *QUICK]) == 0, command
    for project in ("default", "better"):
        assert (tmp_path / "results" / project / "reports" / "report.html").is_file()
