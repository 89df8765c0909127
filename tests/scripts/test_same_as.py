"""The comparison of two commits: what is not listed as meant is a difference, to the last number; nothing is trained here."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module("same_as")
    sys.modules.pop("same_as", None)


THERE = {
    "record.json": {"scores": {"val": {"nll": 0.5, "n": 4}}, "classes": [{"class": "a", "f1": 0.25}], "notes": []},
    "w:head": np.float32([1.0, 2.0]),
    "command 0 (post): out": "one\ntwo",
    "command 0 (post): exit code": 0,
}


def changed(**values: Any) -> dict[str, Any]:
    return {**THERE, **{key.replace("__", "."): value for key, value in values.items()}}


def test_what_is_the_same_has_no_lines(script: Any) -> None:
    assert script.differences("case", THERE, changed(), []) == ([], [])
    nan = {"a:b": np.array([np.nan, 1.0]), "c.json": {"d": float("nan")}}
    assert script.differences("case", nan, {"a:b": np.array([np.nan, 1.0]), "c.json": {"d": float("nan")}}, []) == (
        [],
        [],
    )


@pytest.mark.parametrize(
    ("here", "lines"),
    [
        (
            changed(record__json={**THERE["record.json"], "scores": {"val": {"nll": 0.5000001, "n": 4}}}),
            ["record.json#scores.val.nll: 0.5 there, 0.5000001 here"],
        ),
        (
            changed(record__json={**THERE["record.json"], "classes": [{"class": "a", "f1": 0.25, "new": None}]}),
            ["record.json#classes.0.new: only here"],
        ),
        (
            changed(record__json={**THERE["record.json"], "classes": []}),
            [
                "record.json#classes.0.class: only there",
                "record.json#classes.0.f1: only there",
                "record.json#classes: only here",
            ],
        ),
        ({**THERE, "w:head": np.float32([1.0, 2.5])}, ["w:head: largest difference 0.5 of 2"]),
        ({**THERE, "w:head": np.float64([1.0, 2.0])}, ["w:head: float32(2,) there, float64(2,) here"]),
        ({**THERE, "w:head": [1.0, 2.0, 3.0]}, ["w:head: ndarray there, list here"]),
        ({**THERE, "command 0 (post): out": "one\n2"}, ["command 0 (post): out: 'two' there, '2' here"]),
        ({**THERE, "command 0 (post): exit code": 2}, ["command 0 (post): exit code: 0 there, 2 here"]),
        ({key: one for key, one in THERE.items() if key != "w:head"}, ["w:head: only there"]),
    ],
)
def test_what_is_not_listed_is_told(script: Any, here: dict[str, Any], lines: list[str]) -> None:
    assert script.differences("case", THERE, here, []) == (lines, [])


def test_a_listed_difference_is_meant_in_its_case_and_place_alone(script: Any) -> None:
    here = changed(record__json={**THERE["record.json"], "scores": {"val": {"nll": 0.51, "n": 5}}})
    meant = script.Deviation("case", "*record.json#scores.val.nll", 0.03, "")
    count = ["record.json#scores.val.n: 4 there, 5 here"]
    assert script.differences("case", THERE, here, [meant]) == (count, [meant])
    assert len(script.differences("another", THERE, here, [meant])[0]) == 2
    assert len(script.differences("case", THERE, here, [meant._replace(what=0.01)])[0]) == 2
    by_line = script.Deviation("*", "*#scores.val.n", "4 there, 5 here", "")
    assert script.differences("case", THERE, here, [meant, by_line]) == ([], [meant, by_line])
    assert script.differences("case", THERE, here, [meant, by_line._replace(what="4 there, 6 here")])[0] == count


def test_a_tolerance_excuses_no_number_that_is_missing(script: Any) -> None:
    here = {key: one for key, one in THERE.items() if key != "w:head"}
    assert script.differences("case", THERE, here, [script.Deviation("*", "*", 9.0, "")])[0] == ["w:head: only there"]


def test_every_listed_difference_has_a_reason_and_an_exact_exit_code(script: Any) -> None:
    for one in script.DEVIATIONS:
        assert one.why and not script.fnmatchcase("command 0 (post): exit code", one.name)


def test_a_case_runs_the_package_of_its_tree(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the program is installed by a path of its own, that path stands before PYTHONPATH."""
    (tmp_path / "tree/mlpipe").mkdir(parents=True)
    (tmp_path / "tree/mlpipe/__init__.py").touch()
    (tmp_path / "tree/mlpipe/cli.py").write_text("def main(words):\n    print('the other one', *words)\n    return 3\n")
    monkeypatch.setitem(script.CASES, "one", (None, ("post a=1",)))
    script.run_case("one", tmp_path / "tree", tmp_path / "folder")
    printed = json.loads((tmp_path / "folder/printed.json").read_text())
    assert printed == [["post a=1", 3, "the other one post a=1\n", ""]]
