"""The page on masks: every command on it runs, on images with masks made of their pixels."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.cli import main
from tests.data.samples import make_masks

PAGE = (Path(__file__).parents[2] / "docs" / "segmentation.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
QUICK = [
    "arch.encoder=resnet10t", "arch.pretrained=false", "trainer.max_epochs=1", "sys.threads=1", "preprocessing.size=32",
]  # fmt: skip


@pytest.mark.program
def test_the_commands_of_the_page_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(COMMANDS) == 8
    make_masks(tmp_path / "scans", 30)
    lines = ["image,mask", *(f"images/{file.name},masks/{file.name}" for file in (tmp_path / "scans/images").iterdir())]
    (tmp_path / "scans/pairs.csv").write_text("\n".join(lines))
    make_masks(tmp_path / "new", 3)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "scans.py").write_text(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0])
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        _, mode, *arguments = shlex.split(command)
        folds = [] if "split=holdout" in arguments else ["split.folds=2"]
        given = [one for one in arguments if not one.startswith("arch.encoder")]
        assert main([mode, *given, *([*QUICK, *folds] if mode == "train" else [])]) == 0, command
    masks = sorted((tmp_path / "results/default/reports/predictions").rglob("images/*.png"))
    assert [Image.open(file).size for file in masks] == [(28, 28)] * 3
    assert set(np.unique(np.asarray(Image.open(masks[0]))).tolist()) <= {0, 255}
