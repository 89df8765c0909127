"""Formats 1 and 2: there and back byte for byte, resumable, with backups, and never half done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mlpipe import files
from mlpipe.cli import main
from mlpipe.config import snapshot
from mlpipe.data import task
from mlpipe.runs import formats, predictions, records
from mlpipe.runs.project import Project
from tests.build import DIGITS, as_json, contents, make_record, make_run

UP, DOWN = ["upgrade", "mode.version=0.1.0.dev1"], ["downgrade", "mode.version=0.1.0.dev1"]


def old_task(data_dir: Path) -> Path:
    """A task as the first format wrote it."""
    samples: dict[str, Any] = {"id": ["a", "b"], "part": ["train", "test"], "target": [0, 1], "digest": ["x", "y"]}
    hashed = ["classification", ["cat", "dog"], *samples.values()]
    stored = {
        "format": 1, "name": "pets", "kind": "classification", "classes": ["cat", "dog"], "channels": 1,
        "source": {"type": "folder", "root": "/pets"}, "source_hash": files.digest(hashed), "notes": ["n"],
        "samples": samples, "splits": {"k": {"fold": [0, -1]}},
    }  # fmt: skip
    files.write_json(data_dir / "pets" / "task.json", stored)
    return data_dir / "pets" / "task.json"


@pytest.fixture
def old(tmp_path: Path) -> Project:
    """A project and a task as the first format wrote them."""
    project = Project(tmp_path / "results" / "default")
    record = make_record(project, "net")
    run = make_run(project, DIGITS, finished=True)
    folder = project.model_dir("digits", record.id)
    stored = as_json(folder / records.RECORD_FILE)
    plain = {
        key: value
        for key, value in stored.items()
        if key not in ("kind", "details", "events", "checksum", "checksums", "format")
    }
    files.write_json(folder / records.RECORD_FILE, {**plain, "format": 1})
    for path in (folder / records.CONFIG_FILE, run.folder / "config.yaml"):
        tree = yaml.safe_load(path.read_text("utf-8"))
        for section, keys in (
            ("optimizer", ("clip_norm", "clip_value")),
            ("preprocessing", ("interpolation", "keep", "max_side")),
            ("augmentations", ("device",)),
        ):
            for key in keys:
                del tree[section][key]
        for section in ("logging", "reuse", "remove", "healing"):
            del tree[section]
        tree["metrics"] |= {"train": ["accuracy"], "final": ["accuracy", "nll"]}
        files.write_text(path, snapshot.text(tree))
    old_task(tmp_path / "data")
    return project


def without_backups(root: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(root).items() if "backups/" not in name}


def test_every_format_has_a_way_to_the_next() -> None:
    assert formats.TASK == task.FORMAT
    assert list(formats.VERSIONS.values())[-1] == formats.CURRENT
    for kind, newest in formats.CURRENT.items():
        assert list(formats.MIGRATIONS[kind]) == list(range(2, newest + 1))


def test_there_and_back_again(old: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = without_backups(tmp_path)
    assert main([*UP, "--dry-run"]) == 0
    assert without_backups(tmp_path) == before
    assert "pets/task.json: task format 1 -> 2" in capsys.readouterr().out
    assert main(UP) == 0
    (record,) = records.load_all(old)
    assert (record.kind, record.details, record.format) == ("classification", {}, 2)
    config = snapshot.load(old.model_dir("digits", "net") / records.CONFIG_FILE)
    assert config.logging.target == "mlpipe.learn.logging.none" and config.recipe.metrics.final == ["accuracy", "nll"]
    pets = task.load(tmp_path / "data" / "pets" / "task.json")
    assert (pets.dtype, pets.samples.targets.tolist()) == ("uint8", [0, 1])
    backups = [path for path in tmp_path.rglob("backups/**/*") if path.is_file()]
    assert sorted(path.read_bytes() for path in backups) == sorted(
        before[name] for name in before if not name.endswith((".safetensors", ".csv", ".jsonl", "plan.json", ".lock"))
    )
    capsys.readouterr()
    assert main(UP) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(DOWN) == 0
    assert without_backups(tmp_path) == before


def test_an_upgrade_that_was_stopped_goes_on(old: Project, tmp_path: Path) -> None:
    todo = formats.planned(old.root, tmp_path / "data", "0.1.0")
    assert [one.kind for one in todo] == ["config", "config", "record", "task"]
    for one in todo[:3]:
        formats.convert(one, old.root, "first")
    assert [one.kind for one in formats.planned(old.root, tmp_path / "data", "0.1.0")] == ["task"]
    assert main(UP) == 0
    assert formats.planned(old.root, tmp_path / "data", "0.1.0") == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 3}, "has a format that is not known here, got 3"),
        ({"format": "x"}, "has a format that is not known here, got 'x'"),
        ({"source_hash": "0"}, "is damaged (KeyError('its hash does not fit'))"),
    ],
)
def test_one_file_that_cannot_be_converted_stops_all(
    old: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], sentence: str
) -> None:
    path = tmp_path / "data" / "pets" / "task.json"
    files.write_json(path, {**as_json(path), **change})
    before = contents(tmp_path)
    assert main(UP) == 2
    shown = capsys.readouterr().err
    assert f"{path}: {sentence}" in shown and len(shown.splitlines()) == 1
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("facts", "section", "sentence"),
    [
        ({"kind": "regression"}, {}, "format 1 cannot say a regression task"),
        ({}, {"optimizer": {"clip_norm": 1.0}}, "format 1 cannot say optimizer.clip_norm"),
    ],
)
def test_what_an_older_format_cannot_say_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], facts: dict[str, Any], section: dict[str, Any], sentence: str
) -> None:
    project = Project(tmp_path / "results" / "default")
    make_record(project, "good")
    record = make_record(project, "new", **facts)
    path = project.model_dir("digits", record.id) / records.CONFIG_FILE
    tree = yaml.safe_load(path.read_text("utf-8"))
    for name, keys in section.items():
        tree[name] |= keys
    files.write_text(path, snapshot.text(tree))
    before = contents(tmp_path)
    assert main(DOWN) == 2
    assert sentence in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_versions_and_old_files_are_named(old: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upgrade", "mode.version=0.12"]) == 2
    assert capsys.readouterr().err == (
        "mode.version: is no version of mlpipe whose formats are known, got '0.12'; versions: 0.1.0.dev1, 0.1.0\n"
    )
    assert main(["upgrade"]) == 2
    assert "mode.version: is missing" in capsys.readouterr().err
    assert main(["info", "mode.subroutines=[models]"]) == 2
    assert "bring it here with mml upgrade mode.version=0.1.0.dev1" in capsys.readouterr().err


def test_a_project_that_was_there_and_back_predicts_the_same(trained_digits: Path, tmp_path: Path) -> None:
    project = Project(tmp_path / "results" / "default")
    (record,) = records.load_all(project)
    path = project.predictions_file("digits", record.id)
    before = predictions.load(path, "digits", "val")
    path.unlink()
    assert main(DOWN) == 0
    assert main(UP) == 0
    assert main(["predict", "task=digits"]) == 0
    after = predictions.load(path, "digits", "val")
    assert before.sample_ids == after.sample_ids
    np.testing.assert_array_equal(before.logits, after.logits)


def test_an_older_record_stops_a_training_before_it_begins(old: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A new record is numbered after all others: the first fold was trained, and could then not be written."""
    before = contents(old.root)
    assert main(["train", *DIGITS, "trainer.max_epochs=1", "sys.threads=1"]) == 2
    assert "bring it here with mml upgrade mode.version=0.1.0.dev1" in capsys.readouterr().err
    assert contents(old.root) == before
