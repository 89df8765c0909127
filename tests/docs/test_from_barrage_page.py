"""The page for people who come from Barrage: its configuration, its code and its commands run as they stand there."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

from mlpipe.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "from_barrage.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml (?!post).*$", PAGE, re.MULTILINE)


@pytest.mark.program
def test_the_page_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "iris_code", raising=False)
    (tmp_path / "config.json").write_text(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0])
    (tmp_path / "iris_code.py").write_text(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0])
    data = load_iris(as_frame=True)
    frame = data.data.set_axis(list("abcd"), axis=1)
    for number in range(3):
        frame[f"y{number}"] = (data.target == number).astype(int)
    frame = frame.assign(count=1 + frame.index % 3).sample(frac=1, random_state=0)
    frame[:110].to_csv("train.csv", index=False)
    frame[110:].to_csv("val.csv", index=False)
    frame[110:].to_csv("score.csv", index=False)
    assert len(COMMANDS) == 3
    for command in COMMANDS:
        _, mode, *arguments = shlex.split(command)
        assert main([mode, *arguments, "sys.threads=1"]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    truth = frame[110:][["y0", "y1", "y2"]].to_numpy().argmax(1)
    assert np.mean([score["best"] for score in scores] == truth) >= 0.9
    for path in re.findall(r"^\| `([\w./]+)`", PAGE, re.MULTILINE):
        assert (tmp_path / "artifacts" / path).exists() or path.startswith("sys")
