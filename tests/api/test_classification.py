"""Musket's Python interface, as its README uses it, on small generated images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from mlpipe.api import classification
from mlpipe.api.classification import Finder, PredictionItem
from mlpipe.arch.classifier import Head, Pixels
from mlpipe.errors import ConfigError, DataError, ProjectError
from mlpipe.learn.losses import Labels
from mlpipe.modes import launch

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


@pytest.mark.slow
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
        assert list(table) == ["epoch", "loss", "lr", "val_binary_accuracy", "val_loss", "val_macro_f1"]
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

    assert cfg.load_model(0, 0).heads["target"].out_features == 3  # type: ignore[index, union-attr]
    with pytest.raises(DataError, match="stage"):
        cfg.load_model(0, 5)
    with pytest.raises(ProjectError, match="fold"):
        cfg.load_model(7)


@pytest.mark.slow
def test_the_range_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(README.replace("batch: 16", "batch: 4"))
    cfg = classification.parse("config.yaml")
    cfg.overrides = ["sys.threads=1", "sys.num_workers=0", "trainer.accelerator=cpu"]
    finder = cfg.lr_find(proteins(tmp_path), start_lr=0.00001, end_lr=1, epochs=8)
    assert finder.lrs[0] == pytest.approx(0.00001) and len(finder.lrs) == len(finder.losses)
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
    recipe = launch.prepare("train", cfg._common(proteins(tmp_path))).run_config.recipe
    loss = recipe.loss.build(Labels("multilabel", torch.tensor([4, 4, 4]), 8))
    logits, target = torch.randn(5, 3), torch.ones(5, 3)
    torch.testing.assert_close(loss(logits, target), (1 - logits.sigmoid()).square().sum(1).mean())
    made = recipe.arch.build({"target": Head(3)}, Pixels(3, 32))
    assert made(torch.rand(2, 3, 32, 32))["target"].shape == (2, 3)
