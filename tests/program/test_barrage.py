"""Barrage's examples from the command line: train, artifacts, scores; what stands in the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, load_iris

from mlpipe.cli import main
from mlpipe.dialects import front
from mlpipe.errors import ConfigError
from mlpipe.running import launch, tasks
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project

CODE = """
import json, os
import numpy as np
import torch
from torch import nn
from barrage.dataset import RecordTransformer

class Scaler(RecordTransformer):
    def fit(self, records):
        x = np.stack([self.loader(record)[0]["x"] for record in records])
        self.mean, self.std = x.mean(0), x.std(0)
        self.network_params = {"classes": 3}
    def transform(self, data_record):
        return ({"x": (data_record[0]["x"] - self.mean) / self.std}, *data_record[1:])
    def postprocess(self, score):
        return {**score, "best": np.argmax(score["y"])}
    def save(self, path):
        with open(os.path.join(path, "scaler.json"), "w") as file:
            json.dump([self.mean.tolist(), self.std.tolist()], file)
    def load(self, path):
        with open(os.path.join(path, "scaler.json")) as file:
            self.mean, self.std = (np.array(part) for part in json.load(file))

def jitter(data_record, by):
    return ({"x": data_record[0]["x"] + by * np.random.randn(4)}, *data_record[1:])

def network(units, classes):
    return nn.Sequential(nn.Linear(4, units), nn.ReLU(), nn.Linear(units, classes), nn.Softmax(1))

class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.sepal, self.petal = nn.Linear(2, 16), nn.Linear(1, 16)
        self.kind, self.width = nn.Linear(32, 3), nn.Linear(32, 1)
    def forward(self, sepal, petal):
        found = torch.cat([self.sepal(sepal), self.petal(petal)], 1).relu()
        return {"width": self.width(found), "kind": self.kind(found).softmax(1)}
"""
IRIS: dict[str, Any] = {
    "dataset": {
        "loader": {
            "import": "KeySelector",
            "params": {
                "inputs": {"x": ["a", "b", "c", "d"]},
                "outputs": {"y": ["y0", "y1", "y2"]},
                "sample_weights": {"y": "weight"},
            },
        },
        "transformer": {"import": "iris_code.Scaler"},
        "augmentor": [{"import": "iris_code.jitter", "params": {"by": 0.05}}],
        "sample_count": "count",
        "seed": 7,
    },
    "model": {
        "network": {"import": "iris_code.network", "params": {"units": 16}},
        "outputs": [{"name": "y", "loss": {"import": "categorical_crossentropy"}, "metrics": [{"import": "accuracy"}]}],
    },
    "solver": {"optimizer": {"import": "adam", "learning_rate": 0.02}, "batch_size": 16, "epochs": 12},
    "services": {"best_checkpoint": {"monitor": "val_accuracy", "mode": "max"}},
}
TRAIN = ["task=records", "task.train=train.csv", "task.validation=val.csv", "sys.threads=1"]


@pytest.fixture
def iris(tmp_path: Path) -> Path:
    """The configuration's file, its code, and its tables in the current folder."""
    data = load_iris(as_frame=True)
    frame = data.data.set_axis(list("abcd"), axis=1)
    for number in range(3):
        frame[f"y{number}"] = (data.target == number).astype(int)
    frame["count"], frame["weight"], frame["label"] = 1 + frame.index % 3, 1 + frame.index % 2, data.target
    frame = frame.sample(frac=1, random_state=0)
    frame[:110].to_csv("train.csv", index=False)
    frame[110:].to_csv("val.csv", index=False)
    frame[110:][list("abcd")].to_csv("score.csv", index=False)
    (tmp_path / "iris_code.py").write_text(CODE)
    (tmp_path / "config.json").write_text(json.dumps(IRIS))
    return tmp_path / "config.json"


def edited(path: Path, section: str, **values: Any) -> None:
    config = json.loads(path.read_text())
    config[section] |= values
    path.write_text(json.dumps(config))


def planned(*overrides: str) -> list[str]:
    return launch.planned(front.prepared("train", ["recipe=config.json", *TRAIN, *overrides]))


def test_a_recipe_is_a_plan_with_artifacts_at_its_end(iris: Path) -> None:
    assert planned("sys.artifact_dir=out")[-3:] == ["train fold 0", "artifacts", "leaderboard"]
    assert "artifacts" not in planned()


def test_records_are_called_records(iris: Path) -> None:
    config = front.prepared("train", ["recipe=config.json", *TRAIN]).run_config
    told = tasks.describe(tasks.resolve(config.task, config.data_dir))
    # The rows are counted as often as `sample_count` says.
    assert told.startswith("classification, 3 classes, records: ") and told.endswith(" train, 40 val")


def test_a_folder_that_is_there_already_or_has_no_parent_is_refused(iris: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match=r"sys\.artifact_dir: is there already"):
        planned("sys.artifact_dir=there")
    with pytest.raises(ConfigError, match=r"sys\.artifact_dir: its parent folder is not there"):
        planned("sys.artifact_dir=no/where")


def test_data_must_be_named(iris: Path) -> None:
    with pytest.raises(ConfigError, match=r"task\.train: a value is needed"):
        front.prepared("train", ["recipe=config.json", "task=records"])


def test_convert_prints_the_native_form(iris: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "recipe=config.json", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dialect"] == "barrage" and found["native"]["task"]["sample_count"] == "count"


def test_iris_from_training_to_scores(iris: Path, tmp_path: Path) -> None:
    sure = {"import": "tensorflow.keras.metrics.Precision", "params": {"thresholds": [0.6], "name": "sure"}}
    output = {**IRIS["model"]["outputs"][0], "metrics": [{"import": "accuracy"}, {"import": "AUC"}, sure]}
    edited(iris, "model", outputs=[output])
    assert main(["train", "recipe=config.json", *TRAIN, "sys.artifact_dir=out"]) == 0
    there = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert {
        "config.json", "config.yaml", "network_params.json", "training_report.csv", "dataset/scaler.json", "TensorBoard",
        "best_checkpoint/model_best.safetensors", "resume_checkpoints/model_epoch_0001.safetensors",
    } <= there  # fmt: skip
    assert not any(name.endswith((".pkl", ".pickle", ".ckpt", ".pt")) for name in there)
    saved = json.loads((tmp_path / "out/config.json").read_text())
    assert saved["solver"]["epochs"] == 12 and saved["services"]["validation_early_stopping"]["patience"] == 10
    report = pd.read_csv(tmp_path / "out/training_report.csv")
    columns = ["epoch", "accuracy", "auc", "loss", "sure", "val_accuracy", "val_auc", "val_loss", "val_sure"]
    assert list(report.columns) == columns and report.epoch[0] == 0
    assert len(list((tmp_path / "out/resume_checkpoints").iterdir())) == len(report)

    # The folder alone is enough, wherever it lies.
    (tmp_path / "out").rename(tmp_path / "moved")
    command = ["predict", "recipe=moved", "task.file=score.csv", "mode.output=scores.json", "sys.threads=1"]
    assert main(command) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    truth = pd.read_csv("val.csv")["label"].to_numpy()
    assert np.allclose([sum(score["y"]) for score in scores], 1, atol=1e-5)
    accuracy = float(np.mean([score["best"] for score in scores] == truth))
    assert accuracy >= 0.9
    assert accuracy == pytest.approx(report["val_accuracy"].max())
    best = report.loc[report["val_accuracy"].idxmax()]
    for metric, column in ((keras.metrics.AUC(), "val_auc"), (keras.metrics.Precision(thresholds=0.6), "val_sure")):
        metric.update_state(np.eye(3)[truth], np.array([score["y"] for score in scores]))
        assert best[column] == pytest.approx(float(metric.result()), abs=1e-6)
    # Weights of records count in the loss of validation, as in Keras.
    given, weights = np.array([score["y"] for score in scores]), pd.read_csv("val.csv")["weight"].to_numpy()
    expected = keras.losses.CategoricalCrossentropy()(np.eye(3)[truth], given, sample_weight=weights)
    assert best["val_loss"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("weighted", [True, False])
def test_two_inputs_and_two_outputs_with_weights_and_counts(iris: Path, tmp_path: Path, weighted: bool) -> None:
    params: dict[str, Any] = {
        "inputs": {"sepal": ["a", "b"], "petal": ["c"]},
        # A class number, or one-hot.
        "outputs": {"kind": "label" if weighted else ["y0", "y1", "y2"], "width": ["d"]},
    }
    if weighted:
        params["sample_weights"] = {"kind": "weight", "width": "count"}
    config = json.loads(iris.read_text())
    config["dataset"] = {"loader": {"import": "KeySelector", "params": params}, "sample_count": "count", "seed": 3}
    config["model"] = {
        "network": {"import": "iris_code.Both"},
        "outputs": [
            {
                "name": "kind",
                "loss": {"import": "sparse_categorical_crossentropy" if weighted else "categorical_crossentropy"},
                "loss_weight": 1.0,
                "metrics": [{"import": "accuracy"}, {"import": "AUC"}],
            },
            {"name": "width", "loss": {"import": "mse"}, "loss_weight": 2.0, "metrics": [{"import": "mae"}]},
        ],
    }
    config["solver"]["epochs"] = 20
    config["services"] = {"best_checkpoint": {"monitor": "val_kind_accuracy", "mode": "max"}}
    iris.write_text(json.dumps(config))
    assert (
        main(["train", "recipe=config.json", *TRAIN, "sys.artifact_dir=out", "mode.subroutines=[train,predict]"]) == 0
    )
    report = pd.read_csv(tmp_path / "out/training_report.csv")
    for part in ("", "val_"):
        names = ("kind_accuracy", "kind_auc", "kind_loss", "width_loss", "width_mae", "loss")
        assert {part + name for name in names} <= set(report)
        total = report[f"{part}kind_loss"] + 2 * report[f"{part}width_loss"]
        assert report[f"{part}loss"].to_numpy() == pytest.approx(total.to_numpy(), rel=1e-4)
    frame = pd.read_csv("val.csv")
    frame[list("abc")].to_csv("score.csv", index=False)
    assert main(["predict", "recipe=out", "task.file=score.csv", "mode.output=scores.json", "sys.threads=1"]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    kinds = np.array([score["kind"] for score in scores]).argmax(1)
    assert np.mean(kinds == frame["label"].to_numpy()) == pytest.approx(report["val_kind_accuracy"].max())
    assert report["val_kind_accuracy"].max() >= 0.9
    widths = np.array([score["width"][0] for score in scores])
    assert np.abs(widths - frame["d"].to_numpy()).mean() < 0.4
    best = report.loc[report["val_kind_accuracy"].idxmax()]
    weights = frame["count"].to_numpy() if weighted else None
    error = keras.losses.MeanSquaredError()(frame[["d"]].to_numpy(), widths[:, None], sample_weight=weights)
    assert best["val_width_loss"] == pytest.approx(float(error), rel=1e-4)
    _check_heads(scores, report, weighted)


def _check_heads(scores: list[dict[str, Any]], report: pd.DataFrame, weighted: bool) -> None:
    """Each output has a record, predictions and scores of its own, with which the other modes work."""
    project = Project(Path("results/default").absolute())
    joint, width, kind = records.load_all(project)
    # A network without a name of its own is called by its identity, wherever its code lies.
    assert joint.arch == "mlpipe.learn.record_network.records"
    assert [one.kind for one in (joint, width, kind)] == ["regression", "regression", "classification"]
    assert [one.pivot for one in (width, kind)] == [f"{joint.pivot}+head?{name}" for name in ("width", "kind")]
    assert kind.scores["val"]["accuracy"] == pytest.approx(report["val_kind_accuracy"].max())
    if not weighted:
        assert kind.scores["val"]["nll"] == pytest.approx(kind.scores["val"]["loss"], rel=1e-5)
    assert width.scores["val"]["mae"] == pytest.approx(joint.scores["val"]["width_mae"], rel=1e-6)
    for record, name in ((kind, "kind"), (width, "width")):
        file = project.predictions_file(record.pivot, record.id)
        found = predictions.load(file, record.task, "val")
        # In the order of the validation file, which is that of the ids.
        given = np.array([score[name] for score in scores])
        # Probabilities count from Keras's epsilon on.
        logarithms = np.log(np.maximum(given, 1e-7)) if name == "kind" else given
        assert found.logits == pytest.approx(logarithms, abs=2e-5)
        before = pd.read_parquet(file)
        file.unlink()
        assert main(["predict", f"task={joint.pivot}", "sys.threads=1", "trust=[iris_code]"]) == 0
        assert np.array_equal(predictions.load(file, record.task, "val").logits, found.logits)
        assert main(["predict", f"task={record.pivot}", "sys.threads=1", "trust=[iris_code]"]) == 0
        pd.testing.assert_frame_equal(pd.read_parquet(file), before)
    # The most recently trained task is the first output's head.
    assert main(["post", "mode.report=false"]) == 0
    assert project.calibration_file(kind.pivot, kind.id).is_file()
    assert main(["post", f"task={joint.pivot}"]) == 2
    assert main(["train", "recipe=config.json", f"task={kind.pivot}"]) == 2
    assert main(["verify", f"mode.run={joint.run}", "sys.threads=1", "trust=[iris_code]"]) == 0


def test_steps_lengthen_an_epoch_and_a_reducer_lowers_the_rate(iris: Path, tmp_path: Path) -> None:
    reducer = {"monitor": "val_loss", "mode": "min", "patience": 1, "factor": 0.5, "min_delta": 10}
    edited(iris, "solver", steps=40, epochs=4, learning_rate_reducer=reducer)
    assert main(["train", "recipe=config.json", *TRAIN, "sys.artifact_dir=out"]) == 0
    report = pd.read_csv(tmp_path / "out/training_report.csv")
    assert report["lr"].tolist() == pytest.approx([0.02, 0.02, 0.01, 0.005])


def test_a_training_loss_that_stands_still_ends_the_training(iris: Path, tmp_path: Path) -> None:
    stop = {"monitor": "loss", "mode": "min", "patience": 2, "min_delta": 100}
    edited(iris, "services", train_early_stopping=stop)
    assert main(["train", "recipe=config.json", *TRAIN, "sys.artifact_dir=out"]) == 0
    assert len(pd.read_csv(tmp_path / "out/training_report.csv")) == 3


def test_digits_as_images_with_layers_from_the_configuration(tmp_path: Path) -> None:
    from mlpipe.api.barrage import BarrageModel

    digits = load_digits()
    rows = [
        {"pixels": (image[..., None] / 16).astype(np.float32), "digit": int(digit)}
        for image, digit in zip(digits.images, digits.target, strict=True)
    ]
    layers = [
        {"import": "Input", "params": {"shape": [8, 8, 1], "name": "image"}},
        {"import": "Conv2D", "params": {"filters": 16, "kernel_size": 3, "activation": "relu"}},
        {"import": "Flatten"},
        {"import": "Dense", "params": {"units": 10, "activation": "softmax", "name": "digit"}},
    ]
    params = {"inputs": {"image": "pixels"}, "outputs": {"digit": "digit"}}
    # The code of the folder that a program runs in is its own, as it is that of a file there.
    (tmp_path / "own_digits.py").write_text("def same(record):\n    return record\n")
    config = {
        "dataset": {
            "loader": {"import": "KeySelector", "params": params},
            "augmentor": [{"import": "own_digits.same"}],
            "seed": 1,
        },
        "model": {
            "network": {"import": "barrage.model.sequential_from_config", "params": {"layers": layers}},
            "outputs": [
                {
                    "name": "digit",
                    "loss": {"import": "sparse_categorical_crossentropy"},
                    "metrics": [{"import": "accuracy"}],
                }
            ],
        },
        "solver": {"optimizer": {"import": "Adam", "learning_rate": 0.01}, "epochs": 6},
    }
    before = json.dumps(config)
    model = BarrageModel("artifacts")
    model.overrides = ["sys.threads=1"]
    last = model.train(config, rows[:1200], rows[1200:])
    assert json.dumps(config) == before
    scores = BarrageModel("artifacts").predict(pd.DataFrame(rows[1200:]))
    assert scores[0]["digit"].shape == (10,)
    accuracy = np.mean(
        [score["digit"].argmax() == row["digit"] for score, row in zip(scores, rows[1200:], strict=True)]
    )
    assert accuracy >= 0.88
    assert type(last).__name__ == "Sequential"
    with pytest.raises(ConfigError, match="is there already"):
        model.train(config, rows[:1200], rows[1200:])


def test_a_folder_that_is_no_artifacts_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["predict", "recipe=empty", "task.file=x.csv"]) == 2
    assert "is no complete folder of artifacts" in capsys.readouterr().err


def test_a_refit_has_heads_too(iris: Path) -> None:
    """It learns the validation file as well, and stands for the heads of its fold."""
    outputs = {"kind": ["y0", "y1", "y2"], "width": ["d"]}
    params = {"inputs": {"sepal": ["a", "b"], "petal": ["c"]}, "outputs": outputs}
    config = json.loads(iris.read_text())
    config["dataset"] = {"loader": {"import": "KeySelector", "params": params}, "seed": 3}
    losses = {"kind": "categorical_crossentropy", "width": "mse"}
    heads = [{"name": name, "loss": {"import": loss}, "loss_weight": 1.0} for name, loss in losses.items()]
    config["model"] = {"network": {"import": "iris_code.Both"}, "outputs": heads}
    config["solver"]["epochs"] = 2
    config["services"] = {"best_checkpoint": {"monitor": "val_loss", "mode": "min"}}
    iris.write_text(json.dumps(config))
    words = ["sys.artifact_dir=out", "mode.subroutines=[train,predict]", "mode.refit=true"]
    assert main(["train", "recipe=config.json", *TRAIN, *words]) == 0
    found = records.load_all(Project(Path("results/default").absolute()))
    folds, refits = ([one for one in found if bool(one.refit) is wanted] for wanted in (False, True))
    assert [one.refit for one in refits] == [[one.id] for one in folds] and len(refits) == 3
    assert {one.counts["train"] for one in refits} == {150} and all(not one.scores.get("val") for one in refits)
