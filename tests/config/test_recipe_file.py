"""A native configuration in a file: read, put in front of the command line's words, refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe.config import recipe_file
from mlpipe.errors import ConfigError

TEXT = """
defaults:
  - override /arch: resnet18
  - _self_
  - hpo: optuna
mode: {folds: [0]}
arch: {drop_rate: 0.5}
optimizer: {lr: 1e-4}
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (tmp_path / "r.yaml").write_text(TEXT)
    return ["recipe=r.yaml", "seed=1"]


def test_the_words_of_a_file_stand_in_front(words: list[str]) -> None:
    own = ["optimizer.lr=0.0001", "seed=1"]
    assert recipe_file.applied("train", words) == [
        "arch=resnet18", "hpo=optuna", "mode.folds=[0]", "arch.drop_rate=0.5", *own,
    ]  # fmt: skip
    # A search, and the keys of a training's mode, are for trainings.
    assert recipe_file.applied("info", words) == ["arch=resnet18", "arch.drop_rate=0.5", *own]
    assert recipe_file.applied("train", own) == own


def test_a_group_that_the_command_line_chooses_is_its_own(words: list[str]) -> None:
    found = recipe_file.applied("train", [*words, "arch=resnet50"])
    assert "arch.drop_rate=0.5" not in found and found[-1] == "arch=resnet50"
    # The same option is no other choice.
    assert "arch.drop_rate=0.5" in recipe_file.applied("train", [*words, "arch=resnet18"])


def test_a_file_may_ask_for_a_search(words: list[str]) -> None:
    assert recipe_file.searches(words)
    assert not recipe_file.searches([*words, "hpo=none"]) and not recipe_file.searches(["recipe=none.yaml"])


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("architecture: x", "recipe: is no native configuration"),
        ("- a", "recipe: must be a mapping"),
        ("defaults: 1", "recipe: defaults: must be a list of mappings"),
        ("defaults: []\ntrust: [x]", "trust: must be said on the command line, not in a file"),
        ("a: [", "recipe: cannot be read"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=wrong):
        recipe_file.applied("train", ["recipe=r.yaml"])
