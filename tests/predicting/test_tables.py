"""The table of new samples: what each kind says of its rows, those that cannot be read, and a prevalence that is for classes."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpipe.errors import ConfigError
from mlpipe.post.ensembling.members import Rows
from mlpipe.post.ensembling.new_rows import NewRows
from mlpipe.predicting import kind, tables
from mlpipe.predicting.new_samples import NewSamples
from mlpipe.runs.project import Project
from tests.data.samples import small_task

CLASSES = ("one", "two", "three")
VALUES = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]))
# Grams where milligrams would do.
SMALL = np.array([[3.2e-8, -4.56789e-5, 0.0], [1.5e-9, 123.4567891, np.nan]])


class Mixed(NewRows):
    """Rows that are there already."""

    def mixed(self, mixing: str | None = None) -> Rows:
        """Two samples, the second name first."""
        values = SMALL if self.kind == "regression" and self.seed else VALUES
        return Rows(["b.png", "a.png"], np.full(2, -1), values, values)

    def decided(self, moved_to: Any) -> dict[str, Any]:
        """What an ensemble may have decided."""
        return {"thresholds": {"cuts": {"one": 0.05}}, "halfwidths": {"two": 1.5}}

    def store(self, rows: Rows) -> None:
        """Nothing."""


def of(name: str, folder: Path, prior: list[float] | None = None, seed: int = 0) -> NewSamples:
    task = replace(small_task(), source={"type": "fashion_mini"})
    rows = Mixed(Project(folder / "p"), name, CLASSES, None, [], "new", 3, "unlabelled", seed)
    pivot = replace(task, name="pivot", kind=name, classes=CLASSES)
    unreadable = {"c.png": "is no image"}
    return NewSamples("d", pivot, task, [], rows, unreadable, prior, folder, lambda number: None)


def written(name: str, folder: Path) -> list[dict[str, str]]:
    facts = kind.of(name).write_new(of(name, folder))
    assert facts["images"] == 2 and facts["unreadable"] == {"c.png": "is no image"}
    return list(csv.DictReader(Path(facts["csv"]).read_text().splitlines()))


def test_labels_are_those_above_their_cuts(tmp_path: Path) -> None:
    rows = written("multilabel", tmp_path)
    assert [row["image"] for row in rows] == ["a.png", "b.png", "c.png"]
    assert [row["labels"] for row in rows] == ["one", "one", ""] and rows[2]["problem"] == "is no image"
    assert float(rows[1]["p(two)"]) == pytest.approx(0.2 / 1.2, abs=1e-6)


def test_numbers_have_the_intervals_that_were_decided(tmp_path: Path) -> None:
    (first, *_) = written("regression", tmp_path)
    assert float(first["two low"]) == pytest.approx(np.log(0.3) - 1.5, abs=1e-5) and "one low" not in first


def test_numbers_that_are_small_in_their_unit_are_not_lost(tmp_path: Path) -> None:
    facts = kind.of("regression").write_new(of("regression", tmp_path, seed=1))
    a, b, _ = csv.DictReader(Path(facts["csv"]).read_text().splitlines())
    assert [float(b[name]) for name in CLASSES] == [3.2e-8, -4.56789e-5, 0]
    assert float(a["one"]) == 1.5e-9 and float(a["two"]) == 123.456789 and a["three"] in ("", "nan")


def test_a_prevalence_is_for_classes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mode\.deploy_prior: is for classes of images, not for numbers"):
        kind.of("regression").write_new(of("regression", tmp_path, [0.5, 0.3, 0.2]))
    # Of samples at hand it is an argument.
    rows = replace(of("regression", tmp_path).rows, predicted={})
    table = kind.of("regression").TABLE
    assert table is not None
    with pytest.raises(ConfigError, match=r"^deploy_prior: is for classes"):
        table.made(rows, [0.2, 0.3, 0.5], {})
    with pytest.raises(ConfigError, match=r"^alpha: is for sets and intervals, which only an ensemble of mml post has"):
        NewRows.decided(replace(rows, alpha=0.2), None)


def test_columns_of_numbers_have_names_of_their_own() -> None:
    """An output named as a column of the table's own, or as an end of another's interval, keeps both apart."""
    assert tables.number_columns(["age", "alpha"]) == [
        ("age", "age low", "age high"), ("alpha", "alpha low", "alpha high")
    ]  # fmt: skip
    names = ["image", "a", "a low", "problem", "b"]
    plain = [column for columns in tables.number_columns(names) for column in columns]
    assert len(set(plain)) == 15 and not {"image", "problem"} & set(plain)
    table = kind.of("regression").TABLE
    assert table is not None
    halves = {"halfwidths": dict.fromkeys(names, 0.5)}
    (cells,) = table.columns(names, np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]), halves)
    assert len(cells) == 15
    assert [cells[key] for key in ("value(image)", "value(a)", "value(a) low", "value(a low)", "value(problem)")] == [
        1.0, 2.0, 1.5, 3.0, 4.0
    ]  # fmt: skip
    assert (cells["b"], cells["b low"], cells["b high"]) == (5.0, 4.5, 5.5)
