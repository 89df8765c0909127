"""Runs of MLflow in a file, read back by its own client."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mlpipe.errors import ConfigError
from mlpipe.runs.trackers import mlflow
from mlpipe.runs.trackers.tracker import FINISHED, STOPPED, Place

pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
pytestmark = pytest.mark.program


def test_folds_are_children_of_one_run_and_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    place = Place("proj", tmp_path, "2026/one", tmp_path / "logs", "net-f0")
    first = mlflow.MlflowRun(place, experiment="some", run_tags={"team": "lab"})
    first.configure({"optimizer": {"lr": 0.1}, "text": "x" * 9000}, "optimizer: {lr: 0.1}\n")
    first.points({"val/loss": 2.0, "recall of ä!": 0.5}, 0)
    first.close(STOPPED)
    again = mlflow.MlflowRun(place, experiment="some")
    again.configure({"optimizer": {"lr": 0.1}}, "")
    again.points({"val/loss": 1.0}, 1)
    other = mlflow.MlflowRun(place.of("net-f1"), experiment="some")
    assert again.id == first.id != other.id
    again.close(FINISHED)

    client = MlflowClient(mlflow.default_address(tmp_path))
    (experiment,) = [one for one in client.search_experiments() if one.name == "some"]
    runs = {one.info.run_name: one for one in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"2026/one", "net-f0", "net-f1"}
    parent, child = runs["2026/one"], runs["net-f0"]
    assert {runs[name].data.tags["mlflow.parentRunId"] for name in ("net-f0", "net-f1")} == {parent.info.run_id}
    assert [(one.step, one.value) for one in client.get_metric_history(first.id, "val/loss")] == [(0, 2.0), (1, 1.0)]
    assert child.data.metrics["recall of ä_"] == 0.5
    assert child.data.params["optimizer.lr"] == "0.1" and child.data.tags["team"] == "lab"
    assert (child.info.status, parent.info.status) == ("FINISHED", "RUNNING")
    # Nothing lies in the folder of the command.
    assert not (Path.cwd() / "mlruns").exists()
    assert [one.path for one in client.list_artifacts(first.id)] == ["config.yaml"]


def test_a_fold_that_is_begun_anew_leaves_no_second_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    place = Place("proj", tmp_path, "2026/one", tmp_path / "logs", "net-f0")
    first = mlflow.MlflowRun(place)
    (place.folder / "mlflow.json").unlink()
    second = mlflow.MlflowRun(place)
    client = MlflowClient(mlflow.default_address(tmp_path))
    (experiment,) = [one for one in client.search_experiments() if one.name == "proj"]
    there = [one.info.run_id for one in client.search_runs([experiment.experiment_id], "tags.`mml.record` = 'net-f0'")]
    assert there == [second.id] and second.id != first.id


def test_what_is_no_address_is_told() -> None:
    assert mlflow.problems(None) == mlflow.problems("http://a") == mlflow.problems("sqlite:///a.db") == []
    (told,) = mlflow.problems("runs")
    assert told.startswith("logging.tracking_uri: is no address, got 'runs'; write the address of a server")


def test_a_file_of_somebody_elses_neither_computes_nor_leads_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "m.db"
    with closing(sqlite3.connect(file)) as opened:
        opened.executescript(
            "CREATE TABLE runs (a); CREATE TABLE secrets (a);"
            "CREATE TRIGGER own BEFORE UPDATE ON secrets BEGIN SELECT RAISE(ABORT, 'x'); END;"
        )
        mlflow.require_tables(file)
        opened.executescript("CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM runs; END")
    with pytest.raises(ConfigError, match="t is a view or a trigger"):
        mlflow.require_tables(file)
    mlflow.require_inside((tmp_path / "mlflow_files" / "a b").as_uri(), file)
    (tmp_path / "mlflow_files").mkdir()
    (tmp_path / "mlflow_files" / "out").symlink_to(tmp_path.parent)
    for place in ("file:///etc", f"{tmp_path}/mlflow_files/../x", f"{tmp_path}/mlflow_files/out", "s3://there/x"):
        with pytest.raises(ConfigError, match="keeps files of runs elsewhere"):
            mlflow.require_inside(place, file)
