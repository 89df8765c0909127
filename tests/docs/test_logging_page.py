"""The page on loggers: every command on it that needs no server runs, in one project."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from mlpipe.cli import main
from mlpipe.runs.trackers.mlflow import default_address

PAGE = (Path(__file__).parents[2] / "docs" / "logging.md").read_text("utf-8")
# What is between fences; blocks of a named language need a server or another program.
COMMANDS = [line for block in PAGE.split("```")[1::2] if block.startswith("\n") for line in block.strip().splitlines()]
QUICK = [
    "arch=test_resnet", "arch.pretrained=false", "trainer.max_epochs=1", "sys.threads=1", "mode.cv=false",
    "preprocessing.size=16", "split.folds=3",
]  # fmt: skip


ENDS = {"": "value", "_low": "low", "_high": "high"}


def runs_of_mlflow(project: Path) -> list[Any]:
    """All runs of the project's own file."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(default_address(project))
    (experiment,) = [one for one in client.search_experiments() if one.name == "logged"]
    return list(client.search_runs([experiment.experiment_id]))


@pytest.mark.program
def test_the_commands_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], few_digits: None
) -> None:
    for package in ("mlflow", "wandb", "tensorboard"):
        pytest.importorskip(package, reason=f"the extra {package} is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert len(COMMANDS) == 5
    for command in COMMANDS:
        _, mode, *arguments = shlex.split(command)
        assert main([mode, *arguments, *(QUICK if mode == "train" else [])]) == 0, command
    told = "".join(capsys.readouterr())
    assert "goes on without it" not in told and "was not written" not in told
    project = tmp_path / "results" / "logged"
    assert (project / "mlflow.db").is_file()
    assert len(list(project.glob("runs/*/*/logs/wandb/offline-run-*/*.wandb"))) == 2
    # What is judged again by mml post belongs to the training, not to another run.
    (table,) = project.glob("runs/*/*/logs/scores.csv")
    runs = runs_of_mlflow(project)
    assert sorted(one.data.tags["mml.record"] == "all" for one in runs) == [False, True]
    (whole,) = [one for one in runs if one.data.tags["mml.record"] == "all"]
    assert {one.data.tags.get("mlflow.parentRunId") for one in runs} == {None, whole.info.run_id}
    assert {one.info.status for one in runs} == {"FINISHED"}
    newest = max(project.glob("tasks/digits/ensembles/*.json"), key=lambda file: file.stat().st_mtime_ns)
    (part, scores), *_ = json.loads(newest.read_text())["scores"].items()
    expected = {f"final/{part}/accuracy{end}": scores["accuracy"][key] for end, key in ENDS.items()}
    assert {name: whole.data.metrics[name] for name in expected} == pytest.approx(expected)
    rows = {row["score"]: float(row["value"]) for row in csv.DictReader(table.read_text().splitlines())}
    assert {name: rows[name] for name in expected} == pytest.approx(expected)
    files = {file.name for file in (project / "mlflow_files").rglob("*") if file.is_file()}
    assert files == {"config.yaml", "report.html", "model_card.md"}
    assert list(project.glob("runs/*/*/logs/result/events*")) and list(
        project.glob("runs/*/*/logs/*/mine/*/metrics.csv")
    )
