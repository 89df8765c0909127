"""A small Musket project of masks: a module with a data set of discs, and an experiment that trains in seconds."""

from __future__ import annotations

from pathlib import Path

MODULE = """
import numpy as np
from musket_core import datasets
from musket_core.datasets import PredictionItem


class Discs:
    def __init__(self, count, maps=False):
        self.count, self.maps = count, maps

    def __len__(self):
        return self.count

    def __getitem__(self, item):
        rng = np.random.default_rng(item)
        y, x = np.mgrid[:40, :40]
        inside = (y - rng.integers(12, 28)) ** 2 + (x - rng.integers(12, 28)) ** 2 < rng.integers(30, 110)
        if item % 5 == 4:
            inside[:] = False
        pixels = rng.integers(0, 90, (40, 40, 3)) + 110 * inside[:, :, None]
        mask = inside[:, :, None].astype(np.float32)
        mask = np.concatenate([1 - mask, mask], 2) if self.maps else mask
        return PredictionItem("disc%d" % item, pixels.astype(np.uint8), mask)

    def isPositive(self, item):
        return item % 5 != 4


@datasets.dataset_provider
def getTrain(count=40, maps=False):
    return Discs(count, maps)


def getClasses(count):
    class Classes(Discs):
        def __getitem__(self, item):
            found = Discs.__getitem__(self, item)
            return PredictionItem(found.id, found.x, np.array([1.0, 0.0]))

    return Classes(count)
"""
CONFIG = """#%Musket Segmentation 1.0
architecture: Unet
backbone: resnet18
encoder_weights: null
classes: 1
activation: sigmoid
shape: [32, 32, 3]
optimizer: Adam
lr: 0.003
batch: 8
dataset:
  getTrain: [50]
folds_count: 2
testSplit: 0.2
testTimeAugmentation: Horizontal
augmentation:
  Fliplr: 0.5
metrics: [dice, iou, binary_accuracy]
primary_metric: val_dice
primary_metric_mode: max
loss: binary_crossentropy+0.5*dice_loss
stages:
  - epochs: 2
    negatives: none
  - epochs: 6
"""


def make(root: Path, *, config: str = CONFIG) -> Path:
    """Write the project; returns the experiment's folder."""
    folder = root / "experiments" / "discs"
    folder.mkdir(parents=True)
    (root / "modules").mkdir(exist_ok=True)
    (root / "modules" / "discs_of_a_test.py").write_text(MODULE)
    (folder / "config.yaml").write_text(config)
    return folder
