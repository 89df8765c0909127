"""`mml fit`, `mml analyze`, `mml convert` and `recipe=` on a small Musket project, from the command line on."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from mlpipe import cli
from mlpipe.api import classification
from mlpipe.data.items.derived_sets import CompositeDataSet, SubDataSet
from mlpipe.errors import ConfigError, DataError
from mlpipe.running import steps
from mlpipe.runs import records
from mlpipe.runs.project import Project
from tests import musket_project
from tests.build import ON_CPU


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    musket_project.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_convert_prints_what_recipe_reads(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["convert", "recipe=experiments/first/config.yaml"]) == 0
    text = capsys.readouterr().out
    assert "# [same] loss -> loss" in text
    (project / "native.yaml").write_text(text)
    shown = []
    for recipe in ("experiments/first/config.yaml", "native.yaml"):
        assert cli.main(["train", f"recipe={recipe}", "optimizer.lr=0.5", "--cfg", "job"]) == 0
        shown.append(yaml.safe_load(capsys.readouterr().out))
    # A native recipe is trained as any other, with predictions and a report at its end.
    endings = [one["mode"].pop("subroutines") for one in shown]
    assert endings == [["train"], ["train", "predict", "post"]] and shown[0] == shown[1]
    assert shown[0]["optimizer"]["lr"] == 0.5 and shown[0]["loss"]["expression"] == "ce+0.1*dice"
    assert not (project / "results").exists()


_RAMP = {"fromVal": 0, "toVal": 0.01, "style": "linear", "relSize": 0.5}


@pytest.mark.parametrize(("callbacks", "expected"), [
    (
        {"LRVariator": {**_RAMP, "then": {"LRVariator": {"fromVal": 0.01, "toVal": 0, "relSize": 1}}}},
        {"then": {"from_lr": 0.01, "to_lr": 0, "style": "linear", "epochs": 1}, "plateau": None},
    ),
    (
        {"LRVariator": _RAMP, "ReduceLROnPlateau": {"patience": 2, "factor": 0.5}},
        {"then": None, "plateau_from": "start", "plateau": {
            "factor": 0.5, "patience": 1, "cooldown": 0, "threshold": 0.0001, "threshold_mode": "abs", "min_lr": 0.0,
            "watch": "val/loss", "watch_direction": "min",
        }},
    ),
])  # fmt: skip
def test_ramps_at_the_root_have_what_follows_them(
    project: Path, capsys: pytest.CaptureFixture[str], callbacks: Any, expected: dict[str, Any]
) -> None:
    source = {**yaml.safe_load(musket_project.CONFIG), "callbacks": callbacks}
    (project / "experiments" / "first" / "config.yaml").write_text(yaml.safe_dump(source))
    assert cli.main(["train", "recipe=experiments/first/config.yaml", "--cfg", "job"]) == 0
    found = yaml.safe_load(capsys.readouterr().out)["lr_scheduler"]
    assert (found["from_lr"], found["to_lr"], found["epochs"]) == (0, 0.01, 0.5)
    assert {key: found[key] for key in expected} == expected


def test_a_file_full_of_mistakes_is_told_whole_by_fit_and_in_python(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"batch": "many", "stages": [3], "imports": 3, "num_seeds": "two", "classes": "two", "testSplitSeed": "x"}
    wrong |= {
        "callbacks": {"EarlyStopping": {"patience": "three"}},
        "optimizer": "Adm",
        "datasets": 3,
        "declarations": 3,
    }
    folder = project / "experiments" / "first"
    (folder / "config.yaml").write_text(yaml.safe_dump({**yaml.safe_load(musket_project.CONFIG), **wrong}))
    assert cli.main(["fit", "--name", "first"]) == 2
    told = capsys.readouterr().err
    keys = ("batch", "stages[0]", "imports", "num_seeds", "classes", "testSplitSeed", "callbacks.EarlyStopping.patience",
            "optimizer", "datasets", "declarations")  # fmt: skip
    assert all(f"first: {key}: " in told for key in keys) and len(told.splitlines()) == len(keys)
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml"]
    with pytest.raises(ConfigError) as caught:
        classification.parse(folder / "config.yaml").fit()
    assert sorted(one.partition(":")[0] for one in caught.value.problems) == sorted(keys)


def test_a_group_on_the_command_line_replaces_the_files(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "recipe=experiments/first/config.yaml", "loss=focal", "--cfg", "job"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["loss"]["_target_"].endswith(".focal")


def test_mistakes_end_with_2_and_leave_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, sentence in (
        (["fit", "--name", "frist"], "did you mean 'first'?"),
        (["fit", "--nam", "first"], "mode.nam: unknown key; did you mean 'name'?"),
        (["fit", "--folds", "a"], "must be numbers of folds"),
        (["fit", "--project", "nowhere"], "has no experiments"),
        (["analyze", "--inputFolder", "nowhere"], "there is no such folder"),
        (["convert"], "there is nothing to convert"),
        (["train", "recipe=experiments/first/confg.yaml"], "did you mean 'config.yaml'?"),
    ):
        assert cli.main(words) == 2
        assert sentence in capsys.readouterr().err
    assert not (project / "results").exists()


def _tables_agree_with_the_summary(folder: Path, summary: Any) -> None:
    """Accuracies by hand from the tables of what is true and predicted."""

    def table(name: str) -> list[list[str]]:
        with (folder / "predictions" / name).open(newline="") as file:
            return list(csv.reader(file))

    for stage in (0, 1):
        by_hand = []
        for fold in (0, 1):
            true, found = (table(f"validation{fold}.{stage}-{kind}.csv") for kind in ("gt", "pt"))
            assert true[0] == found[0] and len(true) == len(found) == 9
            assert all(row[0].startswith("item") and row[1 + int(row[0][4:]) % 2] == "1" for row in true[1:])
            by_hand.append(np.mean([one == other for one, other in zip(true[1:], found[1:], strict=True)]))
        assert summary["stages"][stage]["categorical_accuracy"]["mean"] == pytest.approx(np.mean(by_hand))
        held = [table(f"holdout-0_1.{stage}-{kind}.csv") for kind in ("gt", "pt")]
        accuracy = np.mean([one == other for one, other in zip(held[0][1:], held[1][1:], strict=True)])
        assert summary["stages"][stage]["categorical_accuracy_holdout"] == pytest.approx(accuracy)


def test_a_project_from_fit_to_analyze(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project / "experiments" / "first"
    text = (folder / "config.yaml").read_text().replace("negatives: 1", "negatives: 1\n    logAll: true")
    (folder / "config.yaml").write_text(f"{text}dumpPredictionsToCSV: true\n")
    assert cli.main(["fit", *ON_CPU]) == 0
    summary = yaml.safe_load((folder / "summary.yaml").read_text())
    assert summary["completed"] is True and summary["folds"] == [0, 1] and len(summary["stages"]) == 2
    spread = summary["allStages"]["categorical_accuracy"]
    assert spread["min"] <= spread["mean"] <= spread["max"]
    assert 0 <= summary["allStages"]["macro_f1_holdout"] <= 1
    for fold in (0, 1):
        for stage in (0, 1):
            with (folder / "metrics" / f"metrics-{fold}.{stage}.csv").open() as file:
                rows = list(csv.DictReader(file))
            measured = ["loss", "lr", "macro_f1", "val_categorical_accuracy", "val_loss", "val_macro_f1"]
            assert list(rows[0]) == ["epoch", "categorical_accuracy", *measured]
            # Shares of so few images.
            assert float(rows[0]["categorical_accuracy"]) * 8 == pytest.approx(
                round(float(rows[0]["categorical_accuracy"]) * 8)
            )
            assert [row["epoch"] for row in rows] == ["0"]
        # The only batch of the second stage has the epoch's loss.
        (batch,) = list(csv.DictReader((folder / "metrics" / f"metrics-{fold}.1.csvall.csv").open()))
        assert (batch["epoch"], batch["batch"]) == ("0", "0") and float(batch["lr"]) == float(rows[0]["lr"])
        assert float(batch["loss"]) == pytest.approx(float(rows[0]["loss"]), rel=1e-5)
        assert not (folder / "metrics" / f"metrics-{fold}.0.csvall.csv").exists()
        assert len(list((folder / "weights").glob(f"best-{fold}.*.weights"))) == 2
    stay, held = yaml.safe_load((folder / "config.yaml.holdout_split").read_text())
    # The worked draw of Python's random with seed 123 and 20 rows.
    assert sorted([*stay, *held]) == list(range(20)) and len(held) == 4
    folds = yaml.safe_load((folder / "config.yaml.folds_split").read_text())
    assert sorted(row for _, val in folds for row in val) == list(range(16))
    assert not (folder / "inProgress.yaml").exists()
    for stage, fold in ((0, 0), (0, 1), (1, 0), (1, 1)):
        with Image.open(folder / "examples" / str(stage) / str(fold) / "epoch_0.jpg") as grid:
            assert grid.format == "JPEG" and min(grid.size) > 96

    _tables_agree_with_the_summary(folder, summary)
    capsys.readouterr()
    assert cli.main(["fit", *ON_CPU]) == 0
    assert "every experiment is finished" in capsys.readouterr().out

    # The same rows again, now from the files, whatever the configuration says.
    text = (folder / "config.yaml").read_text().replace("testSplit: 0.2", "testSplit: 0.4")
    (folder / "config.yaml").write_text(text)
    before = yaml.safe_load((folder / "summary.yaml").read_text())
    assert cli.main(["fit", "--name", "first", "--only_report", "True", *ON_CPU]) == 0
    assert yaml.safe_load((folder / "summary.yaml").read_text()) == before

    assert cli.main(["analyze", "--inputFolder=experiments", "--sortBy", "val_macro_f1", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))
    assert facts["experiments"] == 1
    with (project / "experiments" / "report.csv").open() as file:
        assert next(csv.DictReader(file))["fold_count"] == "2"


def test_data_that_functions_of_the_project_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        musket_project.CONFIG.replace("[32, 32, 3]", "[48, 96, 3]")
        .replace("batch: 8\n", "")
        .replace("  - epochs: 1\n    negatives: 1\n", "")
    )
    text += (
        "datasets:\n  more:\n    getTrain: [6, 1]\nextra_train_data: more\n"
        "dataset_augmenter: {name: twice, mirrored: true}\n"
        "crops: 2\nbatch: 32\ndeclarations:\n  bright:\n    - brighter: {by: 20}\n    - disk-cache:\n"
        "preprocessing: bright\ntransforms:\n  Flipud: 1.0\ntestTimeAugmentation: true\n"
    )
    folder = musket_project.make(tmp_path, config=text)
    (tmp_path / "modules" / "changes_of_a_test.py").write_text(
        "import numpy as np\n"
        "from musket_core import preprocessing\n"
        "from musket_core.datasets import CompositeDataSet, PredictionItem\n\n\n"
        "@preprocessing.dataset_preprocessor\n"
        "def brighter(x, by):\n"
        "    return np.minimum(x.astype(int) + by, 255).astype(np.uint8)\n\n\n"
        "class Mirror:\n"
        "    def __init__(self, inner):\n"
        "        self.inner = inner\n\n"
        "    def __len__(self):\n"
        "        return len(self.inner)\n\n"
        "    def __getitem__(self, item):\n"
        "        found = self.inner[item]\n"
        "        return PredictionItem(found.id, found.x[:, ::-1], found.y)\n\n\n"
        "def twice(mirrored):\n"
        "    return lambda inner: CompositeDataSet([inner, Mirror(inner)])\n"
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", *ON_CPU]) == 0
    record = json.loads(next((tmp_path / "results" / "first").glob("tasks/*/models/*/record.json")).read_text())
    # 40 items of the train part, 8 of them held out; both halves of the rest validate, all learn the 6 items beside.
    assert record["counts"] == {"train": 22, "val": 16, "test": 8, "unlabelled": 0}
    assert record["environment"]["tta"] == "hv" or "vertical" in record["environment"]["tta"]
    kept = sorted((tmp_path / ".cache" / "steps").glob("*/*.npz"))
    assert len(kept) == 26 and (folder / "summary.yaml").is_file()
    whole, held = (classification.parse(folder / "config.yaml").get_dataset(name) for name in ("dataset", "holdout"))
    # Items of the augmenter's come after the others, and all went through the chain.
    assert len(whole) == 40 and len(held) == 8 and (whole[20].x == whole[0].x[:, ::-1]).all()
    assert whole[0].x.min() >= 20 and held[0].x.min() >= 20
    stamps = [path.stat().st_mtime_ns for path in kept]
    assert cli.main(["fit", "--name", "first", "--force_recalc", "True", *ON_CPU]) == 0
    assert [path.stat().st_mtime_ns for path in kept] == stamps


def test_several_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = musket_project.CONFIG.replace("  - epochs: 1\n    negatives: 1\n", "") + "num_seeds: 2\n"
    folder = musket_project.make(tmp_path, config=text)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", "--folds", "0", *ON_CPU]) == 0
    parent = yaml.safe_load((folder / "summary.yaml").read_text())
    assert set(parent) == {"mean", "max", "min", "std"}
    seeds = [yaml.safe_load((folder / str(seed) / "config_concrete.yaml").read_text()) for seed in (0, 1)]
    assert [one["testSplitSeed"] for one in seeds] == [123, 124] and "num_seeds" not in seeds[0]
    assert (folder / "metrics" / "1" / "metrics-0.0.csv").is_file()


def test_a_network_a_loss_views_and_metrics_of_the_projects_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = musket_project.CONFIG.replace("ResNet18", "small_net").replace("0.1*dice_loss", "0.1*squares")
    folder = musket_project.make(tmp_path, config=text + "testTimeAugmentation: both_ways\nwidth: 6\n")
    text = (folder / "config.yaml").read_text().replace("val_macro_f1", "val_share_right")
    text = text.replace("metrics: [", "final_metrics: [share_right, wrong_ones]\nmetrics: [")
    (folder / "config.yaml").write_text(text)
    (tmp_path / "modules" / "own_parts_of_a_test.py").write_text(
        "import numpy as np\n"
        "from musket_core.metrics import final_metric\n"
        "from torch import nn\n\n\n"
        "def share_right(y_true, y_pred):\n"
        "    return (y_true.argmax(1) == y_pred.argmax(1)).float()\n\n\n"
        "@final_metric\n"
        "def wrong_ones(model, items):\n"
        "    return sum(item.y.argmax() != item.prediction.argmax() for item in items) / len(items)\n\n\n"
        "def small_net(input_shape, width):\n"
        "    return nn.Sequential(nn.Conv2d(input_shape[2], width, 3), nn.BatchNorm2d(width), nn.ReLU())\n\n\n"
        "def squares(y_true, y_pred):\n"
        "    return (y_true - y_pred).square().sum(1)\n\n\n"
        "def both_ways(image):\n"
        "    return [image, np.fliplr(image)]\n"
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", *ON_CPU]) == 0
    found = yaml.safe_load((folder / "summary.yaml").read_text())["allStages"]
    assert found["share_right"] == found["categorical_accuracy"]
    assert found["share_right_holdout"] + found["wrong_ones_holdout"] == pytest.approx(1)
    with (folder / "metrics" / "metrics-0.0.csv").open() as file:
        row = next(csv.DictReader(file))
    assert row["val_share_right"] == row["val_categorical_accuracy"] and "val_wrong_ones" not in row
    record = next((tmp_path / "results" / "first" / "tasks").glob("*/models/*/record.json"))
    stored = json.loads(record.read_text())
    assert stored["monitor"] == "val/share_right (max)" and "wrong_ones" in stored["scores"]["val"]
    assert (stored["arch"], stored["environment"]["tta"]) == ("small_net", "own (both_ways)")


NUMBERS = """
import numpy as np
from musket_core.datasets import PredictionItem
from torch import nn


class Numbers:
    def __init__(self, width):
        self.width = width

    def __len__(self):
        return 12

    def __getitem__(self, item):
        x = np.random.default_rng(item).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        y = np.array([item / 12.0])
        return PredictionItem(item, x, y if self.width == 1 else [np.eye(2)[item % 2], np.eye(2)[item // 2 % 2]])


def getNumbers(width=1):
    return Numbers(width)


def tiny(input_shape):
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU())
"""
OF_NUMBERS = """architecture: tiny
classes: 1
activation: linear
shape: [16, 16, 3]
optimizer: Adam
batch: 4
folds_count: 2
loss: mse
metrics: [mse]
primary_metric: val_loss
dataset: {getNumbers: [1]}
stages: [{epochs: 1}]
"""


@pytest.mark.parametrize(("text", "changes"), [
    (OF_NUMBERS, ["activation: softplus", "activation: exponential", "activation: linear"]),
    (
        OF_NUMBERS.replace("[1]", "[2]").replace("classes: 1", "classes: [2, 2]").replace("metrics: [mse]", "metrics: []"),
        ["activation: [softmax, sigmoid]", "activation: [softmax, softmax]"],
    ),
])  # fmt: skip
def test_the_current_activation_is_what_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, changes: list[str]
) -> None:
    """As an experiment of its own would, which nothing was trained in before."""
    first = text.replace("activation: linear", "activation: [softmax, softmax]") if "[2, 2]" in text else text
    folder = musket_project.make(tmp_path, config=first)
    (tmp_path / "modules" / "numbers_of_a_test.py").write_text(NUMBERS)
    monkeypatch.chdir(tmp_path)

    def predicted(name: str) -> Any:
        assert cli.main(["fit", "--name", name, *ON_CPU]) == 0
        experiment = classification.parse(tmp_path / "experiments" / name / "config.yaml")
        experiment.overrides = ["sys.threads=1", "trainer.accelerator=cpu"]
        return experiment.predict_all_to_array(experiment.get_dataset("dataset"), [0, 1])

    shown = [predicted("first")]
    for number, change in enumerate(changes):
        activation = next(line for line in first.splitlines() if line.startswith("activation"))
        (folder / "config.yaml").write_text(first.replace(activation, change))
        fresh = musket_project.make(tmp_path, name=f"fresh{number}", config=first.replace(activation, change))
        shown.append(predicted("first"))
        assert np.array_equal(shown[-1], predicted(fresh.name))
        assert not np.array_equal(shown[-1], shown[-2])
    if "[2, 2]" not in text:
        assert np.array_equal(shown[0], shown[-1])


PAIR = """
import numpy as np
import torch
from musket_core import preprocessing
from torch import nn


@preprocessing.dataset_preprocessor
def grey(x):
    return x.mean(2).astype(np.uint8)


class Pair(nn.Module):
    def __init__(self, input_shape):
        super().__init__()
        (_, _, first), (_, _, second) = input_shape
        self.first, self.second = nn.Conv2d(first, 3, 3), nn.Conv2d(second, 2, 5)

    def forward(self, inputs):
        first, second = inputs
        return torch.cat([self.first(first).mean((2, 3)), self.second(second).mean((2, 3))], 1)
"""


def test_a_network_is_given_the_inputs_of_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = OF_NUMBERS.replace("tiny", "Pair") + "preprocessing: [{split-preprocessor: [[pass], [grey]]}]\n"
    folder = musket_project.make(tmp_path, config=text)
    (tmp_path / "modules" / "numbers_of_a_test.py").write_text(NUMBERS)
    (tmp_path / "modules" / "pair_of_a_test.py").write_text(PAIR)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", "--folds", "0", *ON_CPU]) == 0
    experiment = classification.parse(folder / "config.yaml")
    experiment.overrides = ["sys.threads=1", "trainer.accelerator=cpu"]
    # A fresh prediction of the validation items has the error that the training reported of its best epoch.
    predicted, truth = experiment.evaluate_all_to_arrays("dataset", 0)
    reported = yaml.safe_load((folder / "summary.yaml").read_text())["allStages"]["mse"]["mean"]
    assert float(((predicted - truth) ** 2).mean()) == pytest.approx(reported, rel=1e-4)
    # A set of the experiment's own went through its chain already, as those that tasks are given.
    whole = experiment.get_dataset("dataset")
    assert whole[0].x[1].shape == (16, 16)
    by_name = experiment.predict_all_to_array("dataset", 0)
    assert np.array_equal(experiment.predict_all_to_array(whole, 0), by_name)
    assert by_name[experiment._rows(experiment._record(0), "val")] == pytest.approx(predicted)


class _Wrapped:
    """A set of somebody's own that holds another one."""

    def __init__(self, inner: Any) -> None:
        self.parts = [inner]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, item: int) -> Any:
        return self.parts[0][item]


def test_sets_around_those_of_the_experiment_are_changed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holdout that was drawn before `pretrain_transform` stays one, whoever is given the experiment's own set."""
    one_stage = musket_project.CONFIG.replace("  - epochs: 1\n    negatives: 1\n", "")
    text = one_stage + "preprocessing: [{brighter: {by: 20}}]\npretrain_transform: fewer\n"
    folder = musket_project.make(tmp_path, config=text)
    (tmp_path / "modules" / "changes_of_a_test.py").write_text(
        "from musket_core import preprocessing\n"
        "from musket_core.datasets import SubDataSet\n\n\n"
        "@preprocessing.dataset_preprocessor\n"
        "def brighter(x, by):\n"
        "    return x + by\n\n\n"
        "def fewer(ds):\n"
        "    return SubDataSet(ds, range(2, len(ds)))\n"
    )
    monkeypatch.chdir(tmp_path)
    experiment = classification.parse(folder / "config.yaml")
    experiment.overrides = ["sys.threads=1", "sys.num_workers=0", "trainer.accelerator=cpu"]
    whole = experiment.get_dataset("dataset")
    # 20 items, of which 4 are held out and 2 left out.
    assert len(whole) == 18
    wrapped = _Wrapped(whole)
    with pytest.raises(DataError, match="is made of one that has its validation or holdout in it"):
        experiment.fit(wrapped)
    summary = experiment.fit(whole)
    record = json.loads(next((tmp_path / "results" / "first").glob("tasks/*/models/*/record.json")).read_text())
    assert record["counts"] == {"train": 7, "val": 7, "test": 4, "unlabelled": 0}
    assert "macro_f1_holdout" in summary["allStages"]
    expected = experiment.predict_all_to_array(whole, [0, 1])
    joined = CompositeDataSet([SubDataSet(whole, range(9)), SubDataSet(whole, range(9, 18))])
    for one in (wrapped, _Wrapped(wrapped), joined):
        assert np.array_equal(experiment.predict_all_to_array(one, [0, 1]), expected)
    with pytest.raises(DataError, match="only some of its items went through preprocessing"):
        experiment.predict_all_to_array(CompositeDataSet([whole, [whole[0]]]), 0)


def test_seeds_follow_a_changed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = musket_project.make(tmp_path, config=OF_NUMBERS + "num_seeds: 3\n")
    (tmp_path / "modules" / "numbers_of_a_test.py").write_text(NUMBERS)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", *ON_CPU]) == 0

    def written() -> list[dict[str, Any]]:
        return [yaml.safe_load((folder / str(seed) / "config_concrete.yaml").read_text()) for seed in range(3)]

    # A seed that somebody chose stays, too.
    chosen = {**written()[1], "random_state": 77}
    (folder / "1" / "config_concrete.yaml").write_text(yaml.safe_dump(chosen))
    text = OF_NUMBERS.replace("epochs: 1", "epochs: 2").replace("batch: 4", "batch: 2")
    (folder / "config.yaml").write_text(text + "num_seeds: 2\n")
    assert cli.main(["fit", "--name", "first", *ON_CPU]) == 0
    assert [(one["testSplitSeed"], one["random_state"]) for one in written()] == [(123, 33), (124, 77), (125, 35)]
    assert [one["batch"] for one in written()] == [2, 2, 4] and written()[0]["stages"] == [{"epochs": 2}]
    for seed in (0, 1):
        rows = (folder / str(seed) / "metrics" / "metrics-0.0.csv").read_text().splitlines()
        assert len(rows) == 1 + 2
        # A single stage stands twice, without YAML's anchors, which simple readers do not know.
        text = (folder / str(seed) / "summary.yaml").read_text()
        summary = yaml.safe_load(text)
        assert summary["stages"] == [summary["allStages"]] and not {"&", "*"} & set(text)
        record = records.load_all(Project(tmp_path / "results" / f"first-{seed}"))[-1]
        stored = yaml.safe_load((tmp_path / "results" / f"first-{seed}" / "tasks" / record.task / "models" / record.id
                                 / "config.yaml").read_text())  # fmt: skip
        assert stored["sampling"]["batch_size"] == 2
    assert sorted(link.name for link in (folder / "metrics").iterdir()) == ["0", "1"]
    of_seeds = [records.load_all(Project(tmp_path / "results" / f"first-{seed}"))[-2:] for seed in (0, 1)]
    values = [np.mean([one.scores["val"]["loss"] for one in found]) for found in of_seeds]
    assert yaml.safe_load((folder / "summary.yaml").read_text())["mean"] == pytest.approx(np.mean(values))


def test_a_changed_file_is_not_resumed_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = musket_project.make(tmp_path, config=OF_NUMBERS)
    (tmp_path / "modules" / "numbers_of_a_test.py").write_text(NUMBERS)
    monkeypatch.chdir(tmp_path)
    asked = 0

    class Soon(steps.Stop):
        def __call__(self) -> bool:
            nonlocal asked
            asked += 1
            self.asked = self.asked or asked > 4
            return self.asked

    def stopped() -> None:
        nonlocal asked
        asked = 0
        with monkeypatch.context() as patched:
            patched.setattr(steps, "Stop", Soon)
            assert cli.main(["fit", "--name", "first", *ON_CPU]) == 75

    def epochs() -> int:
        return len((folder / "metrics" / "metrics-0.0.csv").read_text().splitlines()) - 1

    def runs() -> int:
        return len(list((tmp_path / "results" / "first" / "runs").glob("*/*")))

    stopped()
    assert cli.main(["fit", "--name", "first", "--allow_resume", "True", *ON_CPU]) == 0
    assert (epochs(), runs()) == (1, 1)
    stopped()
    (folder / "config.yaml").write_text(OF_NUMBERS.replace("epochs: 1", "epochs: 3"))
    assert cli.main(["fit", "--name", "first", "--allow_resume", "True", *ON_CPU]) == 0
    assert (epochs(), runs()) == (3, 3)
