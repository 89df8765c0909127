"""Every argument of Musket's scripts: three ways to write it, and what each does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mlpipe import command_line
from mlpipe.dialects.musket.commands.fit import FitScheduler
from mlpipe.errors import ConfigError
from mlpipe.running import launch
from tests import musket_project

FIT = {
    "project": "path/to/project",
    "name": "experiment_name1, experiment_name2",
    "num_gpus": 1,
    "gpus_per_net": 1,
    "num_workers": 3,
    "allow_resume": True,
    "force_recalc": True,
    "launch_tasks": True,
    "only_report": True,
    "cache": "path/to/cache/folder",
    "folds": "1,2",
}
TASK = {key: value for key, value in FIT.items() if key not in ("only_report", "folds")} | {"task": "all"}
ANALYZE = {"inputFolder": "path/to/project", "output": "a/report.scv", "onlyMetric": "metric_name", "sortBy": "12"}


def parameters(mode: str, words: list[str]) -> dict[str, Any]:
    call = command_line.parse([mode, *words])
    return dict(launch.prepare(launch.Command(mode, call.overrides)).run_config.scheduler.params)


@pytest.mark.parametrize(("mode", "given"), [("fit", FIT), ("task", TASK), ("analyze", ANALYZE)])
def test_each_argument_is_taken_in_three_ways(mode: str, given: dict[str, Any]) -> None:
    apart = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    joined = [f"--{key}={value}" for key, value in given.items()]
    quoted = {key: f"'{value}'" if isinstance(value, str) else value for key, value in given.items()}
    native = [f"mode.{key}={value}" for key, value in quoted.items()]
    for words in (apart, joined, native):
        found = parameters(mode, words)
        assert {key: found[key] for key in given} == given


def scheduler(**given: Any) -> FitScheduler:
    words = [f"mode.{key}={value}" for key, value in {"project": ".", **given}.items()]
    prepared = launch.prepare(launch.Command("fit", words))
    made: FitScheduler = prepared.run_config.scheduler.build(prepared.run_config, None)
    return made


def trains_with(project: Path, **given: Any) -> list[str]:
    return scheduler(**given)._train_overrides(project / "experiments" / "first" / "config.yaml", "train")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    musket_project.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_arguments_of_fit_do(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = trains_with(project)
    assert not [one for one in usual if one.startswith(("mode.folds", "trainer.devices", "sys.fold_workers"))]
    assert f"data_dir='{project / '.cache'}'" in usual
    assert "mode.folds=[1,2]" in trains_with(project, folds="'1, 2'")
    assert "mode.folds=[3]" in trains_with(project, folds="3")
    assert "sys.num_workers=4" in trains_with(project, num_workers=4)
    assert f"data_dir='{project / 'kept'}'" in trains_with(project, cache="kept")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert "sys.fold_workers=3" in trains_with(project, num_gpus=3)
    assert "trainer.devices=2" in trains_with(project, num_gpus=4, gpus_per_net=2)
    # No more than there are.
    assert "sys.fold_workers=4" in trains_with(project, num_gpus=9)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert trains_with(project, num_gpus=3, gpus_per_net=2) == usual


def test_names_choose_experiments_in_their_order_and_finished_ones_are_left_out(project: Path) -> None:
    for name in ("second", "deep/third"):
        folder = musket_project.make(project, name=name)
        assert folder.is_dir()
    (project / "experiments" / "second" / "summary.yaml").write_text("completed: true\n")

    def steps(**given: Any) -> list[str]:
        return [step.name for step in scheduler(**given).plan()]

    assert steps() == ["fit experiments/deep/third", "fit experiments/first"]
    assert steps(name="'second, first'") == ["fit experiments/second", "fit experiments/first"]
    assert steps(only_report=True)[-1] == "fit experiments/second"
    assert steps(name="first", launch_tasks=True) == ["fit experiments/first", "task experiments/first predict_holdout"]
    with pytest.raises(ConfigError, match="mode.name: there is no such experiment, got 'thrid'"):
        steps(name="thrid")


def test_inside_an_experiments_folder_its_project_is_meant(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "experiments" / "first")
    prepared = launch.prepare(launch.Command("fit", []))
    made = prepared.run_config.scheduler.build(prepared.run_config, None)
    assert (made._root, made._names) == (project, ["first"])
