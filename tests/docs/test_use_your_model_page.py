"""The page on models in Python: its commands and its code run as they stand, one after another."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpipe.api import load
from mlpipe.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "use_your_model.md").read_text("utf-8")


@pytest.mark.program
def test_the_commands_and_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MML_RESULTS_PATH")
    monkeypatch.delenv("MML_DATA_PATH")
    monkeypatch.chdir(tmp_path)
    train, export, bundle = (shlex.split(line)[1:] for line in re.findall(r"^mml .*$", PAGE, re.MULTILINE))
    assert main([*train, "sys.threads=1"]) == 0
    capsys.readouterr()
    parts = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(parts) == 4
    known: dict[str, Any] = {}
    has_maps = importlib.util.find_spec("pytorch_grad_cam") is not None
    for part in parts:
        if has_maps or "explain" not in part:
            exec(part, known)
    assert not has_maps or [one.shape for one in known["why"]["heat_map"]] == [(8, 8)] * 2
    shown = capsys.readouterr().out
    if all(importlib.util.find_spec(name) for name in ("onnxscript", "onnxruntime")):
        assert main(export) == 0
        assert {path.name for path in tmp_path.glob("digits*")} == {"digits.onnx", "digits_run.py", "digits.md"}
    assert main(bundle) == 0
    there = load("digits.zip").predict_values(known["images"])
    assert np.array_equal(there, load("default", ensemble="latest").predict_values(known["images"]))
    assert "prediction" in shown and "(2, 10)" in shown and "decision" in shown
