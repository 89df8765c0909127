"""What Musket's documents promise of whole configurations: trained for real at a small size, their files compared."""

from __future__ import annotations

import csv
import json
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


def test_heads_of_several_kinds_and_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = musket_project.make(tmp_path, config=HEADS)
    with (tmp_path / "modules" / "shapes_of_a_test.py").open("a") as file:
        file.write(SIZES)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", "mode.name=first", *ON_CPU]) == 0
    assert columns(folder / "metrics" / "metrics-1.0.csv") == [
        *("epoch", "loss", "lr", "out0_binary_accuracy", "out1_binary_accuracy"),
        *("val_loss", "val_out0_binary_accuracy", "val_out0_loss", "val_out1_binary_accuracy"),
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


REFERENCE = """#%Musket Classification 1.0
architecture: ResNet18
pooling: max
dropout: 0.1
classes: 2
activation: softmax
weights: null
freeze_encoder: true
shape: [32, 32, 3]
optimizer: Adam
lr: 0.01
clipnorm: 1.0
batch: 8
inference_batch: 4
dataset:
  getTrain: [24]
folds_count: 2
random_state: 7
stratified: true
testSplit: 0.25
testSplitSeed: 5
augmentation:
  Fliplr: 0.5
  OneOf:
    - Add: [0, 10]
    - Dropout: [0.0, 0.1]
testTimeAugmentation: Horizontal
bgr: true
metrics:
  - binary_accuracy
  - matthews_correlation
  - dice_loss
final_metrics: [measure]
experiment_result: matthews_correlation_holdout
primary_metric: val_binary_accuracy
primary_metric_mode: max
loss: binary_crossentropy+0.1*dice_loss
callbacks:
  EarlyStopping:
    patience: 100
    monitor: val_binary_accuracy
    verbose: 1
  CyclicLR:
    base_lr: 0.001
    max_lr: 0.006
    step_size: 2
    mode: triangular
  TensorBoard:
    log_dir: './logs'
    batch_size: 32
    write_graph: True
    update_freq: batch
stages:
  - epochs: 1
    negatives: 1
    validation_negatives: real
  - epochs: 2
    unfreeze_encoder: true
    callbacks:
      LRVariator:
        fromVal: 0.001
        toVal: 0.0001
        style: cos+
"""
MEASURE = """
from musket_core import fit_callbacks, metrics


@metrics.final_metric
def measure(model, items):
    share = sum(item.y.argmax() == item.prediction.argmax() for item in items) / len(items)
    return {"measured_share": share, "measured_items": len(items)}


@fit_callbacks.after_fit
def done():
    open("done.txt", "a").write("x")
"""


def test_what_the_reference_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = musket_project.make(tmp_path, config=REFERENCE)
    (tmp_path / "modules" / "measures_of_a_test.py").write_text(MEASURE)
    monkeypatch.chdir(folder)
    # In an experiment's folder that experiment is meant.
    assert cli.main(["fit", "--folds=0,1", *ON_CPU, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["results"][str(folder)]
    monkeypatch.chdir(tmp_path)
    assert (folder / "done.txt").read_text() == "x"
    summary = yaml.safe_load((folder / "summary.yaml").read_text())
    found = summary["allStages"]
    assert result == found["matthews_correlation_holdout"]
    assert set(summary["stages"][0]) == set(found) == {
        f"{name}{affix}"
        for name in ("binary_accuracy", "matthews_correlation", "dice_loss", "measured_share", "measured_items")
        for affix in ("", "_holdout")
    }  # fmt: skip
    assert found["measured_items_holdout"] == 6 and found["measured_items"]["mean"] == 9
    assert found["measured_share"] == found["binary_accuracy"]
    for fold in (0, 1):
        assert columns(folder / "metrics" / f"metrics-{fold}.1.csv") == [
            *("epoch", "binary_accuracy", "dice_loss", "loss", "lr", "matthews_correlation"),
            *("val_binary_accuracy", "val_dice_loss", "val_loss", "val_matthews_correlation"),
        ]
        assert (folder / "examples" / "1" / str(fold) / "epoch_1.jpg").is_file()
    with (folder / "metrics" / "metrics-0.1.csv").open() as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file)]
    # The ramp falls from the rate of its start over the stage's steps.
    assert rates[0] > rates[1]
    stay, held = yaml.safe_load((folder / "config.yaml.holdout_split").read_text())
    assert len(held) == 6 and sum(row % 2 for row in held) == 3 and len(stay) == 18
    assert list((folder / "logs").rglob("events.out.tfevents.*"))
    before = (folder / "summary.yaml").read_bytes()
    assert cli.main(["fit", "--name", "first", "--only_report", "True", *ON_CPU]) == 0
    assert (folder / "summary.yaml").read_bytes() == before
    assert cli.main(["analyze", "--inputFolder", ".", "--onlyMetric=val_dice_loss", "--sortBy", "val_dice_loss"]) == 0
    assert (tmp_path / "report.csv").read_text().startswith("path,fold_count,val_dice_loss\n")
