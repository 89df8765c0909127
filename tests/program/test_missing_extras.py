"""What lacks its extra says so in one sentence, with the command that installs it, before anything is read or made."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import pytest

from mlpipe.cli import main
from mlpipe.errors import install_command

# Modules that ask for packages, which are all found in the tests' own environment.
ASKING = ("mlpipe.modes.serve", "mlpipe.modes.export", "mlpipe.modes.explain", "mlpipe.running.onnx_predictor")


@pytest.mark.parametrize(
    ("words", "package", "key", "extra"),
    [
        (["serve"], "fastapi", "mml serve", "serve"),
        (["serve"], "uvicorn", "mml serve", "serve"),
        (["serve"], "python_multipart", "mml serve", "serve"),
        (["export"], "onnx", "mml export", "export"),
        (["export"], "onnxruntime", "mml export", "export"),
        (["export"], "onnxscript", "mml export", "export"),
        (["explain"], "pytorch_grad_cam", "mml explain", "explain"),
        (["serve", "mode.file=model.onnx", "mode.port=0"], "onnxruntime", "mode.file", "export"),
    ],
)
def test_one_sentence_before_any_work(
    words: list[str],
    package: str,
    key: str,
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "mode.file=model.onnx" in words:
        pytest.importorskip("fastapi", reason="needs the extra serve")
    there = importlib.util.find_spec
    for name in ASKING:
        module = importlib.import_module(name)
        monkeypatch.setattr(module, "find_spec", lambda name, *rest: None if name == package else there(name, *rest))
    (tmp_path / "model.onnx").write_bytes(b"no model")
    assert main(words) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"{key}: the package ") and install_command(extra) in sentence
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx"}
