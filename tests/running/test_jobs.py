"""What a command adds to itself: a training that says nothing of its subroutines predicts, calibrates and reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe.dialects import front
from mlpipe.errors import ConfigError
from mlpipe.running import jobs
from mlpipe.running.launch import Command
from tests.build import DIGITS

WHOLE = ["train", "predict", "post"]


def of_one(*words: str, mode: str = "train") -> list[str]:
    prepared = jobs.prepare(Command(mode, [*DIGITS, *words]), front=front).one
    assert prepared is not None
    found = prepared.run_config.scheduler.params["subroutines"]
    assert prepared.run_config.tree["mode"]["subroutines"] == found
    return list(found)


def test_a_training_predicts_and_reports() -> None:
    assert of_one() == WHOLE
    assert of_one("mode.nested=false", "mode.cv=false") == WHOLE


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("mode.subroutines=[train]", ["train"]),
        ("mode.subroutines=[train,test]", ["train", "test"]),
        ("mode.store_parameters=false", ["train"]),
        ("mode.eval_on=digits", ["train"]),
    ],
)
def test_what_is_said_is_done_and_nothing_else(word: str, found: list[str]) -> None:
    assert of_one(word) == found


def test_other_modes_and_the_jobs_of_a_sweep_get_nothing() -> None:
    sweep = jobs.prepare(Command("train", [*DIGITS, "optimizer.lr=0.1,0.2"]), front=front, multirun=True)
    found = [job.prepared.run_config.tree["mode"]["subroutines"] for job in sweep.jobs]
    assert found == [["train"], ["train"]]
    preset = jobs.prepare(Command("train", ["task=digits", "preset=fast"]), front=front).one
    assert preset is not None and preset.run_config.tree["mode"]["subroutines"] == ["train"]


def test_a_native_recipe_file_gets_it_unless_it_says_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("defaults: []\noptimizer:\n  lr: 0.5\n")
    assert of_one(f"recipe={file}") == WHOLE
    file.write_text("defaults: []\noptimizer:\n  lr: 0.5\nmode:\n  subroutines: [train]\n")
    assert of_one(f"recipe={file}") == ["train"]


def test_the_file_of_another_program_says_all_itself(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    lines = ["architecture: resnet18", "activation: softmax", "loss: categorical_crossentropy", "classes: 10"]
    lines += ["shape: [16, 16, 3]", "optimizer: Adam", "stages:", "  - epochs: 1"]
    file.write_text("\n".join(lines))
    assert of_one(f"recipe={file}") == ["train"]


def test_the_recipe_is_the_same_with_and_without() -> None:
    hashes = set()
    for words in ([], ["mode.subroutines=[train]"]):
        prepared = jobs.prepare(Command("train", [*DIGITS, *words]), front=front).one
        assert prepared is not None
        hashes.add(prepared.run_config.recipe_hash("digits"))
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["mode.subroutines=[train,post]"], "post follows a training's predictions"),
        (["mode.subroutines=[predict,post]"], "post follows a training's predictions"),
        (
            ["mode.subroutines=[train,predict,post]", "mode.eval_on=digits"],
            "leaves the task itself without predictions",
        ),
        (["mode.subroutines=[train,predict,post]", "mode.store_parameters=false"], "asks for predict and post"),
    ],
)
def test_a_report_needs_predictions(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        of_one(*words)
