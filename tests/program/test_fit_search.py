"""`mml fit` on experiments with hyperparameters, with a function after the holdout, and with nothing to train."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from mlpipe import cli
from mlpipe.api import classification
from mlpipe.errors import ConfigError
from tests import musket_project

ON_CPU = ["--num_workers", "0", "--overrides", "sys.threads=1 trainer.accelerator=cpu logging.examples=0"]
ONE_STAGE = musket_project.CONFIG.replace("  - epochs: 1\n    negatives: 1\n", "")
SEARCHED = ONE_STAGE.replace("batch: 8", "batch: 4*k").replace("optimizer: Adam", "optimizer: opt\nlr: 0.01*rate") + (
    "hyperparameters:\n  rate: [0.1, 1.0]\n  k: {range: [1, 2], type: int}\n  opt: {enum: [Adam, SGD]}\nmax_evals: 2\n"
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_convert_shows_one_training_of_a_search(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    musket_project.make(project, config=SEARCHED)
    assert cli.main(["convert", "recipe=experiments/first/config.yaml"]) == 0
    text = capsys.readouterr().out
    assert (
        "[lint] search: below is the training with the first values (given.rate=0.1 given.k=1 given.opt=Adam)" in text
    )
    found = yaml.safe_load(text)
    assert not {"hpo", "search_space"} & set(found) and {"hpo": "optuna"} not in found["defaults"]
    (project / "native.yaml").write_text(text)
    assert cli.main(["train", "recipe=native.yaml", "--cfg", "job"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["optimizer"]["lr"] == pytest.approx(0.001)


def test_a_file_that_searches_asks_for_values(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = musket_project.make(project, config=SEARCHED)
    recipe = f"recipe={folder / 'config.yaml'}"
    assert cli.main(["train", recipe, "hpo=none", "given.rate=0.5", "given.k=1", "--cfg", "job"]) == 2
    assert "given.opt: config.yaml searches it, so it has no value; add given.opt=VALUE" in capsys.readouterr().err
    assert cli.main(["train", recipe, "given.rate=0.5", "given.k=2", "given.opt=SGD", "--cfg", "job"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["optimizer"]["lr"] == 0.005 and shown["sampling"]["batch_size"] == 8 and shown["hpo"] == {}
    assert shown["optimizer"]["_target_"].endswith(".sgd")


def test_each_seed_is_searched_by_itself(project: Path) -> None:
    folder = musket_project.make(project, config=SEARCHED + "num_seeds: 2\n")
    assert cli.main(["fit", *ON_CPU]) == 0
    best, results = [], []
    for seed in ("0", "1"):
        summary = yaml.safe_load((folder / seed / "summary.yaml").read_text())
        assert summary["trials"] == 2 and (folder / seed / "trial1" / "weights").is_dir()
        trial = yaml.safe_load((folder / seed / "trial0" / "config.yaml").read_text())
        assert trial["testSplitSeed"] == 123 + int(seed)
        best.append(yaml.safe_load((folder / seed / "best.params.yaml").read_text()))
        results.append(summary["best"]["result"])
    assert best[0] != best[1]
    whole = yaml.safe_load((folder / "summary.yaml").read_text())
    assert (whole["min"], whole["max"]) == (pytest.approx(min(results)), pytest.approx(max(results)))
    assert not (folder / "weights").exists()


def test_an_experiment_with_hyperparameters(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = musket_project.make(project, config=SEARCHED)
    assert cli.main(["fit", "--launch_tasks", "True", *ON_CPU]) == 0
    trials = yaml.safe_load((folder / "hyperopt.trials").read_text())
    assert [one["state"] for one in trials] == ["complete", "complete"]
    assert yaml.safe_load((folder / "hyperopt.scores").read_text()) == [one["score"] for one in trials]
    best = max(trials, key=lambda one: float(one["score"]))
    assert yaml.safe_load((folder / "best.params.yaml").read_text()) == best["values"]
    for one in trials:
        home, values = folder / f"trial{one['trial']}", one["values"]
        written = yaml.safe_load((home / "config.yaml").read_text())
        assert written["lr"] == pytest.approx(0.01 * values["rate"]) and written["batch"] == 4 * values["k"]
        assert written["optimizer"] == values["opt"] and "hyperparameters" not in written
        summary = yaml.safe_load((home / "summary.yaml").read_text())
        with (home / "metrics" / "metrics-0.0.csv").open() as file:
            assert float(next(csv.DictReader(file))["lr"]) == pytest.approx(written["lr"])
        assert summary["completed"] is True and summary["folds"] == [0, 1]
        config = yaml.safe_load((project / "results" / "first" / "runs" / one["run"] / "config.yaml").read_text())
        assert config["optimizer"]["lr"] == pytest.approx(written["lr"])
        assert config["given"] == values == {key.partition(".")[2]: v for key, v in config["trial"]["params"].items()}
    summary = yaml.safe_load((folder / "summary.yaml").read_text())
    assert summary["trials"] == 2 and summary["best"]["trial"] == best["trial"]
    # The task ran on the folds of the best trial.
    assert (folder / "predict_holdout" / "predictions.csv").is_file()
    experiment = classification.parse(folder / "config.yaml")
    assert {record.run for record in experiment._records_of_folds(None)} == {best["run"]}

    capsys.readouterr()
    assert cli.main(["fit", *ON_CPU]) == 0
    assert "every experiment is finished" in capsys.readouterr().out
    assert cli.main(["analyze", "--inputFolder", "experiments"]) == 0
    with (project / "experiments" / "report.csv").open() as file:
        assert sorted(Path(row["path"]).parent.name for row in csv.DictReader(file)) == ["trial0", "trial1"]
    # Trials that are there count.
    (folder / "config.yaml").write_text(SEARCHED.replace("max_evals: 2", "max_evals: 3"))
    assert cli.main(["train", "recipe=experiments/first/config.yaml", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out[-2000:].partition("{")[2].join(["{", ""]))["trials"] == 3


def test_what_the_holdout_leaves_and_classes_to_spread(project: Path) -> None:
    text = ONE_STAGE + "stratified: true\ngroupFunc: thirds\npretrain_transform: doubled\n"
    folder = musket_project.make(project, config=text)
    (project / "modules" / "changes_of_a_test.py").write_text(
        "from musket_core.datasets import CompositeDataSet\n\n\n"
        "def thirds(ds):\n    return [item % 3 for item in range(len(ds))]\n\n\n"
        "def doubled(ds):\n    return CompositeDataSet([ds, ds])\n"
    )
    assert cli.main(["fit", *ON_CPU]) == 0
    record = json.loads(next((project / "results" / "first").glob("tasks/*/models/*/record.json")).read_text())
    assert record["counts"] == {"train": 16, "val": 16, "test": 4, "unlabelled": 0}
    experiment = classification.parse(folder / "config.yaml")
    assert [len(experiment.get_dataset(name)) for name in ("train", "holdout", "dataset")] == [32, 4, 36]
    before = yaml.safe_load((folder / "summary.yaml").read_text())
    assert cli.main(["fit", "--name", "first", *ON_CPU]) == 0
    assert yaml.safe_load((folder / "summary.yaml").read_text()) == before


def test_a_network_that_is_not_trained(project: Path) -> None:
    folder = musket_project.make(project, config=ONE_STAGE)
    assert cli.main(["fit", *ON_CPU]) == 0
    trained = yaml.safe_load((folder / "summary.yaml").read_text())["allStages"]
    weights = folder / "weights" / "best-0.0.weights"
    text = ONE_STAGE.replace("  - epochs: 1\n", f"  - epochs: 1\n    initial_weights: {weights}\n")
    again = musket_project.make(project, name="again", config=text + "noTrain: true\n")
    assert cli.main(["fit", "--name", "again", "--folds", "0", *ON_CPU]) == 0
    found = yaml.safe_load((again / "summary.yaml").read_text())["allStages"]
    # Fold 0 as it was trained, told by its weights alone.
    with (folder / "metrics" / "metrics-0.0.csv").open() as file:
        first = next(csv.DictReader(file))
    with (again / "metrics" / "metrics-0.0.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["val_macro_f1"]) == pytest.approx(float(first["val_macro_f1"]), abs=1e-6)
    assert found["categorical_accuracy"]["mean"] in (
        trained["categorical_accuracy"]["min"],
        trained["categorical_accuracy"]["max"],
    )
    assert (again / "weights" / "best-0.0.weights").read_bytes() == weights.read_bytes()


def test_a_searched_file_without_a_search_is_refused_in_python(project: Path) -> None:
    folder = musket_project.make(project, config=SEARCHED.replace("[0.1, 1.0]", "[1.0]"))
    with pytest.raises(ConfigError, match=r"hyperparameters.rate: a range has two numbers"):
        classification.parse(folder / "config.yaml")
