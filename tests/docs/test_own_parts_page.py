"""The page on your own parts: its file and its commands work as they stand."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from mlpipe.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "own_parts.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml train .*$", PAGE, re.MULTILINE)
(FILE,) = re.findall(r"```python\n(import pytorch_lightning.*?)```", PAGE, re.DOTALL)
QUICK = [
    "task=digits",
    "trainer.max_epochs=1",
    "split.folds=2",
    "mode.folds=[0]",
    "mode.nested=false",
    "preprocessing.size=16",
]


def test_the_page_has_a_command_for_each_part() -> None:
    assert len(COMMANDS) == 5


@pytest.mark.program
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page(command: str, tmp_path: Path, few_digits: None) -> None:
    # A process has one module of a name, and each test its own folder.
    sys.modules.pop("my_parts", None)
    (tmp_path / "my_parts.py").write_text(FILE, "utf-8")
    _, _, *words = shlex.split(command)
    assert main(["train", *words, *QUICK, "mode.subroutines=[train]"]) == 0
    if "Mine" in command:
        assert (tmp_path / "notes.txt").read_text("utf-8").splitlines()[0] == "epoch 0 of val/loss"
