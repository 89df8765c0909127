"""What lies beside an exported file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlpipe.modes.export import _CARD_MARK, ExportScheduler, _write_beside, place_fault
from mlpipe.predicting import kind
from mlpipe.running import exported_facts


def test_a_program_that_would_not_fit_goes_and_a_file_of_the_user_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = iter(["", "it reads images", "it reads images", ""])
    monkeypatch.setattr(exported_facts, "without_program", lambda predictor, any_size: next(reasons))
    export: Any = SimpleNamespace(
        _path=tmp_path / "model.onnx", _predictor=None, context=SimpleNamespace(facts=dict[str, Any]())
    )
    runner = tmp_path / "model_run.py"
    ExportScheduler._write_runner(export, True)
    assert "onnxruntime" in runner.read_text()
    ExportScheduler._write_runner(export, True)
    assert not runner.exists()
    runner.write_text("print('my own')\n")
    export.context.facts.clear()
    for _ in range(2):
        ExportScheduler._write_runner(export, True)
        assert runner.read_text() == "print('my own')\n"
    assert not export.context.facts


def test_a_card_replaces_a_card_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "# lamps: classification\n\nPredicts 2 outputs: dark, light.\n"
    card, own = tmp_path / "model.md", tmp_path / "README.md"
    assert _write_beside(card, text, _CARD_MARK) and card.read_text() == text
    own.write_text("# My own\n")
    assert not _write_beside(own, text, _CARD_MARK) and own.read_text() == "# My own\n"
    assert "README.md was not written by an export, and stays as it is" in caplog.text
    assert _write_beside(card, "newer", _CARD_MARK) and card.read_text() == "newer"


def test_a_file_that_cannot_be_written_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "b.onnx").mkdir()
    assert place_fault(tmp_path / "a.txt" / "more" / "x.onnx") == "lies below a.txt, which is a file"
    assert place_fault(tmp_path / "b.onnx") == "is a folder"
    assert place_fault(tmp_path / "new" / "folder" / "x.onnx") == ""
    # The unfinished file beside it has a longer name.
    for long in (tmp_path / f"{'x' * 300}.onnx", tmp_path / ("x" * 300) / "x.onnx", tmp_path / f"{'x' * 240}.onnx"):
        assert place_fault(long) == "cannot be written (File name too long)"
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "b.onnx"}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that holds no files, whoever asks")
def test_a_folder_in_which_nothing_can_be_written_is_told() -> None:
    assert place_fault(Path("/proc/x.onnx")) == "cannot be written (No such file or directory)"


def test_a_number_of_a_small_unit_is_compared_in_its_own_unit() -> None:
    targets = np.array([[1e-6, 1e6], [3e-6, 3e6]])
    pivot = SimpleNamespace(samples=SimpleNamespace(targets=targets), classes=("metres", "joules"))
    scheduler: Any = ExportScheduler.__new__(ExportScheduler)
    scheduler._predictor = SimpleNamespace(
        kind="regression", part=kind.of("regression"), pivot=pivot, stored=SimpleNamespace(ensemble=None)
    )
    pixels = [np.zeros((4, 4, 1), np.uint8)]
    # The deviations are 1e-6 and 1e6, so that the first number is off by one deviation, in values that reach 2.
    found = scheduler._difference([np.array([1e-6, 2e6])], [np.array([2e-6, 2e6])], pixels, 1e-5)
    assert found.largest == pytest.approx(0.5)
