"""`mml explain`: mistakes, named and new images, each by the models that did not learn from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.cli import main
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project
from tests.build import as_json

pytest.importorskip("pytorch_grad_cam", reason="the extra explain is not installed")


def test_mistakes_named_and_new_images(trained_digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(trained_digits / "results" / "default")
    (record,) = records.load_all(project, "digits")
    path = project.predictions_file("digits", record.id)
    folder = project.reports_dir() / "explain" / "digits"
    test = predictions.load(path, "digits", "test")
    chances = np.exp(test.logits - np.logaddexp.reduce(test.logits, axis=1, keepdims=True))
    wrong = chances.argmax(1) != test.targets
    surest = sorted(zip(-chances.max(1)[wrong], np.array(test.sample_ids)[wrong], strict=True))[:2]

    assert main(["explain", "mode.count=2", "mode.neighbours=3"]) == 0
    images = as_json(folder / "index.json")["images"]
    assert [one["image"] for one in images] == [name for _, name in surest]
    assert [one["value"] for one in images] == pytest.approx([-value for value, _ in surest], abs=1e-5)
    apart = predictions.sample_ids(path, {"digits"})
    for one in images:
        assert Image.open(folder / one["file"]).size[0] > 500
        assert str(one["output"]) != one["true"] and len(one["neighbours"]) == 3
        assert not {near["image"] for near in one["neighbours"]} & apart
        assert one["neighbours"] == sorted(one["neighbours"], key=lambda near: near["distance"])

    held_out = predictions.load(path, "digits", "val").sample_ids[0]
    learned = next(name for name in (f"{number:05d}" for number in range(1797)) if name not in apart)
    capsys.readouterr()
    words = [f"mode.samples=[{held_out},{learned}]", "mode.output=3", "mode.neighbours=0", "mode.method=grad_cam"]
    assert main(["explain", *words]) == 0
    told = capsys.readouterr().out
    assert f"have learned from {learned}" in told
    images = as_json(folder / "index.json")["images"]
    assert [(one["image"], one["output"], one["neighbours"]) for one in images] == [
        (held_out, "3", []),
        (learned, "3", []),
    ]
    assert len(list(folder.glob("*.png"))) == 2

    new = trained_digits / "new"
    new.mkdir()
    Image.fromarray(np.tile(np.uint8([0, 200]), (30, 20))).save(new / "a.png")
    (new / "b.png").write_bytes(b"no image")
    assert main(["explain", f"mode.source={new}", "mode.neighbours=1"]) == 0
    first, second = as_json(folder / "index.json")["images"]
    assert first["image"] == "a.png" and first["true"] is None and len(first["neighbours"]) == 1
    assert second == {"image": "b.png", "problem": "not an image in a known format"}

    assert main(["info", "mode.subroutines=[report]"]) == 0
    page = (project.reports_dir() / "report.html").read_text("utf-8")
    assert "Why: heat maps" in page and "Image a.png and its heat map" in page


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["mode.samples=[nothing]"], "mode.samples: the task has no such image, got 'nothing'"),
        (["mode.output=11"], "mode.output: is no class of the task, got '11'"),
        (["mode.samples=[]"], "mode.samples: names no image"),
        (["mode.source=.", "mode.samples=[00001]"], "mode.samples: mode.source says what to explain already"),
        (["mode.ensemble=latest"], "mode.ensemble: project default has no ensemble of digits"),
    ],
)
def test_what_is_not_there_is_said(
    trained_digits: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["explain", *words]) == 2
    assert sentence in capsys.readouterr().err
