"""Each way from one format to the next says all that there is to say, in both directions, or which words it lacks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlpipe import files
from mlpipe.errors import ProjectError
from mlpipe.runs import formats

SAMPLES: dict[str, Any] = {"id": ["a", "b"], "part": ["train", "test"], "target": [0, 1], "digest": ["x", "y"]}
OLD_TASK: dict[str, Any] = {
    "format": 1, "name": "pets", "kind": "classification", "classes": ["cat", "dog"], "samples": SAMPLES,
    "source": {"type": "folder"},
    "source_hash": files.digest(["classification", ["cat", "dog"], ["a", "b"], ["train", "test"], [0, 1], ["x", "y"]]),
}  # fmt: skip
NEW_TASK: dict[str, Any] = {
    **OLD_TASK, "format": 2, "dtype": "uint8",
    "source_hash": files.digest(["classification", ["cat", "dog"], "uint8", SAMPLES]),
}  # fmt: skip
OLD_CONFIG: dict[str, Any] = {
    "optimizer": {"lr": 0.1}, "preprocessing": {"_target_": "mlpipe.data.preprocessing.standard", "size": 16},
    "augmentations": {"cpu": {}}, "metrics": {"train": ["accuracy"], "final": ["accuracy", "nll"]}, "seed": 1,
}  # fmt: skip
NEW_CONFIG: dict[str, Any] = {
    **OLD_CONFIG,
    "optimizer": {"lr": 0.1, "clip_norm": None, "clip_value": None},
    "preprocessing": {
        "_target_": "mlpipe.data.preprocessing.standard", "size": 16, "interpolation": "bilinear",
        "keep": "fixed", "max_side": None,
    },
    "augmentations": {"cpu": {}, "device": {"pipeline": []}},
    "logging": {"_target_": "mlpipe.learn.loggers.none"},
}  # fmt: skip
OLD_RECORD = {"format": 1, "id": "net", "scores": {"val": {"accuracy": 0.5}}}
NEW_RECORD = {"format": 2, "id": "net", "scores": {"val": {"accuracy": 0.5}}, "kind": "classification", "details": {}}


def moved(kind: formats.Kind, stored: dict[str, Any], *, up: bool) -> dict[str, Any]:
    return formats.MIGRATIONS[kind][2][0 if up else 1](copy.deepcopy(stored))


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [("task", OLD_TASK, NEW_TASK), ("config", OLD_CONFIG, NEW_CONFIG), ("record", OLD_RECORD, NEW_RECORD)],
)
def test_there_and_back(kind: formats.Kind, old: dict[str, Any], new: dict[str, Any]) -> None:
    assert moved(kind, old, up=True) == new
    assert moved(kind, new, up=False) == old


def test_what_has_no_words_in_the_older_format_goes_or_is_translated() -> None:
    extra = {"logging": {}, "reuse": {}, "remove": {}, "healing": {}}
    assert moved("config", NEW_CONFIG | extra, up=False) == OLD_CONFIG
    auto = {**NEW_CONFIG, "metrics": {"train": "auto", "final": "auto"}}
    assert moved("config", auto, up=False)["metrics"] == {
        "train": ["accuracy"], "final": ["accuracy", "balanced_accuracy", "macro_f1", "auroc", "nll", "brier"],
    }  # fmt: skip
    assert moved("record", {**NEW_RECORD, "events": [], "checksum": "0", "checksums": {}}, up=False) == OLD_RECORD
    own = {**OLD_CONFIG, "preprocessing": {"_target_": "mine.resize"}}
    assert moved("config", own, up=True)["preprocessing"] == {"_target_": "mine.resize"}
    kept = {**OLD_CONFIG, "optimizer": {"clip_norm": 3.0}}
    assert moved("config", kept, up=True)["optimizer"] == {"clip_norm": 3.0, "clip_value": None}


def rehashed(**facts: Any) -> dict[str, Any]:
    task = NEW_TASK | facts
    return task | {"source_hash": files.digest([task["kind"], task["classes"], task["dtype"], task["samples"]])}


@pytest.mark.parametrize(
    ("kind", "stored", "sentence"),
    [
        ("record", NEW_RECORD | {"kind": "regression"}, "a regression task"),
        ("record", NEW_RECORD | {"fold": -1, "refit": ["a", "b"]}, "a model of all folds"),
        ("config", NEW_CONFIG | {"optimizer": {"clip_norm": 1.0, "clip_value": None}}, r"optimizer\.clip_norm"),
        ("config", NEW_CONFIG | {"preprocessing": {"keep": "ragged"}}, r"preprocessing\.keep"),
        ("task", rehashed(kind="multilabel"), "a multilabel task"),
        ("task", rehashed(dtype="float32"), "float32 images"),
        ("task", rehashed(samples=SAMPLES | {"group": ["g", "h"], "fold": [0, 1]}), "samples with group, fold"),
        ("task", rehashed(source={"type": "csv"}), "images from csv"),
        ("task", rehashed(source={}), "images from None"),
    ],
)
def test_what_an_older_format_cannot_say_is_said(kind: formats.Kind, stored: dict[str, Any], sentence: str) -> None:
    with pytest.raises(formats._CannotSayError, match=f"^{sentence}$"):
        moved(kind, stored, up=False)


@pytest.mark.parametrize(("stored", "up"), [(OLD_TASK, True), (NEW_TASK, False)])
def test_a_task_whose_hash_does_not_fit_is_damaged(stored: dict[str, Any], up: bool) -> None:
    for change in ({"source_hash": "0"}, {"classes": ["dog", "cat"]}, {"samples": SAMPLES | {"target": [1, 1]}}):
        with pytest.raises(KeyError, match="its hash does not fit"):
            moved("task", stored | change, up=up)
    for source in ("fashion_mini", "digits"):
        assert moved("task", NEW_TASK | {"source": {"type": source}}, up=False)["format"] == 1


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"format": 1}, "got 1; this version of mlpipe reads format 2; bring it here with mml upgrade mode.version=0.1.0.dev1"),
        ({"format": 3}, "got 3; this version of mlpipe reads format 2; use a newer mlpipe"),
        ({"format": "1"}, "got '1'; this version of mlpipe reads format 2; use a newer mlpipe"),
        ({}, "got 'none'; this version of mlpipe reads format 2; use a newer mlpipe"),
        ([], "got 'none'; this version of mlpipe reads format 2; use a newer mlpipe"),
    ],
)  # fmt: skip
def test_another_format_is_refused_with_the_way(stored: Any, words: str) -> None:
    formats.check({"format": 2}, 2, Path("a.json"))
    with pytest.raises(ProjectError) as caught:
        formats.check(stored, 2, Path("a.json"))
    assert str(caught.value) == f"a.json: has another format, {words}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a file of each kind, and a task beside it, all of the first format."""
    config = yaml.safe_dump(OLD_CONFIG, sort_keys=False)
    files.write_text(tmp_path / "p/tasks/t/models/net/config.yaml", config)
    files.write_text(tmp_path / "p/runs/2026/a/config.yaml", config)
    files.write_json(tmp_path / "p/tasks/t/models/net/record.json", OLD_RECORD)
    files.write_json(tmp_path / "p/tasks/t/ensembles/e.json", {"format": 1})
    files.write_json(tmp_path / "p/runs/2026/a/plan.json", {"format": 1})
    files.write_json(tmp_path / "data/pets/task.json", OLD_TASK)
    return tmp_path


def test_everything_is_found_and_converted_with_a_copy(root: Path) -> None:
    todo = formats.planned(root / "p", root / "data", "0.1.0")
    assert [(one.kind, one.old, one.new) for one in todo] == [
        (kind, 1, 2) for kind in ("config", "config", "record", "task")
    ]
    assert todo[0].path == root / "p/tasks/t/models/net/config.yaml" and todo[3].path == root / "data/pets/task.json"
    assert list(yaml.safe_load(todo[0].text)) == [*OLD_CONFIG, "logging"] and yaml.safe_load(todo[0].text) == NEW_CONFIG
    assert todo[2].text == files.json_text(NEW_RECORD)
    before = todo[2].path.read_bytes()
    kept = formats.convert(todo[2], root / "p", "now")
    assert kept == root / "p/backups/now/tasks/t/models/net/record.json"
    assert (kept.read_bytes(), todo[2].path.read_text("utf-8")) == (before, todo[2].text)
    assert [one.kind for one in formats.planned(root / "p", root / "data", "0.1.0")] == ["config", "config", "task"]
    (back,) = formats.planned(root / "p", root / "data", "0.1.0.dev1")
    assert (back.kind, back.old, back.new, back.text) == ("record", 2, 1, before.decode())


def test_every_file_that_cannot_be_converted_has_a_sentence(root: Path) -> None:
    model, plan = root / "p/tasks/t/models/net", root / "p/runs/2026/a/plan.json"
    (model / "config.yaml").write_text("[1")
    files.write_json(model / "record.json", [1])
    files.write_json(root / "p/tasks/t/ensembles/e.json", {"format": 2})
    files.write_json(plan, {})
    files.write_json(root / "data/pets/task.json", {**OLD_TASK, "samples": {"id": []}})
    with pytest.raises(ProjectError) as caught:
        formats.planned(root / "p", root / "data", "0.1.0")
    yaml_, record, ensemble, run, task = caught.value.problems
    assert yaml_.startswith(f"{model / 'config.yaml'}: cannot be read (") and yaml_.endswith("); remove it or mend it")
    assert record == f"{model / 'record.json'}: is damaged; remove it or mend it"
    assert ensemble.endswith(
        "has a format that is not known here, got 2; this version of mlpipe knows ensemble formats up to 1; use a newer mlpipe"
    )
    assert run.startswith(f"{plan}: has a format that is not known here; ") and "run formats up to 1" in run
    assert task.endswith("task.json: is damaged (KeyError('part')); remove it or mend it")
    files.write_json(model / "record.json", {**NEW_RECORD, "kind": "regression"})
    with pytest.raises(ProjectError) as caught:
        formats.planned(root / "p", root / "none", "0.1.0.dev1")
    (sentence,) = (one for one in caught.value.problems if "record.json" in one)
    assert sentence.endswith("format 1 cannot say a regression task; remove that record, or keep this version")
