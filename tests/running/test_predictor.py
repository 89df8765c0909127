"""What `api.load` is told, and where that leads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlpipe import files
from mlpipe.errors import ConfigError, ProjectError
from mlpipe.running import predictor
from mlpipe.running.predictor import Stored
from mlpipe.runs import ensembles, journal
from mlpipe.runs.project import Project
from tests.build import make_record
from tests.test_stored import an_ensemble


def found(where: str, tmp_path: Path, task: str | None = None, ensemble: str | None = None) -> Stored:
    return predictor.stored_models(
        where, out_dir=tmp_path / "r", data_dir=tmp_path / "d", task_name=task, ensemble=ensemble
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two folds of an older recipe, two of a newer one with the model of both, and one of another task."""
    made = Project(tmp_path / "r" / "p")
    for name, facts in {
        "old-f0": {"recipe": "0", "fold": 0},
        "old-f1": {"recipe": "0", "fold": 1},
        "letters-f0": {"recipe": "1", "pivot": "letters", "task": "letters"},
        "new-f0": {"recipe": "2", "fold": 0},
        "new-f1": {"recipe": "2", "fold": 1},
        "new-all": {"recipe": "2", "fold": -1, "refit": ["new-f0", "new-f1"]},
    }.items():
        make_record(made, name, config="", **facts)
    return made


def test_a_project_is_its_newest_recipe_and_the_model_of_all_folds(project: Project, tmp_path: Path) -> None:
    whole = found("p", tmp_path)
    assert whole.task == "digits" and [one.id for one in whole.records] == ["new-all"]
    assert [one.id for one in found(str(project.root), tmp_path).records] == ["new-all"]
    assert [one.id for one in found("p", tmp_path, task="letters").records] == ["letters-f0"]


def test_one_record_by_number_name_or_folder(project: Project, tmp_path: Path) -> None:
    for where in ("p#2", "p#old-f1", str(project.model_dir("digits", "old-f1"))):
        one = found(where, tmp_path)
        assert [record.id for record in one.records] == ["old-f1"] and one.project.root == project.root
        assert one.ensemble is None and one.members[0][2] == 1.0


@pytest.mark.parametrize(
    ("where", "task", "ensemble", "sentence"),
    [
        ("q", None, None, "where: there is no such project, got 'q'; projects in .*: p"),
        ("p#99", None, None, "where: there is no such record, got 'p#99'; records of p: "),
        ("p", "digit", None, "task: nothing is trained on it here, got 'digit'; use digits, letters"),
        ("p", None, "latest", "ensemble: project p has no ensemble of digits; mml post task=digits"),
        ("p#ens-1", None, None, "ensemble: project p has no ensemble of digits"),
    ],
)
def test_what_is_not_there_is_said(
    project: Project, tmp_path: Path, where: str, task: str | None, ensemble: str | None, sentence: str
) -> None:
    with pytest.raises(ProjectError, match=sentence):
        found(where, tmp_path, task, ensemble)


def test_latest_is_what_was_made_last_in_the_folder(project: Project, tmp_path: Path) -> None:
    first, second = "2026-01-01/00-00-00-aaaa", "2026-01-02/00-00-00-bbbb"
    other = Project(tmp_path / "r" / "q")
    make_record(other, "mine-f0", config="", run=second)
    for one, run in ((project, first), (other, second)):
        files.write_json(one.runs_dir() / run / journal.PLAN_FILE, {})
    assert found("latest", tmp_path).project.root == other.root
    # An ensemble of what is there is newer than it, what is trained afterwards is newer than the ensemble.
    members = [{"name": "m", "weight": 1.0, "records": ["mine-f0"]}]
    facts: dict[str, Any] = {"task": "digits", "classes": [str(number) for number in range(10)], "members": members}
    ensembles.save(other, an_ensemble("ens-1", run="2026-01-03/00-00-00-cccc", **facts))
    chosen = found("latest", tmp_path).ensemble
    assert chosen is not None and chosen.id == "ens-1" and found("q", tmp_path).ensemble is None
    make_record(other, "later-f0", config="", run="2026-01-04/00-00-00-dddd", recipe="2")
    assert found("latest", tmp_path).ensemble is None
    # A project of that name is meant where there is one.
    make_record(Project(tmp_path / "r" / "latest"), "own-f0", config="")
    assert [one.id for one in found("latest", tmp_path).records] == ["own-f0"]


def test_latest_of_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="there is no such project, got 'latest'"):
        found("latest", tmp_path)


def test_what_predicts_is_said_with_the_ensemble_that_is_left_aside(project: Project, tmp_path: Path) -> None:
    assert found("p", tmp_path).told("X=latest") == "new-all, the model of all folds, predicts"
    assert found("p#1", tmp_path).told() == "old-f0 predicts"
    members = [{"name": "m", "weight": 1.0, "records": ["old-f0", "new-f0", "new-f1"]}]
    facts: dict[str, Any] = {"task": "digits", "classes": [str(number) for number in range(10)], "members": members}
    ensembles.save(project, an_ensemble("ens-1", run="2026-01-03/00-00-00-cccc", **facts))
    bare = "new-all, the model of all folds, predicts"
    assert found("p", tmp_path).told("X=latest") == f"{bare}; X=latest takes the ensemble ens-1 in place of it"
    assert found("p#1", tmp_path).told() == "old-f0 predicts"
    whole = found("p", tmp_path, ensemble="latest")
    assert whole.told("X=latest") == "the ensemble ens-1 predicts (3 networks)"
    # What is trained afterwards is in no ensemble yet, and no reason to take one.
    for fold in (0, 1):
        make_record(project, f"late-f{fold}", config="", run="2026-01-04/00-00-00-dddd", recipe="9", fold=fold)
    assert found("p", tmp_path).told("X=latest") == "the mean over 2 folds of test_resnet predicts"
    late = "models were trained after the newest ensemble, which mml post takes into a new one"
    assert whole.told() == f"the ensemble ens-1 predicts (3 networks); {late}"


def test_a_prevalence_of_numbers_is_refused_before_a_network_runs() -> None:
    # Without a network any computation would fail in another way.
    blank = predictor.Predictor.__new__(predictor.Predictor)
    blank.kind = "regression"
    with pytest.raises(ConfigError, match=r"^deploy_prior: is for classes of images, not for numbers; leave it out"):
        blank.predict([], [0.5, 0.5])
