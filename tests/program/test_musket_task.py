"""`mml task`: functions of a Musket project on its trained experiment, from the command line on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlpipe import cli
from tests import musket_project
from tests.build import ON_CPU

MODULE = """
import numpy as np
from musket_core import tasks
from musket_core.datasets import DataSet
from musket_core.model import ConnectedModel


@tasks.task
def predict_more(m: ConnectedModel, more: DataSet, digits=3):
    found = m.predict_all_to_array(more, [0, 1], -1)
    np.savetxt("predicted.csv", found.round(digits), delimiter=",")
    return len(found)


@tasks.task()
def parts(train, validation, holdout: DataSet, ds: DataSet):
    assert holdout.isPositive(0) in (True, False)
    return [len(train), len(validation), len(holdout), len(ds)]


@tasks.task
def puzzled(what):
    return what


@tasks.task
def broken(m):
    raise RuntimeError("no task today")
"""
EXTRA = """
datasets:
  more:
    getTrain: [6, 1]
tasks:
  predict_more: {digits: 2}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    text = musket_project.CONFIG.replace("  - epochs: 1\n    negatives: 1\n", "") + EXTRA
    musket_project.make(tmp_path, config=text)
    (tmp_path / "modules" / "tasks_of_a_test.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_cannot_be_run_ends_with_2(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["task", "--name", "first"]) == 2
    assert "mode.name: is not trained yet, got 'first'; mml fit trains it" in capsys.readouterr().err
    assert cli.main(["task", "--name", "frist"]) == 2
    assert "did you mean 'first'?" in capsys.readouterr().err
    assert cli.main(["task"]) == 0
    assert "no experiment is finished" in capsys.readouterr().out
    (project / "experiments" / "first" / "summary.yaml").write_text("completed: true\n")
    assert cli.main(["task", "--task", "predict_mor,all_of_it"]) == 2
    err = capsys.readouterr().err
    assert "did you mean 'predict_more'" in err and "got 'all_of_it'" in err
    assert cli.main(["task", "--task", "puzzled"]) == 2
    assert "task puzzled: nothing says what this parameter is, got 'what'" in capsys.readouterr().err


def test_tasks_that_an_experiment_cannot_run_are_told_before_it_trains(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "experiments" / "first"
    text = (folder / "config.yaml").read_text().replace("testSplit: 0.2\n", "batch: many\n")
    (folder / "config.yaml").write_text(text.replace("batch: 8\n", ""))
    assert cli.main(["fit", "--name", "first", "--launch_tasks", "True", "optimizer.lr=3"]) == 2
    told = capsys.readouterr().err
    (folder / "config.yaml").write_text(text.replace("batch: many\n", ""))
    assert "optimizer.lr: is not for mml fit, which goes by the experiments' files; write mml fit --overrides" in told
    assert "first: batch: must be a whole number >= 1, got 'many'" in told
    assert cli.main(["fit", "--name", "first", "--launch_tasks", "True"]) == 2
    told = capsys.readouterr().err
    assert "first: task puzzled: nothing says what this parameter is, got 'what'" in told
    assert "first: task predict_holdout: this configuration has no holdout, got 'holdout'; add testSplit: 0.2" in told
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml"]


def test_code_of_another_folder_is_not_run(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    (project / "experiments" / "first" / "summary.yaml").write_text("completed: true\n")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert cli.main(["task", "--project", str(project), "--task", "puzzled"]) == 2
    assert "modules: holds code from outside the current folder" in capsys.readouterr().err


def test_tasks_of_an_experiment_that_is_trained_first(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--name", "first", "--task", "predict_more, parts", "--allow_resume", "True"]
    assert cli.main(["task", *words, *ON_CPU, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["tasks"]["first"]
    assert told == {"predict_more": 6, "parts": [16, 8, 4, 20]}
    lines = (project / "experiments" / "first" / "predict_more" / "predicted.csv").read_text().splitlines()
    assert len(lines) == 6 and all(abs(sum(map(float, line.split(","))) - 1) < 0.02 for line in lines)
    assert Path.cwd() == project
    assert cli.main(["task", "--task", "broken", *ON_CPU]) == 1
    assert "task broken: fails (RuntimeError: no task today)" in capsys.readouterr().err
