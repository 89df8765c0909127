"""Blueprints replace whole sections and leave the configuration that they are applied to as it is."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from mlpipe.config import blueprint, rules
from mlpipe.errors import ConfigError

# The list of the modes reference, word for word.
KEYS = [
    "arch", "augmentations", "cbs", "loss", "lr_scheduler", "mode", "optimizer", "preprocessing", "sampling", "trainer",
    "tta", "tune",
]  # fmt: skip
TREE = {
    "seed": 1,
    "mode": {"scheduler": {"_target_": "here"}, "subroutines": ["train"], "cv": False, "nested": True},
    "arch": {"_target_": "a", "name": "one", "drop_rate": 0.5},
    "optimizer": {"_target_": "o", "lr": 0.1},
    "callbacks": {},
}


def test_sections_are_replaced_whole_and_every_difference_is_told() -> None:
    before = copy.deepcopy(TREE)
    sections = {
        "seed": 2,
        "arch": {"_target_": "a", "name": "two"},
        "callbacks": {"early": {"_target_": "c"}},
        "mode": {"scheduler": {"_target_": "there"}, "subroutines": ["test"], "cv": True, "unknown": 1},
    }
    new, notes = blueprint.applied(TREE, sections, KEYS)
    assert new["arch"] == {"_target_": "a", "name": "two"}
    assert new["callbacks"] == {"early": {"_target_": "c"}}
    assert new["mode"] == {"scheduler": {"_target_": "here"}, "subroutines": ["train"], "cv": True, "nested": True}
    assert new["seed"] == 1 and new["optimizer"] == TREE["optimizer"]
    assert notes == [
        "blueprint: arch.name: one -> two",
        "blueprint: arch.drop_rate: 0.5 -> None",
        "blueprint: callbacks.early: None -> {'_target_': 'c'}",
        "blueprint: mode.cv: False -> True",
        "blueprint: it has no optimizer, which stay as they are",
    ]
    new["arch"]["name"] = "three"
    assert before == TREE and sections["arch"] == {"_target_": "a", "name": "two"}


def test_only_the_keys_that_are_named_are_replaced() -> None:
    new, _ = blueprint.applied(TREE, {"arch": {"name": "two"}, "optimizer": {"lr": 7}}, ["optimizer"])
    assert new["arch"] == TREE["arch"] and new["optimizer"] == {"lr": 7}


def test_an_unknown_section_is_named() -> None:
    with pytest.raises(ConfigError, match=r"reuse.blueprint: unknown section 'optimizr'; did you mean 'optimizer'\?"):
        blueprint.applied(TREE, {"optimizr": {}}, KEYS)


def test_reading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(yaml.safe_dump({"cbs": {"early": {}}, "arch": {"name": "x"}}))
    assert blueprint.read(path) == {"callbacks": {"early": {}}, "arch": {"name": "x"}}
    for text in ("", "- a\n", "a: [", "!!python/object/apply:os.system ['true']"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="reuse.blueprint"):
            blueprint.read(path)


def test_what_differs_and_is_not_taken_is_said() -> None:
    more = {
        "peft": {"_target_": "none"},
        "stages": {"list": []},
        "slicing": {"_target_": "none"},
        "split": {"folds": 5},
    }
    theirs = {
        **more,
        "peft": {"_target_": "lora", "rank": 4},
        "stages": {"list": [{"epochs": 1}]},
        "arch": TREE["arch"],
    }
    new, notes = blueprint.applied({**TREE, **more}, theirs, ["arch"])
    assert new == {**TREE, **more}
    assert notes == [
        "blueprint: everything that is taken of it is as it was",
        "blueprint: its peft, stages differ and are not taken; mode.pipeline_keys=[arch,peft,stages] takes them",
    ]
    new, notes = blueprint.applied({**TREE, **more}, theirs, ["arch", "peft", "stages"])
    assert new["peft"] == theirs["peft"] and new["stages"] == theirs["stages"]
    assert not any("not taken" in note for note in notes)


def test_every_part_of_a_recipe_can_be_taken() -> None:
    assert set(blueprint._RECIPE) <= set(rules.PIPELINE_KEYS)
