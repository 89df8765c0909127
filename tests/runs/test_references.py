"""`PROJ`, `PROJ#3`, `PROJ#ID` and paths; what is not there is answered with what is."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import pytest

from mlpipe import files
from mlpipe.errors import ProjectError
from mlpipe.runs import folder_users, records, references
from mlpipe.runs.project import Project
from tests.build import make_record


@pytest.fixture
def out_dir(tmp_path: Path) -> Path:
    for name in ("first", "second"):
        for fold in (0, 1):
            make_record(Project(tmp_path / "results" / name), f"net-{name}-{fold}", fold=fold, config="seed: 1\n")
    return tmp_path / "results"


def test_names_numbers_ids_and_paths(out_dir: Path) -> None:
    assert references.record("first#2", "key", out_dir).record.id == "net-first-1"
    assert references.record("first#net-first-0", "key", out_dir).record.number == 1
    by_path = references.record(f"{out_dir / 'second'}#1", "key", Path("/elsewhere"))
    assert by_path.name(Path("/elsewhere")) == f"{out_dir / 'second'}#1"
    assert by_path.name(out_dir) == "second#1"
    found = references.located(["second", "first#1", "second#1"], "key", out_dir)
    assert [one.record.id for one in found] == ["net-second-0", "net-second-1", "net-first-0"]


def test_what_is_not_there_is_answered_with_what_is(out_dir: Path) -> None:
    with pytest.raises(ProjectError) as caught:
        references.located(["frst", "other", "first#9", "first#net-first-1x"], "reuse.models", out_dir)
    assert caught.value.problems == (
        "reuse.models: there is no such project, got 'frst'; did you mean 'first'?",
        f"reuse.models: there is no such project, got 'other'; projects in {out_dir}: first, second",
        "reuse.models: there is no such record, got 'first#9'; records of first: #1 (net-first-0), #2 (net-first-1)",
        "reuse.models: there is no such record, got 'first#net-first-1x'; did you mean 'net-first-1'?",
    )


def test_weights_are_compared_with_the_record(out_dir: Path) -> None:
    one = references.record("first#1", "key", out_dir)
    references.check_weights(one, "key", out_dir)
    one.weights.write_bytes(b"others")
    with pytest.raises(ProjectError, match="is not the file that the record was written with, got 'first#1'"):
        references.check_weights(one, "key", out_dir)
    one.weights.unlink()
    with pytest.raises(ProjectError, match="the record keeps no weights, got 'first#1'"):
        references.check_weights(one, "key", out_dir)


def test_a_record_is_taken_over_once_with_a_number_of_its_own(out_dir: Path) -> None:
    into = Project(out_dir / "third")
    make_record(into, "own", config="seed: 1\n")
    one = references.record("first#1", "key", out_dir)
    copy = references.adopt(one, into, weights=True, predictions=False)
    assert (copy.id, copy.number, copy.notes) == (
        "net-first-0", 2, ["taken from project first, where it is number 1"],
    )  # fmt: skip
    assert files.digest_file(into.model_dir("digits", copy.id) / records.WEIGHTS_FILE) == copy.weights
    assert references.adopt(one, into, weights=True, predictions=False) == copy
    bare = references.adopt(references.record("first#2", "key", out_dir), into, weights=False, predictions=False)
    assert bare.weights is None


def test_weights_are_removed_after_the_record_says_so(out_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = references.record("first#1", "key", out_dir)
    seen: list[bool] = []
    write = files.write_json
    monkeypatch.setattr(files, "write_json", lambda *given: (seen.append(one.weights.is_file()), write(*given)))
    left = records.without_weights(one.project, one.record, "removed by a test")
    assert seen == [True] and not one.weights.exists()
    assert left.weights is None and left.notes == ["its weights were removed by a test"]
    assert records.load(one.folder) == left


def test_only_other_living_processes_use_a_folder(tmp_path: Path) -> None:
    folder_users.mark_in_use(tmp_path)
    (path,) = tmp_path.iterdir()
    assert folder_users.other_users(tmp_path) == []
    stored = files.read_json(path)
    files.write_json(tmp_path / ".used-by-other-1.json", {**stored, "host": "other"})
    assert [owner["host"] for owner in folder_users.other_users(tmp_path)] == ["other"]
    path.unlink()


def test_files_of_a_record_that_is_taken_over(out_dir: Path) -> None:
    into, one = Project(out_dir / "third"), references.record("second#2", "key", out_dir)
    place = one.project.predictions_file("digits", one.record.id)
    for path in (place, place.with_suffix(".npz")):
        files.write_text(path, path.suffix)
    copy = references.adopt(one, into, weights=False, predictions=True)
    assert (copy.number, copy.weights) == (1, None)
    folder = into.model_dir("digits", one.record.id)
    assert {path.name for path in folder.iterdir()} == {"record.json", "config.yaml", "metrics.csv"}
    for name in ("config.yaml", "metrics.csv"):
        assert (folder / name).read_bytes() == (one.folder / name).read_bytes()
    taken = into.predictions_file("digits", one.record.id)
    assert [taken.read_text(), taken.with_suffix(".npz").read_text()] == [".parquet", ".npz"]


def test_where_the_files_of_a_record_lie(out_dir: Path) -> None:
    one = references.record("first#1", "key", out_dir)
    assert one.folder == out_dir / "first" / "tasks" / "digits" / "models" / "net-first-0"
    assert (one.weights, one.config) == (one.folder / "weights.safetensors", one.folder / "config.yaml")
    assert references.project("first", "key", out_dir).root == out_dir / "first"
    for text in ("", "none"):
        with pytest.raises(ProjectError, match=r"projects in .*/empty: none"):
            references.project(text, "key", out_dir / "empty")
    with pytest.raises(ProjectError, match=r"weights.*not the file.*; choose another record"):
        one.weights.write_bytes(b"x")
        references.check_weights(one, "key", out_dir)
    one.weights.unlink()
    fix = r"; choose another, or train it again with mode\.store_parameters=true"
    with pytest.raises(ProjectError, match=rf"key: the record keeps no weights, got 'first#1'{fix}"):
        references.check_weights(one, "key", out_dir)


def test_a_mark_is_made_once_and_dead_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[Any] = []
    monkeypatch.setattr(folder_users.atexit, "register", lambda *given, **more: gone.append((given, more)))
    dead = tmp_path / ".used-by-here-999999999.json"
    files.write_json(dead, {**folder_users.journal.identity(), "pid": 999999999})
    other = tmp_path / ".used-by-there-1.json"
    files.write_json(other, {**folder_users.journal.identity(), "host": "there"})
    folder_users.mark_in_use(tmp_path)
    (own,) = (path for path in tmp_path.iterdir() if path != other)
    assert own.name == f".used-by-{files.safe_name(platform.node())}-{os.getpid()}.json"
    assert files.read_json(own)["pid"] == os.getpid() and not dead.exists()
    folder_users.mark_in_use(tmp_path)
    ((remove,), more) = gone[0]
    remove(**more)
    assert len(gone) == 1 and not own.exists()
    remove(**more)


def test_the_mark_of_an_ended_process_with_the_same_number_is_replaced(tmp_path: Path) -> None:
    """Numbers of processes come back, in containers at once; the mark then told others that nobody uses the folder."""
    folder_users.mark_in_use(tmp_path)
    (path,) = tmp_path.iterdir()
    own = files.read_json(path)
    files.write_json(path, {**own, "started": "0"})
    folder_users.mark_in_use(tmp_path)
    assert files.read_json(path)["started"] == own["started"]
    path.unlink()
