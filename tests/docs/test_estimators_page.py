"""The page on estimators: its Python runs from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

PAGE = (Path(__file__).parents[2] / "docs" / "estimators.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
QUICK = ["arch.pretrained=false", "trainer.max_epochs=1", "sys.threads=1", "preprocessing.size=16", "split.folds=2"]


def test_the_page_has_its_blocks() -> None:
    assert len(BLOCKS) == 3 and all("ImageClassifier(" in block for block in BLOCKS)


@pytest.mark.program
def test_the_code_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draws, rows = np.random.default_rng(0), []
    for label in ("cats", "dogs", ""):
        folder = tmp_path / "photos" / label if label else tmp_path / "new_photos"
        folder.mkdir(parents=True)
        for number in range(10):
            Image.fromarray(draws.integers(0, 256, (16, 16), np.uint8)).save(folder / f"{number}.png")
            rows += [(f"photos/{label}/{number}.png", label)] if label else []
    pd.DataFrame(rows, columns=["path", "label"]).to_csv("photos.csv", index=False)
    space: dict[str, object] = {"QUICK": QUICK}
    for block in BLOCKS:
        text = block.replace(', overrides=["split.folds=2"]', "")
        exec(text.replace('arch="resnet18"', 'arch="test_resnet", overrides=QUICK'), space)
    assert (tmp_path / "model.onnx").is_file()
    assert (tmp_path / "kept" / "results" / "default" / "tasks").is_dir()
    assert not (tmp_path / "results").exists() and not (tmp_path / "mlpipe_data").exists()
