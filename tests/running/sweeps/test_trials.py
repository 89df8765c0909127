"""What a trial is worth: the mean over its folds, whatever else its run has records of."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from mlpipe.errors import ConfigError
from mlpipe.running.sweeps import trials
from mlpipe.runs import studies
from mlpipe.runs.project import Project
from tests.build import make_record


def test_heads_of_several_outputs_are_no_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold's loss is that of all outputs; each head has a record of the run with its own, and the mean was over all."""
    project, run = Project(tmp_path / "p"), "2026-01-01/00-00-00-aaaa"
    for fold, (loss, parts) in enumerate(((3.0, (1.0, 2.0)), (5.0, (1.5, 3.5)))):
        facts: dict[str, Any] = {"run": run, "fold": fold, "config": "seed: 1\n"}
        make_record(project, f"net-f{fold}", pivot="rows", task="rows", scores={"val": {"loss": loss}}, **facts)
        for name, own in zip(("width", "a b"), parts, strict=True):
            pivot = f"rows+head?{name}"
            scores = {"val": {"loss": own, "accuracy": 0.5}}
            make_record(project, f"net-f{fold}-{name}", pivot=pivot, task=pivot, scores=scores, **facts)
    make_record(
        project, "net-refit", pivot="rows", task="rows", run=run, config="seed: 1\n", refit=["net-f0", "net-f1"]
    )
    search: Any = SimpleNamespace(project=project, metrics=("val/loss",), directions=("minimize",))
    search.hpo = SimpleNamespace(pruner="none")
    search.trial = lambda params, number: None
    monkeypatch.setattr(trials.launch, "execute", lambda prepared, **more: {"run": run})
    trial: Any = SimpleNamespace(params={}, number=0, set_user_attr=lambda name, value: None)
    assert trials._measure(search, trial, None, SimpleNamespace(), None) == [4.0]  # type: ignore[arg-type]


def _search(task_name: str, **sections: Any) -> Any:
    search = SimpleNamespace(
        study="s", address="x", task=task_name, metrics=("val/loss",), directions=("minimize",), space={}
    )
    search.shared = lambda: {"seed": 0, "task": {"file": "/work/table.csv"}, **sections}
    return search


def _older_study(task: dict[str, str]) -> optuna.Study:
    """Return a study as version 0.1.0 began it, without its task."""
    study = optuna.create_study()
    study.set_user_attr(studies.BASE, json.dumps({"seed": 0, "task": task}))
    study.set_user_attr(studies.METRICS, ["val/loss"])
    return study


def test_a_refused_command_leaves_an_older_study_as_it_was() -> None:
    study = _older_study({"file": "/work/table.csv"})
    with pytest.raises(ConfigError, match="was begun with another seed"):
        trials._require_same(_search("other", seed=1), study)
    trials._require_same(_search("table"), study)
    assert study.user_attrs[studies.TASK] == "table"
    with pytest.raises(ConfigError, match="with the images of task table, these are other"):
        trials._require_same(_search("other"), study)


def test_an_older_study_goes_on_as_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its paths are as they were typed, and it has no section of stages."""
    monkeypatch.chdir(tmp_path)
    now = {"task": {"val_file": str(tmp_path / "boxes.json")}, "stages": {"list": [{"epochs": 1}]}}
    study = _older_study({"val_file": "boxes.json"})
    trials._require_same(_search("boxes", **now), study)
    assert json.loads(study.user_attrs[studies.BASE]) == {"seed": 0, **now}
    with pytest.raises(ConfigError, match="was begun with another stages"):
        trials._require_same(_search("boxes", **{**now, "stages": {"list": []}}), study)
