"""Masks that a user's own data set gives, through the whole program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.cli import main
from mlpipe.runs import ensembles, records
from mlpipe.runs.project import Project

MODULE = """
import numpy as np

from mlpipe.data.items import PredictionItem


class Discs:
    classes = ["disc"]

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, item):
        rng = np.random.default_rng(item)
        y, x = np.mgrid[:40, :40]
        inside = (y - rng.integers(12, 28)) ** 2 + (x - rng.integers(12, 28)) ** 2 < rng.integers(30, 110)
        if item % 5 == 4:
            inside[:] = False
        pixels = rng.integers(0, 90, (40, 40, 3)) + 110 * inside[:, :, None]
        return PredictionItem(f"p{item // 2}_{item}", pixels.astype(np.uint8), inside * np.uint8(255))


def discs(count):
    return Discs(count)


def broken():
    class Broken(Discs):
        def __getitem__(self, item):
            found = super().__getitem__(item)
            return PredictionItem(found.id, found.x, found.y[:20])

    return Broken(4)
"""
FAST = ["arch=unet", "arch.encoder=resnet10t", "arch.pretrained=false", "sys.threads=1", "preprocessing.size=32"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "discs_of_a_test.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def given(call: str) -> list[str]:
    return ["task=items", "task.kind=segmentation", f"task.train=[{{call:{call}}}]", "task.modules=modules"]


def test_a_data_set_with_masks_from_training_to_new_images(folder: Path) -> None:
    training = [
        *given("discs,arguments:[70]"), *FAST, r"task.group=(p\d+)_", "split.folds=2", "split.test_fraction=0.2",
        "mode.nested=false", "mode.subroutines=[train,predict,test]", "optimizer.lr=3e-3", "tta=flips",
        "loss=composite", "loss.expression=ce+0.5*dice", "sampling.batch_size=8",
        "stages.list=[{epochs:2,negatives:0},{epochs:6}]",
        "augmentations=flips",
    ]  # fmt: skip
    assert main(["train", *training]) == 0
    project = Project(folder / "results/default")
    found = records.load_all(project)
    assert len(found) == 2 and all(list(one.classes) == ["background", "disc"] for one in found)
    assert all(one.scores["test"]["foreground_dice"] > 0.8 for one in found)  # type: ignore[operator]
    assert main(["post"]) == 0 and main(["verify", "mode.replay=false"]) == 0
    assert ensembles.load_all(project, found[0].pivot)
    new = folder / "new"
    new.mkdir()
    y, x = np.mgrid[:40, :40]
    inside = (y - 20) ** 2 + (x - 15) ** 2 < 80
    Image.fromarray((40 + 110 * np.repeat(inside[:, :, None], 3, 2)).astype(np.uint8)).save(new / "a.png")
    assert main(["predict", f"mode.source={new}"]) == 0
    (mask,) = (folder / "results/default/reports/predictions").rglob("*.png")
    predicted = np.asarray(Image.open(mask))
    assert predicted.shape == (40, 40) and set(np.unique(predicted).tolist()) == {0, 255}
    assert 2 * (inside & (predicted > 0)).sum() / (inside.sum() + (predicted > 0).sum()) > 0.8


def test_a_mask_of_another_size_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *given("broken"), *FAST]) == 2
    said = capsys.readouterr().err
    assert "item 0 of Broken: its mask is 20 x 40, its image 40 x 40; let both have one size" in said
    assert not (folder / "results").exists()
