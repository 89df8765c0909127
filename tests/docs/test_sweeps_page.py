"""The page on sweeps: every command on it runs, one after the other, in one project."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mlpipe.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
QUICK = [
    "arch=test_resnet", "arch.pretrained=false", "trainer.max_epochs=1", "sys.threads=1", "mode.nested=false",
    "preprocessing.size=16", "split.folds=2", "mode.folds=[0]",
]  # fmt: skip


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 10 and all(shlex.split(command)[1] in ("train", "info") for command in COMMANDS)


@pytest.mark.program
def test_the_commands_of_the_page(tmp_path: Path) -> None:
    for command in COMMANDS:
        _, mode, *arguments = shlex.split(command)
        extra = QUICK if mode == "train" else ["mode.subroutines=[hpo]"]
        extra = extra[:-1] if "sys.fold_workers=2" in arguments else extra
        assert main([mode, *arguments, *extra]) == 0, command
    assert len(list((tmp_path / "results" / "default" / "reports" / "plots").glob("study_first*"))) == 3
