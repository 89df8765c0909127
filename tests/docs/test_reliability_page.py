"""The page on what goes wrong: its commands run one after the other, and its numbers are those of the program."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mlpipe import errors
from mlpipe.cli import main
from mlpipe.config.schema import Healing

PAGE = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
QUICK = [
    "arch=test_resnet", "arch.pretrained=false", "trainer.max_epochs=1", "sys.threads=1", "mode.nested=false",
    "preprocessing.size=16", "split.folds=2", "mode.folds=[0]", "split.test_fraction=0.8",
]  # fmt: skip


def test_the_numbers_are_those_of_the_program() -> None:
    codes = {int(code) for code in re.findall(r"\| (\d+) (?=\|)", PAGE.partition("\n## ")[0])}
    assert codes == {0, errors.STEP_FAILED, errors.INPUT_IS_WRONG, errors.STOPPED_RESUMABLE, errors.INTERRUPTED_TWICE}
    assert f"`healing.lr_factor` of the schedule's ({Healing().lr_factor})" in PAGE
    assert f"`healing.rollbacks` times ({Healing().rollbacks})" in PAGE and len(COMMANDS) >= 6


@pytest.mark.program
def test_the_commands_of_the_page(tmp_path: Path) -> None:
    for command in COMMANDS:
        _, mode, *arguments = shlex.split(command)
        extra = QUICK if mode == "train" and "continue=latest" not in arguments else []
        assert main([mode, *arguments, *extra]) == 0, command
