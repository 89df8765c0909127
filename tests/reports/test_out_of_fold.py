"""The table of out-of-fold predictions: every kind, nested and plain folds, repeats, before and after calibration."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mlpipe.reports import out_of_fold
from mlpipe.runs import predictions
from mlpipe.runs.project import Project
from tests.build import make_record


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "results" / "default")


def fold(
    project: Project, number: int, ids: list[str], targets: Any, logits: Any, *, split: str = "val", **facts: Any
) -> None:
    """A record with predictions of some images, and of others that are not held out."""
    nested = bool(facts.get("nested"))
    task = f"digits+nested?{number}" if nested else "digits"
    calibrated = facts.pop("calibrated", None)
    plain = {"classes": ["cat", "dog"], "kind": "classification", "fold": number, "task": task}
    record = make_record(project, f"net-{facts.get('recipe', 'r')}-{number}", config="", **{**plain, **facts})
    path = project.predictions_file(record.pivot, record.id)
    logits = np.asarray(logits, np.float32)
    with predictions.writer(path, (), record.kind) as sink:
        sink.add(task, split, number, ids, np.asarray(targets), logits, calibrated)
        other = "test" if split == "val" else "val"
        same = None if calibrated is None else calibrated[:1]
        sink.add(task, other, number, [f"other {number}"], np.asarray(targets)[:1], logits[:1], same)


def test_classes_with_their_probabilities_before_and_after_calibration(project: Project) -> None:
    chances = np.array([[0.9, 0.1], [0.25, 0.75]])
    after = np.log(np.array([[0.8, 0.2], [0.5, 0.5]])).astype(np.float32)
    fold(project, 0, ["b", "a"], [0, -1], np.log(chances) + 3, calibrated=after)
    fold(project, 1, ["c", "d"], [1, 1], np.log(chances))
    found = out_of_fold.rows(project, "digits")
    assert [row["image"] for row in found] == ["a", "b", "c", "d"]
    assert [(row["fold"], row["repeat"], row["target"]) for row in found] == [
        (0, 0, None),
        (0, 0, "cat"),
        (1, 0, "dog"),
        (1, 0, "dog"),
    ]
    assert [row["raw p(cat)"] for row in found] == pytest.approx([0.25, 0.9, 0.9, 0.25])
    assert [row["raw p(dog)"] for row in found] == pytest.approx([0.75, 0.1, 0.1, 0.75])
    assert [row["prediction"] for row in found] == ["cat", "cat", "cat", "dog"]
    assert [row["calibrated p(cat)"] for row in found[:2]] == pytest.approx([0.5, 0.8])
    assert [row["calibrated p(cat)"] for row in found[2:]] == [None, None]
    assert {row["record"] for row in found} == {"net-r-0", "net-r-1"}


def test_a_nested_fold_holds_out_what_it_set_aside(project: Project) -> None:
    fold(project, 0, ["a"], [0], [[2.0, 0.0]], split="test", nested=True)
    (row,) = out_of_fold.rows(project, "digits")
    assert (row["image"], row["target"]) == ("a", "cat")


def test_repeats_keep_their_rows_and_recipes_stay_apart(project: Project) -> None:
    for number, ids in enumerate((["a", "b"], ["c"], ["a"], ["b", "c"])):
        fold(project, number, ids, [0] * len(ids), [[0.0, 0.0]] * len(ids))
    fold(project, 0, ["a"], [0], [[0.0, 0.0]], recipe="22222222")
    found = out_of_fold.rows(project, "digits")
    assert [(row["repeat"], row["image"]) for row in found if row["recipe"] == "11111111"] == [
        (0, "a"),
        (0, "b"),
        (0, "c"),
        (1, "a"),
        (1, "b"),
        (1, "c"),
    ]
    assert [(row["repeat"], row["image"]) for row in found if row["recipe"] == "22222222"] == [(0, "a")]


def test_labels_and_numbers(project: Project) -> None:
    half = [[0.0, np.log(3)]]
    fold(project, 0, ["a"], [[1.0, np.nan]], half, kind="multilabel", pivot="digits", recipe="labels")
    fold(project, 0, ["a"], [[1.5, -2.0]], [[1.25, -3.0]], kind="regression", recipe="numbers")
    labels, numbers = out_of_fold.rows(project, "digits")
    assert (labels["target cat"], labels["target dog"]) == (1.0, None)
    assert (labels["raw p(cat)"], labels["raw p(dog)"]) == pytest.approx((0.5, 0.75))
    assert (numbers["target cat"], numbers["raw cat"], numbers["raw dog"]) == (1.5, 1.25, -3.0)


def test_the_files_hold_the_rows(project: Project) -> None:
    assert out_of_fold.write(project, "digits") == ([], 0)
    fold(project, 0, ["a", "b"], [0, 1], [[2.0, 0.0], [0.0, 1.0]])
    paths, many = out_of_fold.write(project, "digits")
    assert many == 2 and [path.name for path in paths] == ["digits.csv", "digits.parquet"]
    with paths[0].open(encoding="utf-8") as file:
        told = list(csv.DictReader(file))
    stored = pq.read_table(paths[1]).to_pylist()
    assert [row["image"] for row in told] == [row["image"] for row in stored] == ["a", "b"]
    assert [float(row["raw p(cat)"]) for row in told] == pytest.approx([row["raw p(cat)"] for row in stored])
    assert told[0]["calibrated p(cat)"] == "" and stored[0]["calibrated p(cat)"] is None
