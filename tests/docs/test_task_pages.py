"""The pages on tags and on several tasks: every command on them runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mlpipe.cli import main
from tests.conftest import make_pictures

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = [
    command
    for page in ("tags.md", "multitask.md")
    for command in re.findall(r"^mml .*$", (DOCS / page).read_text("utf-8"), re.M)
]
QUICK = ["arch=test_resnet", "arch.pretrained=false", "trainer.max_epochs=1", "sys.threads=1", "preprocessing.size=16"]


def test_the_pages_have_commands() -> None:
    assert len(COMMANDS) >= 13 and all(shlex.split(command)[1] in ("train", "info") for command in COMMANDS)


@pytest.mark.program
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_pages(tmp_path: Path, command: str) -> None:
    make_pictures(tmp_path / "pets", {"cat": 12, "dog": 12})
    _, mode, *arguments = shlex.split(command)
    keys = {text.partition("=")[0] for text in arguments}
    extra = [*QUICK, "mode.folds=[0]", *([] if "split.folds" in keys else ["split.folds=2"])]
    extra = [text for text in extra if text.partition("=")[0] not in keys or text == "trainer.max_epochs=1"]
    assert main([mode, *arguments, *(extra if mode == "train" else [])]) == 0
