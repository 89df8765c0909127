"""What Musket's documents promise of whole configurations: trained for real at a small size, their files compared."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from mlpipe import cli
from mlpipe.api import classification
from mlpipe.runs import predictions
from tests import musket_project

ON_CPU = ["--num_workers=0", "--overrides", "sys.threads=1 trainer.accelerator=cpu"]
SIZES = """
def several(count):
    import numpy as np

    class Several(Shapes):
        def __getitem__(self, item):
            found = Shapes.__getitem__(self, item)
            return PredictionItem(found.id, found.x, [found.y, np.array([1.0, 0.0, item % 2]), np.array([0.25])])

    return Several(count, 0)
"""
HEADS = """#%Musket Classification 1.0
architecture: ResNet18
classes: [2, 3, 1]
activation: [softmax, sigmoid, tanh]
loss:
  - categorical_crossentropy
  - binary_crossentropy+0.1*dice_loss
  - mse
weights: null
shape: [32, 32, 3]
optimizer: Adam
batch: 8
dataset:
  several: [16]
folds_count: 2
metrics: [binary_accuracy]
primary_metric: val_loss
primary_metric_mode: min
stages:
  - epochs: 1
  - epochs: 1
    lr: 0.0001
"""


def columns(path: Path) -> list[str]:
    with path.open(newline="") as file:
        return list(next(csv.reader(file)))


@pytest.mark.slow
def test_heads_of_several_kinds_and_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = musket_project.make(tmp_path, config=HEADS)
    with (tmp_path / "modules" / "shapes_of_a_test.py").open("a") as file:
        file.write(SIZES)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", "mode.name=first", *ON_CPU]) == 0
    assert columns(folder / "metrics" / "metrics-1.0.csv") == [
        *("epoch", "loss", "lr", "val_loss", "val_out0_binary_accuracy", "val_out0_loss", "val_out1_binary_accuracy"),
        *("val_out1_loss", "val_out2_loss"),
    ]
    names = sorted(path.name for path in (folder / "weights").iterdir())
    assert names == [f"best-{fold}.{stage}.weights" for fold in (0, 1) for stage in (0, 1)]
    cfg = classification.parse(folder / "config.yaml")
    cfg.overrides = ["sys.threads=1", "sys.num_workers=0", "trainer.accelerator=cpu"]
    dataset = cfg.get_dataset("dataset")
    first, second = (cfg.predict_all_to_array(dataset, 0, stage) for stage in (0, 1))
    assert first.shape == (16, 6) and (first != second).any()
    assert first[:, :2].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert ((first[:, 2:5] > 0) & (first[:, 2:5] < 1)).all() and (np.abs(first[:, 5]) < 1).all()
    assert cfg.predict_all_to_array(dataset, 0, [0, 1]) == pytest.approx((first + second) / 2)
    assert cfg.predict_all_to_array(dataset, 0) == pytest.approx(second)

    summary = yaml.safe_load((folder / "summary.yaml").read_text())
    assert len(summary["stages"]) == 2
    truth = np.array([np.eye(2)[item % 2] for item in range(16)])
    # The summary's number is that of the kept weights of the stage, on the fold's validation items.
    record = cfg._record(0)
    rows = [int(name.partition(":")[0]) for name in predictions.load(
        cfg._project.predictions_file(record.pivot, record.id), record.task, "val"
    ).sample_ids]  # fmt: skip
    other = cfg._record(1)
    others = sorted(set(range(16)) - set(rows))
    found = [
        ((cfg.predict_all_to_array(dataset, fold, 0)[part, :2] > 0.5) == (truth[part] > 0.5)).mean()
        for fold, part in ((0, rows), (1, others))
    ]
    assert other.fold == 1
    assert summary["stages"][0]["out0_binary_accuracy"]["mean"] == pytest.approx(np.mean(found))
    assert "out1_loss" in summary["allStages"] and "out2_loss" in summary["allStages"]
