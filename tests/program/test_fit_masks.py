"""`mml fit` and `classification.parse` on a Musket project of masks: a Dice that is worth something, and every file of it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mlpipe import cli
from mlpipe.api import classification
from mlpipe.data.items import PredictionItem
from mlpipe.errors import Interrupted
from mlpipe.running import scheduler
from mlpipe.runs import records
from mlpipe.runs.project import Project
from tests import musket_masks_project
from tests.build import ON_CPU


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose experiment is trained."""
    root = tmp_path_factory.mktemp("discs")
    musket_masks_project.make(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert cli.main(["fit", *ON_CPU]) == 0
    return root


def test_the_experiments_folder(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fitted)
    folder = fitted / "experiments" / "discs"
    summary = yaml.safe_load((folder / "summary.yaml").read_text())
    assert summary["completed"] is True and summary["folds"] == [0, 1] and len(summary["stages"]) == 2
    assert summary["stages"][1]["dice"]["min"] > 0.8 and summary["stages"][1]["dice_holdout"] > 0.8
    for part in (*summary["stages"], summary["allStages"]):
        assert set(part) == {f"{name}{end}" for name in ("dice", "iou", "binary_accuracy") for end in ("", "_holdout")}
        spread = part["dice"]
        assert spread["min"] <= spread["mean"] <= spread["max"] and spread["std"] >= 0
        assert part["iou_holdout"] == pytest.approx(part["dice_holdout"] / (2 - part["dice_holdout"]))
    for fold in (0, 1):
        for stage, epochs in ((0, 2), (1, 6)):
            with (folder / "metrics" / f"metrics-{fold}.{stage}.csv").open() as file:
                rows = list(csv.DictReader(file))
            assert len(rows) == epochs and {"val_dice", "val_iou", "val_binary_accuracy", "val_loss"} <= set(rows[0])
            assert (folder / "weights" / f"best-{fold}.{stage}.weights").is_file()
            for epoch in range(epochs):
                with Image.open(folder / "examples" / str(stage) / str(fold) / f"epoch_{epoch}.jpg") as grid:
                    # Six cells in a row: two images, each with both of its masks.
                    assert grid.width == 6 * 102 + 6
    stay, held = yaml.safe_load((folder / "config.yaml.holdout_split").read_text())
    assert sorted([*stay, *held]) == list(range(50)) and len(held) == 10

    assert cli.main(["fit", "--name", "discs", "--only_report", "True", *ON_CPU]) == 0
    assert yaml.safe_load((folder / "summary.yaml").read_text()) == summary
    assert cli.main(["analyze", "--inputFolder=experiments", "--sortBy", "val_dice"]) == 0
    with (fitted / "experiments" / "report.csv").open() as file:
        assert float(next(csv.DictReader(file))["val_dice"]) > 0.8
    assert cli.main(["post", "proj=discs", "out_dir=results", "data_dir=.cache"]) == 0


def test_in_python(fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fitted)
    experiment = classification.parse("experiments/discs/config.yaml")
    experiment.overrides = ["trainer.accelerator=cpu", "sys.threads=1"]

    def dice(true: np.ndarray, said: np.ndarray) -> float:
        return float(2 * (true * said).sum() / (true.sum() + said.sum()))

    summary = yaml.safe_load(Path("experiments/discs/summary.yaml").read_text())
    predicted, truth = experiment.evaluate_all_to_arrays("dataset", 0)
    assert predicted.shape == truth.shape == (20, 32, 32, 1) and set(np.unique(truth)) == {0, 1}
    hard = [
        dice(true, said > 0.5) for said, true in (experiment.evaluate_all_to_arrays("dataset", fold) for fold in (0, 1))
    ]
    assert np.mean(hard) == pytest.approx(summary["stages"][1]["dice"]["mean"], abs=1e-6)
    batch = next(iter(experiment.evaluateAll("dataset", 0, batchSize=3)))
    assert len(batch.data) == 3 and batch.predicted_maps_aug[2].arr.shape == (32, 32, 1)
    assert 0 <= experiment.find_treshold("dataset", 0, dice) < 1
    of_all, first, last = (
        experiment.predict_all_to_array("holdout", [0, 1], stage, ttflips=True) for stage in (None, 0, 1)
    )
    assert of_all.shape == (10, 32, 32, 1) and np.allclose(of_all, (first + last) / 2, atol=1e-6)
    assert 0 <= last.min() < 0.2 and 0.8 < last.max() <= 1
    new = fitted / "new"
    new.mkdir()
    for number in range(2):
        pixels = experiment.get_dataset("dataset")[number].x
        Image.fromarray(pixels).resize((60, 44)).save(new / f"{number}.png")
    (batch,) = experiment.predict_on_directory(new, [0, 1])
    assert batch.data == ["0.png", "1.png"] and batch.images[0].shape == (44, 60, 3)
    assert batch.results.shape == (2, 32, 32, 1) and batch.ground_truth.shape == (2, 0)


def test_maps_of_several_classes_in_python_and_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = musket_masks_project.CONFIG.replace("classes: 1\nactivation: sigmoid", "classes: 2\nactivation: softmax")
    text = text.replace("binary_crossentropy+0.5*dice_loss", "categorical_crossentropy").replace("Unet", "FPN")
    text = text.replace("epochs: 6", "epochs: 1").replace("    negatives: none\n", "").replace("iou, ", "")
    text = text.replace("dataset:\n  getTrain: [50]\n", "")
    drawn, items = np.random.default_rng(0), []
    for row in range(24):
        mask = np.zeros((40, 40), int)
        mask[row % 8 : row % 8 + 20, 10:30] = 1
        pixels = (drawn.integers(0, 90, (40, 40, 3)) + 110 * mask[:, :, None]).astype(np.uint8)
        items.append(PredictionItem(f"item{row}", pixels, np.eye(2)[mask]))
    asked = 0

    class Soon(scheduler.Stop):
        def __call__(self) -> bool:
            nonlocal asked
            asked += 1
            self.asked = self.asked or asked > 6
            return self.asked

    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    experiment = classification.parse("config.yaml")
    experiment.overrides = ["sys.threads=1", "sys.num_workers=0", "trainer.accelerator=cpu"]
    with monkeypatch.context() as patched:
        patched.setattr(scheduler, "Stop", Soon)
        with pytest.raises(Interrupted):
            experiment.fit(items)
    assert not (tmp_path / "summary.yaml").exists()
    experiment.setAllowResume(True)
    assert experiment.fit(items)["folds"] == [0, 1]
    assert len(list((tmp_path / "examples").glob("*/*/epoch_*.jpg"))) == 6
    found = records.load_all(Project(tmp_path / "results" / tmp_path.name))
    assert len(found) == 2 and {one.arch for one in found} == {"fpn-resnet18"}
    batch = next(iter(experiment.evaluateAll(items, 1)))
    assert batch.predicted_maps_aug[0].arr.shape == (32, 32, 2) and batch.ground_truth.shape[1:] == (32, 32, 2)
    assert np.allclose(batch.results.sum(axis=3), 1, atol=1e-5) and (batch.ground_truth.sum(axis=3) == 1).all()


def test_class_targets_are_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = musket_masks_project.CONFIG.replace("getTrain: [50]", "getClasses: [20]")
    musket_masks_project.make(tmp_path, config=text)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", *ON_CPU]) == 2
    said = capsys.readouterr().err
    assert "item 0 of Classes: its y is a target of the whole image, no mask" in said and said.count("no mask") == 1
