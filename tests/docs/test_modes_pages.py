"""The pages on modes: their commands run, one after another, in one folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mlpipe.cli import main
from tests import mml_core_project

FOLDER = Path(__file__).parents[2] / "docs" / "modes"
NAMES = ("train", "create", "info", "lr_find", "tl", "reuse", "clean", "upgrade")
PAGES = {name: (FOLDER / f"{name}.md").read_text("utf-8") for name in NAMES}
QUICK = ["trainer.max_epochs=1", "sys.threads=1", "mode.nested=false", "split.folds=2", "preprocessing.size=16"]


def commands(page: str) -> list[list[str]]:
    return [shlex.split(line) for line in re.findall(r"^mml .*$", PAGES[page], re.MULTILINE)]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_commands(page: str) -> None:
    assert len(commands(page)) >= 4


@pytest.mark.program
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page(page: str, request: pytest.FixtureRequest) -> None:
    # Folds side by side are processes of their own, which have all images.
    if not any("fold_workers" in word for words in commands(page) for word in words):
        request.getfixturevalue("few_digits")
    if page == "upgrade":
        mml_core_project.written(Path("mml_results"), Path("mml_data"))
    for _, mode, *arguments in commands(page):
        given = [text.partition("=")[0] for text in arguments]
        quick = (
            [text for text in QUICK if text.partition("=")[0] not in given]
            if mode in ("train", "tl", "lr_find")
            else []
        )
        network = ["arch=test_resnet", "arch.pretrained=false"] if mode in ("train", "lr_find") else []
        assert main([mode, *arguments, *quick, *network]) == 0, (mode, arguments)
