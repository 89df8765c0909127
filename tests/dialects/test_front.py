"""What a recipe file says is what the same words say elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe.running import launch

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
    config = launch.prepare("train", said(Path.cwd())).run_config
    assert config.recipe.optimizer.params["lr"] == VALUE


def test_a_number_of_an_option_file_is_one(tmp_path: Path) -> None:
    folder = tmp_path / "more" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text("_target_: mlpipe.learn.optimizers.adam.adamw\nlr: 1e-4\n")
    config = launch.prepare("train", ["task=digits", "optimizer=own"], [tmp_path / "more"]).run_config
    assert config.recipe.optimizer.params["lr"] == VALUE
