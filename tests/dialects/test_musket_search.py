"""`hyperparameters` of a Musket file: spaces, formulas in its texts, and what is no search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mlpipe.dialects import musket
from mlpipe.dialects.translation import Translation
from mlpipe.errors import ConfigError
from tests import musket_project

SPACE: dict[str, Any] = {
    "rate": [0.1, 1.0],
    "k": {"range": [1, 4], "type": "int"},
    "n": [1, 3],
    "opt": {"enum": ["Adam", "SGD"]},
    "share": {"range": [0, 1], "type": "float"},
}
KEYS: dict[str, Any] = {
    "hyperparameters": SPACE,
    "lr": "0.01*rate",
    "batch": "4*k",
    "optimizer": "opt",
    "loss": "categorical_crossentropy+(1-share)*dice_loss",
    "stages": [{"epochs": "n+1"}],
}


def translated(tmp_path: Path, values: dict[str, Any] | None = None, **keys: Any) -> Translation:
    folder = musket_project.make(tmp_path)
    source = {**yaml.safe_load(musket_project.CONFIG), **keys}
    return musket.translate(source, musket.Home.of(folder / "config.yaml"), values=values)


def test_a_space_and_its_first_values(tmp_path: Path) -> None:
    found = translated(tmp_path, **KEYS, max_evals=7)
    assert found.native["search_space"]["params"] == {
        "given.rate": "interval(0.1,1.0)",
        "given.k": "int(interval(1,4))",
        "given.n": "int(interval(1,3))",
        "given.opt": "choice(Adam,SGD)",
        "given.share": "interval(0.0,1.0)",
    }
    assert found.chosen()["hpo"] == "optuna" and found.native["hpo"]["trials"] == 7
    assert found.needed == {
        "given.rate": "0.1",
        "given.k": "1",
        "given.n": "1",
        "given.opt": "Adam",
        "given.share": "0.0",
    }
    assert not found.of_fate("lint")


def test_formulas_have_the_values_that_are_given(tmp_path: Path) -> None:
    values = {"rate": 0.5, "k": 3, "n": 2, "opt": "SGD", "share": 0.25}
    found = translated(tmp_path, values, **KEYS)
    assert found.native["optimizer"]["lr"] == pytest.approx(0.005)
    assert found.native["sampling"]["batch_size"] == 12
    assert found.chosen()["optimizer"] == "sgd"
    assert found.native["loss"]["expression"] == "ce+0.75*dice"
    assert [stage["epochs"] for stage in found.native["stages"]["list"]] == [3]
    assert not found.needed and not found.native["search_space"]["params"]
    assert found.native["hpo"]["trials"] == 200


@pytest.mark.parametrize("text", ["a/k.csv", "k 1"])
def test_texts_that_only_look_like_names_stay(text: str, tmp_path: Path) -> None:
    found = translated(tmp_path, {"k": 2}, hyperparameters={"k": [1, 4]}, dataset={"getTrain": [text, "k"]})
    assert found.native["task"]["train"] == [{"call": "getTrain", "arguments": [text, 2]}]


def test_a_name_that_changes_nothing_is_lint(tmp_path: Path) -> None:
    (line,) = translated(tmp_path, hyperparameters={"rate": [0.1, 1]}).of_fate("lint")
    assert line.key == "hyperparameters.rate" and "changes nothing" in line.note
    (line,) = [one for one in translated(tmp_path / "b", max_evals=3).report if one.key == "max_evals"]
    assert line.fate == "ignored"


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ([0.1, 1], "hyperparameters: must be a map of names"),
        ({"a b": [0, 1]}, "hyperparameters.a b: is no name for formulas"),
        ({"a": [1, 0]}, "hyperparameters.a: the least number must come first"),
        ({"a": [1]}, "hyperparameters.a: a range has two numbers"),
        ({"a": 3}, "hyperparameters.a: is no space to search"),
        ({"a": {"rnge": [0, 1]}}, "hyperparameters.a: rnge is unknown"),
        ({"a": {"enum": []}}, "hyperparameters.a: enum must be a list of values"),
        ({"a": {"range": [0, 1], "type": "log"}}, "hyperparameters.a: type must be int or float"),
        ({"a": {"range": [0.5, 1], "type": "int"}}, "hyperparameters.a: whole numbers have whole ends"),
    ],
)
def test_what_is_no_space_is_one_sentence(tmp_path: Path, space: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        translated(tmp_path, hyperparameters=space)
    (problem,) = caught.value.problems
    assert problem.startswith(sentence)


def test_what_has_no_value_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lr: cannot be computed \(division by zero\)"):
        translated(tmp_path, {"a": 0}, hyperparameters={"a": [0, 1]}, lr="1/a")
    with pytest.raises(ConfigError, match="given.rat: the file searches no such parameter; did you mean 'rate'"):
        translated(tmp_path / "b", {"rat": 1}, **KEYS)
    with pytest.raises(ConfigError, match="max_evals: must be a whole number >= 1, got 0"):
        translated(tmp_path / "c", **KEYS, max_evals=0)


def test_a_formula_without_a_value_is_told_with_the_other_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        translated(tmp_path, {"a": 0}, hyperparameters={"a": [0, 1]}, lr="1/a", optimizer="Adm")
    assert [one.partition(":")[0] for one in caught.value.problems] == ["lr", "optimizer"]


def test_a_trial_as_a_file(tmp_path: Path) -> None:
    source = {**yaml.safe_load(musket_project.CONFIG), **KEYS}
    found = musket.filled(source, {"rate": 0.5, "k": 3})
    assert (found["lr"], found["batch"], found["optimizer"]) == (0.005, 12, "Adam")
    assert "hyperparameters" not in found and found["shape"] == [32, 32, 3]
