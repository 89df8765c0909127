"""Files of a Musket experiment's split: written by the first training of any kind, and told when they win."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from sklearn.model_selection import KFold, train_test_split

from mlpipe import cli
from mlpipe.dialects.musket import files as layout
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project
from tests import musket_project
from tests.build import ON_CPU

ONE_STAGE: dict[str, Any] = {
    **yaml.safe_load(musket_project.CONFIG), "stages": [{"epochs": 1}], "testSplit": 0.0, "batch": 16,
}  # fmt: skip


def project(root: Path, **keys: Any) -> Path:
    folder = musket_project.make(root, config=yaml.safe_dump({**ONE_STAGE, **keys}))
    return folder


def fit(folder: Path, *words: str, **keys: Any) -> None:
    if keys:
        own = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({**own, **keys}))
    assert cli.main(["fit", "--name", folder.name, *words, *ON_CPU]) == 0


def folds_of(folder: Path) -> Any:
    return yaml.safe_load((folder / "config.yaml.folds_split").read_text())


def following(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str]]]:
    """The files of metrics and weights after each epoch of the training that follows."""
    seen: list[tuple[list[str], list[str]]] = []
    write = layout.Progress.epochs

    def epochs(self: layout.Progress, fold: int, rows: Any) -> None:
        if not seen and not rows:
            (folder / "weights" / "best-0.0.weights").write_bytes(b"of an earlier training")
        write(self, fold, rows)
        if not rows:
            return
        if fold == 1:
            assert (folder / "weights" / "best-0.0.weights").stat().st_size > 1000
        seen.append(tuple(sorted(one.name for one in folder.glob(f"{part}/*")) for part in ("metrics", "weights")))  # type: ignore[arg-type]

    monkeypatch.setattr(layout.Progress, "epochs", epochs)
    return seen


def test_a_single_fold_keeps_its_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = project(tmp_path, folds_count=1, validationSplit=0.3, random_state=5)
    fit(folder)
    _, drawn = train_test_split(range(20), test_size=0.3, random_state=5)
    assert folds_of(folder) == [[sorted(set(range(20)) - set(drawn)), sorted(drawn)]]
    fit(folder, random_state=6)
    stored = Project(tmp_path / "results" / "first")
    ids = [
        sorted(predictions.load(stored.predictions_file(one.pivot, one.id), one.task, "val").sample_ids)
        for one in records.load_all(stored)
    ]
    assert ids == [[f"{row:07d}:item{row}" for row in sorted(drawn)]] * 2


def test_parts_of_the_folds_and_items_that_are_only_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = project(tmp_path, folds_count=3, random_state=7, extra_train_data={"getTrain": [4, 1]})
    fit(folder, "--folds", "0")
    expected = [
        [train.tolist(), val.tolist()] for train, val in KFold(3, shuffle=True, random_state=7).split(range(20))
    ]
    assert folds_of(folder) == expected
    # What is trained later, from the files, is the same cross-validation.
    fit(folder, "--folds", "2")
    assert yaml.safe_load((folder / "summary.yaml").read_text())["folds"] == [0, 2]
    capsys.readouterr()
    fit(folder, "--folds", "0", folds_count=2)
    said = capsys.readouterr().out
    assert "config.yaml.folds_split has 3 folds and wins over 2; remove config.yaml.folds_split to split anew" in said
    assert folds_of(folder) == expected
    # Without the file there are two folds, and the third one's files are out of the way of those who average them.
    (folder / "config.yaml.folds_split").unlink()
    seen = following(folder, monkeypatch)
    fit(folder)
    # While fold 1 learns, what fold 0 has learned is there.
    assert seen == [
        (["metrics-0.0.csv", "metrics-2.0.csv"], ["best-0.0.weights", "best-2.0.weights"]),
        (["metrics-0.0.csv", "metrics-1.0.csv", "metrics-2.0.csv"], ["best-0.0.weights", "best-2.0.weights"]),
    ]
    assert "metrics/metrics-2.0.csv is of an earlier training" in capsys.readouterr().out
    assert sorted(path.name for path in folder.glob("metrics/*")) == ["metrics-0.0.csv", "metrics-1.0.csv"]
    assert sorted(path.name for path in folder.glob("weights/*")) == ["best-0.0.weights", "best-1.0.weights"]
    assert sorted(path.name for path in folder.glob("outdated/*/*")) == ["best-2.0.weights", "metrics-2.0.csv"]


def test_validation_of_its_own_and_a_holdout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts = {"train": {"getTrain": [8]}, "validation": {"getTrain": [6, 1]}, "holdout": {"getTrain": [4, 2]}}
    folder = project(tmp_path, dataset=parts)
    fit(folder)
    assert folds_of(folder) == [[list(range(8)), list(range(8, 14))]]
    assert not (folder / "config.yaml.holdout_split").exists()
    (folder / "config.yaml.folds_split").unlink()
    fit(folder, dataset={"getTrain": [8]}, holdout={"getTrain": [4, 2]}, testSplit=0.0, folds_count=2)
    # The holdout is the data set's own each time, so that its rows are in no file.
    fit(folder)
    assert len(folds_of(folder)) == 2 and not (folder / "config.yaml.holdout_split").exists()
