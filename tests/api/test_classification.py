"""Musket's Python interface, as its README uses it, on small generated images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_opening
from torch import nn

from mlpipe.api import classification
from mlpipe.api.classification import Finder, PredictionItem
from mlpipe.arch.classifier import Head, Pixels
from mlpipe.dialects import front
from mlpipe.errors import ConfigError, DataError, Interrupted, ProjectError
from mlpipe.learn.losses.labels import Labels
from mlpipe.running import steps

README = """
architecture: ResNet18 #pre-trained model we are going to use
pooling: avg
augmentation: #define some minimal augmentations on images
 Fliplr: 0.5
 Flipud: 0.5
classes: 3 #define the number of classes
activation: sigmoid #as we have multilabel classification, the activation for last layer is sigmoid
weights: null
shape: [32, 32, 3] #our desired input image size, everything will be resized to fit
optimizer: Adam #Adam optimizer is a good default choice
batch: 16 #our batch size will be 16
lr: 0.005
copyWeights: true
folds_count: 2
metrics: #we would like to track some metrics
  - binary_accuracy
  - macro_f1
primary_metric: val_binary_accuracy #the most interesting metric is val_binary_accuracy
primary_metric_mode: max
callbacks: #configure some minimal callbacks
  EarlyStopping:
    patience: 3
    monitor: val_macro_f1
    mode: max
    verbose: 1
  ReduceLROnPlateau:
    patience: 2
    factor: 0.3
    monitor: val_binary_accuracy
    mode: max
    cooldown: 1
    verbose: 1
loss: binary_crossentropy #we use binary_crossentropy loss
stages:
  - epochs: 2
"""


class ProteinDataGenerator:
    """The README's data set: three grey pictures make one of three channels."""

    def __init__(self, paths: list[str], labels: Any) -> None:
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, idx: int) -> PredictionItem:
        X, y = self.__load_image(self.paths[idx]), self.labels[idx]  # noqa: N806
        return PredictionItem(self.paths[idx], X, y)

    def __load_image(self, path: str) -> Any:
        R = Image.open(path + "_red.png")  # noqa: N806
        G = Image.open(path + "_green.png")  # noqa: N806
        B = Image.open(path + "_blue.png")  # noqa: N806

        im = np.stack((np.array(R), np.array(G), np.array(B)), -1)
        return im


def proteins(folder: Path, count: int = 24) -> ProteinDataGenerator:
    rng = np.random.default_rng(0)
    labels = (rng.random((count, 3)) < 0.5).astype(float)
    labels[:6] = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]]
    for number, row in enumerate(labels):
        for colour, value in zip(("red", "green", "blue"), row, strict=True):
            pixels = rng.integers(0, 60, (24, 24)) + int(value) * 150
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}_{colour}.png")
    return ProteinDataGenerator([str(folder / str(number)) for number in range(count)], labels)


@pytest.mark.program
def test_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(README)
    dataset = proteins(tmp_path)
    cfg = classification.parse("config.yaml")
    cfg.overrides = ["sys.threads=1", "sys.num_workers=0", "trainer.accelerator=cpu"]
    cfg.fit(dataset)
    for fold in (0, 1):
        assert (tmp_path / "weights" / f"best-{fold}.0.weights").is_file()
        table = pd.read_csv(tmp_path / "metrics" / f"metrics-{fold}.0.csv")
        measured = ["binary_accuracy", "loss", "macro_f1"]
        assert sorted(table) == sorted(["epoch", "lr", *measured, *(f"val_{name}" for name in measured)])
    with pytest.raises(ProjectError, match="already finished"):
        cfg.fit(dataset)

    preds = cfg.predict_all_to_array(dataset, 0, 0)
    assert preds.shape == (24, 3) and ((preds > 0) & (preds < 1)).all()
    both = cfg.predict_all_to_array(dataset, [0, 1], 0)
    assert both == pytest.approx((preds + cfg.predict_all_to_array(dataset, 1, 0)) / 2)
    turned = cfg.predict_all_to_array(dataset, [0, 1], 0, ttflips=True, limit=5)
    assert turned.shape == (5, 3) and turned != pytest.approx(both[:5])

    seen = []
    for batch in cfg.evaluateAll(dataset, 1):
        for i in range(len(batch.predicted_maps_aug)):
            assert batch.predicted_maps_aug[i].arr.shape == (1, 1, 3)
            number = dataset.paths.index(batch.data[i])
            assert (batch.ground_truth[i] == dataset.labels[number]).all()
            seen.append(number)
            assert batch.results[i] == pytest.approx(cfg.predict_all_to_array(dataset, 1)[number], abs=1e-5)
    assert len(seen) == 12

    # The README's own evaluation: masks of one pixel here.
    total = dict.fromkeys(range(1, 20), 0.0)
    for batch in cfg.evaluateAll(dataset, 1):
        for i in range(len(batch.predicted_maps_aug)):
            for d in range(1, 20):
                cur_seg = binary_opening(batch.predicted_maps_aug[i].arr > d / 20, np.ones((1, 1, 1)))
                total[d] += float(cur_seg.sum())
    assert list(total.values()) == sorted(total.values(), reverse=True)

    # The README's table of predictions.
    predictions, images = [], []
    preds = cfg.predict_all_to_array(dataset, 0, 0)
    for i in range(len(dataset)):
        images.append(dataset.paths[i])
        predictions.append("abc"[np.argmax(preds[i])])
    df = pd.DataFrame.from_dict({"file": images, "species": predictions})
    df.to_csv("submission.csv", index=False)
    assert len(pd.read_csv("submission.csv")) == 24

    everything = cfg.predict_all_to_array(dataset)
    assert everything == pytest.approx(both)
    found, truth = cfg.evaluate_all_to_arrays(dataset, 0)
    assert found.shape == truth.shape == (12, 3)
    best = cfg.find_treshold(dataset, 0, lambda y, p: float((y == p).mean()))
    shares = [((found > number / 100) == truth).mean() for number in range(100)]
    assert best == np.argmax(shares) / 100
    assert [(fold, stage) for fold, stage, _, _ in cfg.info()] == [(0, 0), (1, 0)]
    table = pd.read_csv(tmp_path / "metrics" / "metrics-1.0.csv")
    assert cfg.info("val_loss")[1][2:] == (table["val_loss"].min(), table["lr"].min())
    folder = tmp_path / "images_to_segment"
    folder.mkdir()
    for number in (3, 5):
        Image.fromarray(dataset[number].x).save(folder / f"{number}.png")
    (batch,) = cfg.predict_on_directory(folder, [0, 1])
    assert batch.data == ["3.png", "5.png"] and batch.results == pytest.approx(both[[3, 5]], abs=1e-5)
    assert len(list(cfg.predict_on_dataset(dataset, batch_size=10, limit=15))) == 2

    assert cfg.load_model(0, 0).heads["target"].out_features == 3  # type: ignore[index, union-attr]
    with pytest.raises(DataError, match="stage"):
        cfg.load_model(0, 5)
    with pytest.raises(ProjectError, match="fold"):
        cfg.load_model(7)


class Classification:
    """The README's own data set: a folder of images for each species."""

    def __init__(self, imgPath: str) -> None:  # noqa: N803
        self.species = ["Black-grass", "Charlock", "Maize"]
        self.data: list[str] = []
        self.targets: list[int] = []
        self.ids: list[str] = []
        for s_id, s in enumerate(self.species):
            s_folder = os.path.join(imgPath, s)  # noqa: PTH118
            for file in os.listdir(s_folder):  # noqa: PTH208
                self.data.append(os.path.join(s_folder, file))  # noqa: PTH118
                self.targets.append(s_id)
                self.ids.append(file)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, item: int) -> PredictionItem:
        item_file = self.data[item]
        target = self.targets[item]
        t = np.zeros(len(self.species))
        t[target] = 1.0
        image = self.read_image(item_file, (224, 224))
        return PredictionItem(self.ids[item], image, t)

    def isPositive(self, item: int) -> bool:  # noqa: N802
        return self.targets[item] > 0

    def read_image(self, filepath: str, target_size: tuple[int, int]) -> Any:
        img = cv2.imread(filepath, cv2.IMREAD_COLOR)
        assert img is not None
        img = cv2.resize(img.copy(), target_size, interpolation=cv2.INTER_AREA)
        return img


@pytest.mark.program
def test_stages_and_negatives_of_a_data_set_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    drawn = np.random.default_rng(0)
    for species in ("Black-grass", "Charlock", "Maize"):
        (tmp_path / species).mkdir()
        for number in range(6):
            pixels = drawn.integers(0, 255, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / species / f"{species}_{number}.png")
    text = README.replace("activation: sigmoid", "activation: softmax").replace(
        "  - epochs: 2\n",
        "  - epochs: 1\n    negatives: none\n    validation_negatives: real\n"
        "  - lr: 0.0001\n    epochs: 1\n    negatives: real\n    validation_negatives: real\n"
        "  - loss: lovasz_loss\n    lr: 0.00001\n    epochs: 1\n    initial_weights: ./other/weights/best-0.1.weights\n",
    )
    Path("config.yaml").write_text(text)
    cfg = classification.parse("config.yaml")
    cfg.overrides = ["sys.threads=1", "sys.num_workers=0", "trainer.accelerator=cpu", "mode.folds=[0]"]
    ds = Classification(".")
    with pytest.raises(DataError, match="initial_weights: there is no such file"):
        cfg.fit(ds)
    Path("config.yaml").write_text(text.replace("    initial_weights: ./other/weights/best-0.1.weights\n", ""))
    cfg = classification.parse("config.yaml")
    cfg.overrides = ["sys.threads=1", "sys.num_workers=0", "trainer.accelerator=cpu"]
    summary = cfg.fit(ds, subsample=0.5, foldsToExecute=[0])
    assert len(summary["stages"]) == 3 and summary["subsample"] == 0.5
    assert sorted(path.name for path in Path("weights").iterdir()) == [f"best-0.{stage}.weights" for stage in range(3)]
    (record,) = cfg._records_of_folds(None)
    assert record.counts["train"] == 9
    Path("summary.yaml").unlink()
    with pytest.raises(DataError, match="start_from_stage"):
        cfg.fit(ds, start_from_stage=1)


def musket_shapes(count: int) -> list[PredictionItem]:
    """Noise with one label in three."""
    drawn = np.random.default_rng(0)
    return [
        PredictionItem(f"item{row}", drawn.integers(0, 255, (16, 16, 3), dtype=np.uint8), np.eye(3)[row % 3])
        for row in range(count)
    ]


@pytest.mark.program
def test_an_interrupted_training_goes_on_where_that_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights as those of a training that nothing stopped."""
    asked = 0

    class Soon(steps.Stop):
        def __call__(self) -> bool:
            nonlocal asked
            asked += 1
            self.asked = self.asked or asked > 6
            return self.asked

    monkeypatch.chdir(tmp_path)
    ds, weights = musket_shapes(32), {}
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(README.replace("batch: 16", "batch: 4"))
        cfg = classification.parse(tmp_path / name / "config.yaml")
        cfg.overrides = ["sys.threads=1", "sys.num_workers=0", "trainer.accelerator=cpu"]
        if name == "broken":
            with monkeypatch.context() as patched:
                patched.setattr(steps, "Stop", Soon)
                with pytest.raises(Interrupted):
                    cfg.fit(ds, foldsToExecute=0)
            cfg.setAllowResume(True)
        assert cfg.fit(ds, foldsToExecute=0)["folds"] == [0]
        weights[name] = (tmp_path / name / "weights" / "best-0.0.weights").read_bytes()
        assert len(list((tmp_path / name / "results" / name / "runs").glob("*/*"))) == 1
    assert weights["whole"] == weights["broken"]


@pytest.mark.program
def test_the_range_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(README.replace("batch: 16", "batch: 4"))
    cfg = classification.parse("config.yaml")
    cfg.overrides = ["sys.threads=1", "sys.num_workers=0", "trainer.accelerator=cpu"]
    ds = proteins(tmp_path)
    finder = cfg.lr_find(ds, start_lr=0.00001, end_lr=1, epochs=8)
    # Three batches in each of eight epochs: at each step the rate grows by the 24th root of the whole range, 1e5.
    assert finder.lrs == pytest.approx([1e-5 * 1e5 ** (step / 24) for step in range(len(finder.losses))])
    assert 3 < len(finder.lrs) <= 24
    finder.plot_loss(n_skip_beginning=2, n_skip_end=0)
    finder.plot_loss_change(sma=3, n_skip_beginning=2, n_skip_end=5, y_lim=(-0.01, 0.01))
    plt.close("all")


def test_the_change_of_the_loss_by_hand() -> None:
    finder = Finder([1e-3, 1e-2, 1e-1, 1], [4.0, 3.0, 1.0, 2.0])
    assert finder.loss_change(2) == [0, 0, -1.5, -0.5]
    assert finder.loss_change() == [0, -1, -2, 1]
    with pytest.raises(DataError, match="sma"):
        finder.loss_change(0)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        classification.parse(tmp_path / "config.yaml")


def test_what_python_registers_goes_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(README.replace("ResNet18", "MyUnet").replace("binary_crossentropy", "my_loss"))
    with pytest.raises(ConfigError, match="unknown architecture, got 'MyUnet'"):
        classification.parse(config).fit(proteins(tmp_path))

    def network(input_shape: tuple[int, ...]) -> nn.Module:
        return nn.Conv2d(input_shape[2], 4, 3)

    def squares(y_true: Any, y_pred: Any) -> Any:
        return (y_true - y_pred).square().sum(1)

    monkeypatch.setitem(classification.custom.models, "MyUnet", network)
    monkeypatch.setitem(classification.get_custom_objects(), "my_loss", squares)
    assert classification.custom_models["MyUnet"] is network
    cfg = classification.parse(config)
    recipe = front.prepared("train", cfg._common_overrides(proteins(tmp_path))).run_config.recipe
    loss = recipe.loss.build(Labels("multilabel", torch.tensor([4, 4, 4]), 8))
    logits, target = torch.randn(5, 3), torch.ones(5, 3)
    torch.testing.assert_close(loss(logits, target), (1 - logits.sigmoid()).square().sum(1).mean())
    made = recipe.arch.build({"target": Head(3)}, Pixels(3, 32))
    assert made(torch.rand(2, 3, 32, 32))["target"].shape == (2, 3)
