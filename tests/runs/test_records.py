"""Records: numbered in order, written last, read back whole."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlpipe import files
from mlpipe.errors import ProjectError
from mlpipe.runs import records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord
from tests.build import make_record


def made(name: str, **given: Any) -> ModelRecord:
    values: dict[str, Any] = {
        "id": name, "number": 0, "run": "r", "created": "now", "task": "t", "pivot": "t", "fold": 0, "nested": False,
        "recipe": "abc", "arch": "net", "classes": ["a", "b"], "parameters": 5, "counts": {"train": 3},
        "kind": "classification", "scores": {"val": {"accuracy": 0.5}}, "best_epoch": 1, "epochs": 2, "monitor": "val/loss (min)",
        "val_used_for": [], "timings": {"seconds": 1.0}, "environment": {}, "weights": None,
    }  # fmt: skip
    return ModelRecord(**{**values, **given})


def test_round_trip_and_numbers(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    saved = [records.save(project, made(name)) for name in ("one", "two", "three")]
    assert [record.number for record in saved] == [1, 2, 3]
    assert records.load_all(project) == saved
    assert records.load_all(project, "other") == []


def test_numbers_are_unique_side_by_side(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    with ThreadPoolExecutor(4) as pool:
        saved = list(pool.map(lambda number: records.save(project, made(f"m{number}")), range(12)))
    assert sorted(record.number for record in saved) == list(range(1, 13))


def test_scores_are_added_to_the_record(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    saved = records.save(project, made("one"))
    updated = records.with_scores(project, saved, {"test": {"accuracy": 0.25, "auroc": float("nan")}}, {})
    (loaded,) = records.load_all(project)
    assert loaded.scores == {"val": {"accuracy": 0.5}, "test": {"accuracy": 0.25, "auroc": None}}
    assert updated.number == loaded.number == 1


def test_what_two_commands_add_to_a_record_that_both_have_read_is_kept(tmp_path: Path) -> None:
    """The second one wrote what it had read before the first one changed it."""
    project = Project(tmp_path / "p")
    read = records.save(project, made("one", weights="abc"))
    records.with_scores(project, read, {"test": {"accuracy": 0.25}}, {"test": {"rows": 3}})
    records.with_scores(project, read, {"test:other": {"accuracy": 0.75}}, {})
    records.without_weights(project, read, "removed")
    (stored,) = records.load_all(project)
    assert list(stored.scores) == ["val", "test", "test:other"] and stored.details == {"test": {"rows": 3}}
    assert stored.weights is None and stored.notes == ["its weights were removed"]


def test_another_format_and_damage_are_told_and_the_rest_stays_of_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = Project(tmp_path / "p")
    records.save(project, made("one"))
    records.save(project, made("two"))
    path = project.model_dir("t", "one") / "record.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "format": 99}))
    with pytest.raises(ProjectError, match="has another format, got 99"):
        records.load(path.parent)
    assert [one.id for one in records.load_all(project)] == ["two"]
    path.write_text(json.dumps({**stored, "kind": "x"}))
    with pytest.raises(ProjectError, match=r"cannot be read as a record \(its kind is 'x'\)"):
        records.load(path.parent)
    path.write_text("{")
    with caplog.at_level("WARNING", "mlpipe"):
        assert (
            [one.id for one in records.load_all(project, "t")]
            == ["two"]
            == [one.id for one in records.load_all(project, "t")]
        )
    assert [one.message for one in caplog.records if "cannot be read as a record" in one.message] == [
        f"{records.broken(project, 't')[0]}; it is left out"
    ]
    assert records.broken(project, "other") == []
    records.require_whole(project, "other")
    with pytest.raises(ProjectError, match="remove its folder to go on without it"):
        records.require_whole(project, "t")
    # The number of what cannot be read is not given again.
    assert records.save(project, made("three")).number == 3


def test_the_latest_cross_validation_is_the_newest_record_of_each_fold() -> None:
    found = [
        made("a0", number=1, fold=0), made("a1", number=2, fold=1), made("b0", number=3, recipe="other"),
        made("a0 again", number=4, fold=0),
    ]  # fmt: skip
    assert [record.id for record in records.latest_cross_validation(found)] == ["a0 again", "a1"]
    assert records.latest_cross_validation([]) == []


def test_a_model_of_all_folds_is_none_of_them() -> None:
    folds = [made("a0", number=1, fold=0), made("a1", number=2, fold=1)]
    refits = [made("old", number=3, fold=-1, refit=["a0", "a1"]), made("new", number=4, fold=-1, refit=["a1", "a0"])]
    assert records.newest_folds([*folds, *refits]) == records.latest_cross_validation([*refits, *folds]) == folds
    found = records.newest_refit([*refits, *folds], folds)
    assert found is not None and found.id == "new"
    # A fold that was trained again since is not one that it stands for.
    again = [made("a0 again", number=5, fold=0), folds[1]]
    assert records.newest_refit([*refits, *again], again) is None
    assert records.newest_refit(folds, folds) is None and records.newest_refit(refits, []) is None
    # Taken over without its folds it is the one model that there is.
    assert records.newest_folds(refits) == [refits[1]]


def test_the_file_of_a_fold_is_as_it_was_before_there_were_models_of_all_folds(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    fold, refit = records.save(project, made("a0")), records.save(project, made("all", fold=-1, refit=["a0"]))
    stored = [json.loads((project.model_dir("t", one.id) / "record.json").read_text()) for one in (fold, refit)]
    assert "refit" not in stored[0] and stored[1]["refit"] == ["a0"]
    assert records.load_all(project) == [fold, refit]


def test_a_moved_project_is_the_same(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    saved = records.save(project, made("one"))
    (tmp_path / "p").rename(tmp_path / "q")
    assert records.load_all(Project(tmp_path / "q")) == [saved]
    assert dataclasses.asdict(saved)["format"] == 2


SAVES = """
import sys
from pathlib import Path
from mlpipe.runs import records
from mlpipe.runs.project import Project
from tests.runs.test_records import made
for index in range(12):
    print(records.save(Project(Path(sys.argv[1])), made(f"{sys.argv[2]}{index}")).number)
"""


def test_numbers_are_unique_for_two_processes(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", SAVES, str(tmp_path / "p"), name], env=environment, stdout=subprocess.PIPE, text=True
        )
        for name in "ab"
    ]
    numbers = [int(line) for process in both for line in process.communicate()[0].split()]
    assert sorted(numbers) == list(range(1, 25))
    assert [record.number for record in records.load_all(Project(tmp_path / "p"))] == list(range(1, 25))


def test_without_its_record_a_folder_is_no_model(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    folder = project.model_dir("t", "half")
    folder.mkdir(parents=True)
    (folder / records.WEIGHTS_FILE).write_bytes(b"weights")
    assert records.load_all(project) == []
    assert records.save(project, made("half")).number == 1
    assert {path.name for path in folder.iterdir()} == {"weights.safetensors", "record.json"}


def test_an_interrupted_save_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F15: the old file was gone before the new one was written."""
    project = Project(tmp_path / "p")
    saved = records.save(project, made("one"))

    def fail(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        records.with_scores(project, saved, {"test": {"accuracy": 1.0}}, {})
    with pytest.raises(KeyboardInterrupt):
        records.save(project, made("two"))
    monkeypatch.undo()
    assert records.load_all(project) == [saved]
    assert [path.name for path in project.model_dir("t", "one").iterdir()] == ["record.json"]


def test_unknown_and_missing_entries_are_refused(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    path = project.model_dir("t", "one") / records.RECORD_FILE
    records.save(project, made("one"))
    stored = files.read_json(path)
    for wrong in ({**stored, "more": 1}, {key: value for key, value in stored.items() if key != "fold"}):
        files.write_json(path, wrong)
        with pytest.raises(ProjectError, match="cannot be read as a record"):
            records.load(path.parent)


def test_a_record_in_the_folder_of_another_is_refused(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    records.save(project, made("one"))
    folder = project.model_dir("t", "one")
    for change, got in (({"id": "../one"}, "t/../one"), ({"id": "two"}, "t/two"), ({"pivot": "u"}, "u/one")):
        path = folder / records.RECORD_FILE
        stored = files.read_json(path)
        files.write_json(path, {**stored, **change})
        with pytest.raises(ProjectError) as caught:
            records.load(folder)
        wanted = f"{path}: is the record of another folder, got '{got}'; put it where it was"
        assert str(caught.value) == wanted
        files.write_json(path, stored)
    assert records.load(folder).id == "one"


def test_what_others_added_meanwhile_stays(tmp_path: Path) -> None:
    """`mml clean` waits for an answer, and another process may test the model in that time."""
    project = Project(tmp_path / "p")
    read_before = records.save(project, made("one", weights="abc"))
    records.with_scores(project, read_before, {"test": {"accuracy": 0.25}}, {"test": {"classes": []}})
    records.with_environment(project, read_before, tta="flips")
    records.with_scores(project, read_before, {"test:other": {"accuracy": 0.5}}, {})
    left = records.without_weights(project, read_before, "deleted by a test")
    assert records.load_all(project) == [left]
    assert set(left.scores) == {"val", "test", "test:other"} and left.details == {"test": {"classes": []}}
    assert (left.environment, left.weights, left.number) == ({"tta": "flips"}, None, 1)


def test_another_tasks_models_can_be_scored_on_an_untrained_task(tmp_path: Path) -> None:
    project = Project(tmp_path / "study")
    (sentence,) = records.untrained_error(project, "external").problems
    assert sentence == "task external: project study has no trained record of it; mml train task=external"
    make_record(project, "net-1", config="")
    (sentence,) = records.untrained_error(project, "external").problems
    assert sentence.endswith("or mml test mode.eval_on=external to score the project's models of another task on it")
