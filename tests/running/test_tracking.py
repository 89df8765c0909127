"""What loggers are told of a run that ended well: all of them the same, once."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from mlpipe.errors import ProjectError
from mlpipe.running import launch, predictor, tracking
from mlpipe.runs import journal, trackers
from mlpipe.runs.project import Project
from mlpipe.runs.trackers.tracker import Place
from tests.build import DIGITS


class Server:
    """Keeps what it is told, by the name of its option."""

    told: list[tuple[str, Any]]

    def __init__(self, name: str, place: Place) -> None:
        self.name = name

    def configure(self, tree: Any, text: str) -> None:
        self.told.append((f"{self.name} configure", tree["proj"]))

    def points(self, values: Any, step: int) -> None:
        self.told.append((f"{self.name} points", (dict(values), step)))

    def file(self, path: Path) -> None:
        self.told.append((f"{self.name} file", path.name))

    def close(self, status: str) -> None:
        self.told.append((f"{self.name} close", status))


def test_all_loggers_are_told_once_of_what_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def found(name: str, **known: Any) -> Any:
        asked.append(name)
        raise ProjectError("no weights were kept")

    Server.told = []
    monkeypatch.setattr(predictor, "stored_models", found)
    monkeypatch.setattr(trackers, "_PACKAGES", ())
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(trackers._RUNS, name, lambda place, name=name: Server(name, place))
    command = launch.Command("train", [*DIGITS, "logging=[mlflow,wandb,csv]"])
    config, project = launch.prepare(command).run_config, Project(tmp_path / "results" / "default")
    run, report = journal.create(project), tmp_path / "report.html"
    report.write_text("<p>")
    facts = {"task": "digits", "report": str(report), "scores": {"test": {"accuracy": {"value": 0.5, "low": 0.25}}}}
    tracking.publish(config, project, run, facts)
    points = ({"final/test/accuracy": 0.5, "final/test/accuracy_low": 0.25}, 0)
    of_each = {"configure": "default", "points": points, "file": "report.html", "close": "finished"}
    assert Server.told == [(f"{name} {what}", value) for name in ("mlflow", "wandb") for what, value in of_each.items()]
    assert asked == ["default"]
    table = project.run_dir(run.name) / "logs" / "scores.csv"
    assert list(csv.reader(table.read_text("utf-8").splitlines()))[1:] == [
        ["final/test/accuracy", "0.5"],
        ["final/test/accuracy_low", "0.25"],
    ]
    # A run that is continued has told its scores.
    Server.told.clear()
    tracking.publish(config, project, run, facts)
    assert not [what for what, _ in Server.told if what.endswith("points")]
