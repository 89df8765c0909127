"""A small Musket project: a module with data sets, and an experiment that trains in seconds."""

from __future__ import annotations

from pathlib import Path

MODULE = """
import numpy as np
from musket_core import datasets, tasks
from musket_core.datasets import DataSet, PredictionItem
from musket_core.model import ConnectedModel


class Shapes:
    def __init__(self, count, seed):
        self.count, self.seed = count, seed

    def __len__(self):
        return self.count

    def __getitem__(self, item):
        rng = np.random.default_rng([self.seed, item])
        x = rng.integers(0, 80, (24, 24, 3), dtype=np.uint8)
        y = np.zeros(2)
        y[item % 2] = 1.0
        x[5:15, 5:15, item % 2] += 120
        return PredictionItem("item%d" % item, x, y)

    def isPositive(self, item):
        return item % 2 == 1


@datasets.dataset_provider
def getTrain(count=20, seed=0):
    return Shapes(count, seed)


def getLabels(count):
    class Labels(Shapes):
        def __getitem__(self, item):
            found = Shapes.__getitem__(self, item)
            return PredictionItem(found.id, found.x, [found.y, found.y])

    return Labels(count, 0)


def broken():
    raise RuntimeError("no data today")


@tasks.task
def predict_holdout(m: ConnectedModel, holdout: DataSet):
    found = m.predict_all_to_array(holdout, [0, 1])
    np.savetxt("predictions.csv", found, delimiter=",")
"""
CONFIG = """#%Musket Classification 1.0
architecture: ResNet18
classes: 2
activation: softmax
weights: null
shape: [32, 32, 3]
optimizer: Adam
batch: 8
dataset:
  getTrain: [20]
folds_count: 2
testSplit: 0.2
metrics: [categorical_accuracy, macro_f1]
primary_metric: val_macro_f1
primary_metric_mode: max
loss: categorical_crossentropy+0.1*dice_loss
stages:
  - epochs: 1
  - epochs: 1
    negatives: 1
"""


def make(root: Path, *, name: str = "first", config: str = CONFIG) -> Path:
    """Write the project; returns the experiment's folder."""
    folder = root / "experiments" / name
    folder.mkdir(parents=True)
    (root / "modules").mkdir(exist_ok=True)
    (root / "modules" / "shapes_of_a_test.py").write_text(MODULE)
    (folder / "config.yaml").write_text(config)
    return folder
