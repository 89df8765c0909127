"""What the trials of a study share: everything that changes a trial, and nothing that leaves it as it was."""

from __future__ import annotations

from typing import Any

import pytest

from mlpipe.config.schema import RECIPE_SECTIONS
from mlpipe.config.search_space import Parameter
from mlpipe.dialects import front
from mlpipe.running import launch
from mlpipe.running.sweeps import search
from mlpipe.running.sweeps.search import Search
from tests.build import DIGITS


def _shared(*words: str) -> dict[str, Any]:
    base = launch.prepare(launch.Command("train", [*DIGITS, *words])).run_config
    return Search(base, (), front, {}, (), "", (), (), ()).shared()


def test_a_plain_study_keeps_its_name() -> None:
    assert set(_shared()) == {"task", "mode", *RECIPE_SECTIONS, "seed", "threads"}


@pytest.mark.parametrize(
    ("words", "section"),
    [
        (["task=digits+subset?0.5"], "tags"),
        (["stages=freeze_then_finetune"], "stages"),
        (["peft=lora"], "peft"),
        (["slicing=crops"], "slicing"),
        (["tta=flips"], "tta"),
        (["tune=lr_find"], "tune"),
        (["reuse.parameters=first#1"], "reuse"),
        (["healing=none"], "healing"),
        (["mode.multitask=2", "task_list=[fashion_mini]"], "task_list"),
    ],
)
def test_what_changes_every_trial_begins_another_study(words: list[str], section: str) -> None:
    assert section in _shared(*words) and section not in _shared()


@pytest.mark.parametrize("key", ["split.repeats", "stages", "stages.list", "trainer.max_epochs"])
def test_a_pruner_compares_no_trials_of_other_epochs(key: str) -> None:
    base = launch.prepare(launch.Command("train", [*DIGITS, "hpo=optuna", "hpo.pruner=median"])).run_config
    assert base.hpo is not None
    (sentence,) = search._rules(base, base.hpo, {key: Parameter(choices=(1, 2))}, ["val/loss"])
    assert sentence == f"hpo.pruner: compares trials at the same epoch, but {key} is searched; leave one out"
