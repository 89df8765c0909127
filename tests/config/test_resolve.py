"""`${key}` and formulas with references: what they stand for, and what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlpipe.config import resolve
from mlpipe.config.resolve import interpolated
from mlpipe.errors import ConfigError


def test_formulas_are_computed_after_references() -> None:
    tree: dict[str, Any] = {
        "given": {"rate": 0.5, "deep": 3, "word": "adam"},
        "lr": "=0.01*${given.rate}",
        "lrs": ["=2**${given.deep}", {"half": "=(${lr} + 1)/2"}],
        "text": "${given.word}-${given.deep}",
        "same": "${given.deep}",
        "plain": "=0.01*2",
    }
    found = interpolated(tree)
    assert found["lr"] == 0.005
    assert found["lrs"] == [8, {"half": 0.5025}]
    assert (found["text"], found["same"], found["plain"]) == ("adam-3", 3, "=0.01*2")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("=2*${given.rat}", "lr: an interpolation names a key that is not there"),
        ("=2*${given.word}", "lr: adam is no number"),
        ("=2/${given.zero}", "lr: cannot be computed (division by zero)"),
        ("=2**${given.word", "lr: an interpolation names a key"),
        ("=${given.list}", "lr: cannot be read from '[1]' on"),
    ],
)
def test_what_stands_for_no_number_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        interpolated({"given": {"rate": 1, "word": "adam", "zero": 0, "list": [1]}, "lr": text})
    assert len(caught.value.problems) == 1 and caught.value.problems[0].startswith(sentence)


def test_paths_of_tasks_are_absolute_and_other_words_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("x\n")
    (tmp_path / "masks").mkdir()
    paths = {"root": "gone", "test_file": "gone.json", "modules": "code", "train": "a.csv", "train_masks": "masks"}
    task = {**paths, "targets": "y.npy", "validation": "./a.csv"}
    absolute = {key: str(tmp_path / value) for key, value in task.items()}
    words = {
        "test": "held:0",
        "val": "x" * 9000,
        "extra": "a\0b",
        "file": "???",
        "name": "masks",
        "images": "masks",
        "train_targets": [{"call": "a.csv"}],
        "test_targets": None,
        "test_masks": "",
    }
    tree: dict[str, Any] = {"task": {**task, **words}, "arch": {"weights": "w.pt"}, "reuse": {}, "stages": {}}
    resolve._make_paths_absolute(tree)
    assert tree["task"] == {**absolute, **words}
    assert tree["arch"]["weights"] == str(tmp_path / "w.pt")


def test_names_of_arrays_stay_and_folders_without_a_root_are_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("labels", "images", "masks"):
        (tmp_path / name).mkdir()
    task = {"root": None, "images": "images", "masks": "masks", "targets": "labels"}
    tree: dict[str, Any] = {"task": task, "arch": {}, "reuse": {}, "stages": {}}
    resolve._make_paths_absolute(tree)
    folders = {key: str(tmp_path / key) for key in ("images", "masks")}
    assert tree["task"] == {"root": None, **folders, "targets": "labels"}
