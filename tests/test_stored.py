"""What a project holds is checked like what a user types; ensembles come back as they were written, the oldest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
import pytest

from mlpipe import files
from mlpipe.errors import ProjectError
from mlpipe.runs import ensembles, formats, integrity, maps, predictions
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.project import Project
from mlpipe.stored import checked, fits, made, read


@dataclass(frozen=True)
class Kinds:
    number: int
    share: float
    text: str | None
    names: list[str]
    table: dict[str, list[int]]
    anything: Any = None
    flag: bool = field(default=False)


GOOD: dict[str, Any] = {"number": 1, "share": 0.5, "text": None, "names": ["a"], "table": {"x": [1]}}


@pytest.mark.parametrize(
    "change",
    [
        {}, {"share": 1}, {"text": "t"}, {"names": []}, {"table": {}}, {"anything": {"x": object}}, {"flag": True},
    ],
)  # fmt: skip
def test_values_of_their_types_are_taken(change: dict[str, Any]) -> None:
    assert made(Kinds, GOOD | change) == Kinds(**(GOOD | change))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("number", 1.5), ("number", True), ("number", "1"), ("share", False), ("share", "0.5"), ("text", 1),
        ("names", "a"), ("names", [1]), ("names", ["a", None]), ("table", []), ("table", {"x": 1}),
        ("table", {"x": ["1"]}), ("flag", 1),
    ],
)  # fmt: skip
def test_values_of_another_type_are_named(key: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{key} is of another type$"):
        made(Kinds, GOOD | {key: value})


def test_what_is_no_mapping_or_has_other_keys_is_refused() -> None:
    with pytest.raises(TypeError, match="^it is no mapping$"):
        made(Kinds, [GOOD])
    with pytest.raises(TypeError, match="more"):
        made(Kinds, GOOD | {"more": 1})
    with pytest.raises(TypeError, match="number"):
        made(Kinds, {key: value for key, value in GOOD.items() if key != "number"})


def an_ensemble(name: str, created: str = "2026-01-01", **facts: Any) -> EnsembleRecord:
    plain: dict[str, Any] = {
        "id": name, "created": created, "run": "r", "task": "t", "kind": "classification", "classes": ["a", "b"],
        "members": [{"name": "m", "weight": 1.0, "records": ["x"]}], "mixing": "logits", "way": "greedy",
        "select_on": "oof", "stage": "before", "calibration": None, "prior": {}, "losses": {"oof": 0.5}, "scores": {},
    }  # fmt: skip
    return EnsembleRecord(**(plain | facts))


def test_ensembles_come_back_the_oldest_first(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    kept = [an_ensemble("b", "2026-01-02"), an_ensemble("a", "2026-01-02"), an_ensemble("z", "2026-01-01")]
    for one in kept:
        path = ensembles.save(project, one)
        assert path == project.ensembles_dir("t") / f"{one.id}.json"
        assert files.seal_is_broken(files.read_json(path)) is False
    assert ensembles.load_all(project, "t") == [kept[2], kept[1], kept[0]]
    assert ensembles.load_all(project, "other") == []


def test_a_damaged_ensemble_is_named(tmp_path: Path) -> None:
    path = ensembles.save(Project(tmp_path / "p"), an_ensemble("a"))
    stored = files.read_json(path)
    for wrong, words in (
        (
            {**stored, "format": 7},
            "has another format, got 7; this version of mlpipe reads format 1; use a newer mlpipe",
        ),
        ({**stored, "members": {}}, r"a\.json: cannot be read as an ensemble \(members is of another type\)"),
        ([stored], "has another format, got 'none'"),
    ):
        files.write_json(path, wrong)
        with pytest.raises(ProjectError, match=words):
            ensembles.load(path)
    path.write_text("{")
    with pytest.raises(ProjectError, match="cannot be read as an ensemble"):
        ensembles.load(path)


def test_every_file_of_an_ensemble_is_compared(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    one = an_ensemble("a", kind="segmentation")
    path = ensembles.save(project, one)
    table, pixels = path.with_suffix(".parquet"), path.with_suffix(".npz")
    assert [(f.of, f.what, f.verdict) for f in integrity.of_ensemble(project, one)] == [
        ("a", "a.json", "ok"), ("a", "predictions", "missing"), ("a", "maps of pixels", "missing"),
    ]  # fmt: skip
    with predictions.writer(table, (), "segmentation") as sink:
        sink.add("t", "val", 0, ["x"], np.ones((1, 2)), np.ones((1, 4), np.float32))
    with maps.writer(pixels) as drawn:
        drawn.add("t", "val", "x", np.full((2, 3, 3), 100, np.uint8), None)
    assert {f.verdict for f in integrity.of_ensemble(project, one)} == {"ok"}
    # Of other kinds there are no maps.
    assert len(list(integrity.of_ensemble(project, an_ensemble("a")))) == 2
    found = integrity.records_of_run(project, "r")
    assert ([mixture.id for mixture in found[1]], found[2]) == (["a"], [])
    assert integrity.records_of_run(project, "another")[1] == []
    table.write_bytes(b"PAR1")
    content = bytearray(pixels.read_bytes())
    content[60] ^= 0xFF
    pixels.write_bytes(content)
    path.write_text(path.read_text().replace("greedy", "chosen"))
    first, second, third = integrity.of_ensemble(project, one)
    assert (first.verdict, first.why) == ("damaged", "it was changed since it was written")
    assert second.verdict == third.verdict == "damaged" and second.why and third.why
    assert all(f.is_wrong for f in (first, second, third))
    path.write_text("{")
    (broken,) = integrity.records_of_run(project, "r")[2]
    assert (broken.of, broken.what, broken.verdict) == ("a", "a.json", "damaged") and "a.json" in broken.why
    assert integrity.seal_finding(path, "a").why == "cannot be read (JSONDecodeError)"
    path.write_text("[]")
    assert integrity.seal_finding(path, "a").verdict == "not compared"
    assert integrity.seal_finding(path.with_name("none.json"), "a").verdict == "missing"


def test_only_what_needs_a_hand_is_wrong() -> None:
    verdicts = {"ok": False, "not compared": False, "damaged": True, "missing": True, "differs": True}
    for verdict, wrong in verdicts.items():
        assert integrity.Finding("a", "b", verdict).is_wrong is wrong  # type: ignore[arg-type]


class Facts(TypedDict):
    name: str
    pair: NotRequired[tuple[str, int]]
    way: NotRequired[Literal["a", 1]]


@pytest.mark.parametrize("more", [{}, {"pair": ["x", 1]}, {"way": "a"}, {"way": 1}, {"further": object}])
def test_a_mapping_has_the_keys_that_are_demanded_and_may_have_more(more: dict[str, Any]) -> None:
    given = {"name": "x", **more}
    assert checked(Facts, given) is given and fits(given, Facts)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ([], "^it is no mapping$"), ({}, "^it has no name$"), ({"name": 1}, "^name is"), ({"name": "\ud800"}, "^name is"),
        ({"name": "x", "pair": ["x"]}, "^pair is"), ({"name": "x", "pair": [1, 1]}, "^pair is"),
        ({"name": "x", "way": "b"}, "^way is"), ({"name": "x", "way": True}, "^way is"),
    ],
)  # fmt: skip
def test_a_mapping_of_another_form_is_named(given: Any, wrong: str) -> None:
    with pytest.raises(TypeError, match=wrong):
        checked(Facts, given)
    assert not fits(given, Facts)


@dataclass(frozen=True)
class Outer:
    inner: Kinds | None
    several: int = 0


def test_a_file_is_read_as_what_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, {"inner": GOOD})
    assert read(path, Outer, "") == Outer(Kinds(**GOOD))
    files.write_json(path, [1, 2])
    assert read(path, list[int], "") == [1, 2]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"inner": {"number": 1}}', '{"inner": null, "several": "x"}'])
def test_a_file_of_something_else_is_a_sentence_with_its_name(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content, "utf-8")
    with pytest.raises(ProjectError, match="x.json: is damaged .*; make it again$"):
        read(tmp_path / "x.json", Outer, "make it again")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400, 2**63, -(2**63)])
def test_numbers_that_no_array_holds_are_none(value: float) -> None:
    assert not fits(value, float) and not fits(value, int) and not fits({"x": [value]}, dict[str, list[float]])


@pytest.mark.parametrize(
    "decide",
    [
        {"thresholds": {"criterion": "f1", "cuts": {"a": "x"}}},
        {"thresholds": {"criterion": "f1", "cuts": {"z": 0.5}}},
        {"thresholds": {"criterion": "f1", "cuts": {}, "prevalence": [1.0]}},
        {"costs": {"table": [[1.0]], "each": 1.0, "most_probable": 1.0, "normalised": None}},
        {"sets": {"score": "lac"}},
        {"calibration_error": "x"},
        {"halfwidths": {"a": "x"}},
        {"halfwidths": {"a": 1.0, "b": 1.0}},
        {"halfwidths": {"a": 1.0}, "interval_alpha": 0.1},
    ],
)
def test_an_ensemble_with_decisions_of_something_else_is_a_sentence(decide: dict[str, Any], tmp_path: Path) -> None:
    plain = {
        "id": "e", "created": "", "run": "", "task": "t", "kind": "classification", "classes": ["a", "b"], "members": [],
        "mixing": "logits", "way": "", "select_on": "oof", "stage": "none", "calibration": None, "prior": {}, "losses": {},
        "scores": {"test": {"accuracy": {"value": 0.5, "low": None, "high": None}}},
    }  # fmt: skip
    files.write_json(tmp_path / "e.json", {**plain, "format": formats.ENSEMBLE})
    assert ensembles.load(tmp_path / "e.json").id == "e"
    files.write_json(tmp_path / "e.json", {**plain, "format": formats.ENSEMBLE, "decide": decide})
    with pytest.raises(ProjectError, match="e.json: cannot be read as an ensemble .decide is "):
        ensembles.load(tmp_path / "e.json")
    files.write_json(
        tmp_path / "e.json", {**plain, "format": formats.ENSEMBLE, "scores": {"test": {"accuracy": {"value": 0.5}}}}
    )
    with pytest.raises(ProjectError, match="scores are of another type"):
        ensembles.load(tmp_path / "e.json")


def test_intervals_of_earlier_ensembles_say_how_often_they_miss(tmp_path: Path) -> None:
    """The level stood among the half-widths of the outputs, where an output of its name hid it."""
    plain = {
        "id": "e", "created": "", "run": "", "task": "t", "kind": "regression", "classes": ["beta", "b"], "members": [],
        "mixing": "logits", "way": "", "select_on": "oof", "stage": "none", "calibration": None, "prior": {}, "losses": {},
        "scores": {}, "decide": {"halfwidths": {"alpha": 0.2, "beta": 1.5, "b": None}}, "format": formats.ENSEMBLE,
    }  # fmt: skip
    files.write_json(tmp_path / "e.json", plain)
    wanted = {"halfwidths": {"beta": 1.5, "b": None}, "interval_alpha": 0.2}
    assert ensembles.load(tmp_path / "e.json").decide == wanted
    files.write_json(
        tmp_path / "e.json", {**plain, "classes": ["alpha", "b"], "decide": {"halfwidths": {"alpha": 3.0, "b": 1.0}}}
    )
    # The level is lost, and with it the intervals, but not the ensemble.
    record = ensembles.load(tmp_path / "e.json")
    told = "its prediction intervals are left out, as their level was not stored: run mml post again"
    assert (record.classes, record.decide, record.notes) == (["alpha", "b"], {}, [told])
    new = {"halfwidths": {"alpha": 3.0, "b": 1.0}, "interval_alpha": 0.1}
    files.write_json(tmp_path / "e.json", {**plain, "classes": ["alpha", "b"], "decide": new})
    assert ensembles.load(tmp_path / "e.json").decide == new
