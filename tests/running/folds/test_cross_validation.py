"""What is said of a plan before any fold is trained."""

from __future__ import annotations

import pytest

from mlpipe.running import launch
from mlpipe.running.folds import cross_validation
from tests.build import DIGITS


@pytest.mark.parametrize(
    ("word", "key", "place"),
    [
        ("cbs=output_files", "callbacks.outputs", "outputs"),
        ("cbs=layer_files", "callbacks.checkpoints", "checkpoints"),
        ("stages.list=[{epochs:1,callbacks:[layer_files]}]", "stages.list[0].callbacks.checkpoints", "checkpoints"),
    ],
)
def test_files_that_every_fold_writes_are_told(word: str, key: str, place: str) -> None:
    """Of five folds four lost their files to the last one, and nothing was said."""
    recipe = launch.prepare(launch.Command("train", [*DIGITS, word])).run_config.recipe
    (sentence,) = cross_validation.same_files(recipe, 5)
    assert sentence.startswith(f"{key}: all 5 models write to {place}, the last one's files stay; train one of them")
    assert cross_validation.same_files(recipe, 1) == []


def test_files_of_a_run_s_own_folder_are_not() -> None:
    recipe = launch.prepare(launch.Command("train", [*DIGITS, "cbs=[best_practice,ema]"])).run_config.recipe
    assert cross_validation.same_files(recipe, 5) == []
