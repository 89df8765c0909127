"""What a recipe file says is what the same words say elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe.dialects import front
from mlpipe.errors import ConfigError
from mlpipe.running import launch
from mlpipe.running.launch import Command

VALUE = 1e-4


def _recipe(folder: Path) -> list[str]:
    (folder / "r.yaml").write_text("defaults:\n  - task: digits\noptimizer: {lr: 1e-4}\n")
    return ["recipe=r.yaml"]


def _blueprint(folder: Path) -> list[str]:
    text = "optimizer: {_target_: mlpipe.learn.optimizers.adam.adamw, lr: 1e-4, weight_decay: 1e-2}\n"
    (folder / "b.yaml").write_text(text)
    return ["task=digits", "mode.use_blueprint=true", "reuse.blueprint=b.yaml"]


def _words(folder: Path) -> list[str]:
    return ["task=digits", "optimizer.lr=1e-4"]


@pytest.mark.parametrize("said", [_recipe, _blueprint, _words])
def test_a_number_is_one_wherever_it_is_said(said: object, tmp_path: Path) -> None:
    assert callable(said)
    config = launch.prepare(launch.Command("train", said(Path.cwd()))).run_config
    assert config.recipe.optimizer.params["lr"] == VALUE


def test_a_number_of_an_option_file_is_one(tmp_path: Path) -> None:
    folder = tmp_path / "more" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text("_target_: mlpipe.learn.optimizers.adam.adamw\nlr: 1e-4\n")
    config = launch.prepare(launch.Command("train", ["task=digits", "optimizer=own"]), [tmp_path / "more"]).run_config
    assert config.recipe.optimizer.params["lr"] == VALUE


def test_a_native_recipe_is_left_to_the_configuration(tmp_path: Path) -> None:
    words = [*_recipe(Path.cwd()), "seed=1"]
    command = front.native(Command("train", words))
    assert command.overrides == words and command.mode == "train" and list(command.words) == ["train", *words]


def test_a_run_that_goes_on_keeps_its_words(tmp_path: Path) -> None:
    assert front.native(Command("train", ["continue=latest", "proj=p"])).overrides == ["continue=latest", "proj=p"]


def test_a_folder_of_artifacts_is_scored(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    command = front.native(Command("predict", ["recipe=out", "task.file=v.json", "trust=[x]"]))
    assert (command.mode, command.overrides) == ("score", ["mode.file=v.json", "trust=[x]", "mode.folder=out"])


def test_convert_needs_a_file() -> None:
    with pytest.raises(ConfigError, match="there is nothing to convert"):
        front.native(Command("convert", []))


def test_a_native_recipe_of_a_search_is_no_foreign_one(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("defaults: [{hpo: optuna}]\n")
    assert not front.searches(Command("train", ["recipe=r.yaml"]))


def test_scoring_without_a_file_names_the_key_of_the_page() -> None:
    Path("out").mkdir()
    with pytest.raises(
        ConfigError, match=r"^task\.file: what is to be scored is not named; mml predict recipe=out task\."
    ):
        front.native(Command("predict", ["recipe=out"]))
