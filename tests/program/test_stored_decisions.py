"""What was decided for a task holds for its later trainings; every training says how large its parts are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.cli import main
from mlpipe.config.schema import RunConfig
from mlpipe.running import launch, tasks

TRAIN = [
    "arch=test_resnet", "arch.pretrained=false", "preprocessing.size=32", "trainer.max_epochs=1", "mode.nested=false",
    "mode.cv=false", "sys.threads=1",
]  # fmt: skip


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for part, many in (("train", 10), ("val", 2)):
        for name in "ab":
            folder = tmp_path / "pets" / part / name
            folder.mkdir(parents=True)
            for number in range(many):
                Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "pets"


def configured(*words: str) -> RunConfig:
    config = launch.prepare(launch.Command("train", [*words, *TRAIN])).run_config
    return tasks.with_decisions(config, tasks.pivot(config))


def created(*words: str) -> str:
    assert main(["create", "task=folder", "task.root=pets", *words]) == 0
    return next(Path("data").glob("pets-*")).name


def test_a_created_split_holds_until_a_command_says_otherwise(images: Path) -> None:
    name = created()
    plain = configured(f"task={name}")
    assert plain.split.params["folds"] == 5
    assert "decided" not in json.loads(Path("data", name, "task.json").read_text())
    created("mode.n_folds=3", "mode.ensure_balancing=false")
    found = configured(f"task={name}")
    assert (found.split.params["folds"], found.split.params["stratify"]) == (3, False)
    # It is the training that names the same split.
    named = configured(f"task={name}", "split.folds=3", "split.stratify=false")
    assert found.recipe_hash("x") == named.recipe_hash("x") != plain.recipe_hash("x")
    assert configured("task=folder", "task.root=pets").split.params["folds"] == 3
    other = configured(f"task={name}", "split.folds=2")
    assert (other.split.params["folds"], other.split.params["stratify"]) == (2, False)
    assert configured(f"task={name}", "split=kfold").split.params["folds"] == 5
    created("split=holdout", "split.val_fraction=0.3")
    held = configured(f"task={name}", "split.seed=3").split
    assert held.target.endswith("holdout") and (held.params["val_fraction"], held.params["seed"]) == (0.3, 3)
    # A key that a validation part does not have asks for folds.
    folds = configured(f"task={name}", "split.folds=4").split
    assert folds.target.endswith("kfold") and folds.params["folds"] == 4


def test_whether_rare_classes_are_refused_is_no_part_of_a_recipe(images: Path) -> None:
    name = created()
    plain, allowed = configured(f"task={name}"), configured(f"task={name}", "split.rare=allow")
    assert plain.recipe_hash("x") == allowed.recipe_hash("x")
    of = tasks.pivot(plain)
    assert (tasks.split_of(plain, of).rare, tasks.split_of(allowed, of).rare) == ("refuse", "allow")
    assert len(json.loads(Path("data", name, "task.json").read_text())["splits"]) == 1


def test_unreadable_images_that_were_allowed_once(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images / "train" / "a" / "broken.png").write_text("no image")
    words = ["split.folds=2", *TRAIN]
    assert main(["train", "task=folder", "task.root=pets", *words]) == 2
    capsys.readouterr()
    assert (
        main(["train", "mode.subroutines=[train]", "task=folder", "task.root=pets", "task.max_unreadable=1", *words])
        == 0
    )
    told = capsys.readouterr()
    assert (told.out + told.err).count("broken.png") == 1
    name = next(Path("data").glob("pets-*")).name
    assert f"{name}: train 12, validation 12, test 0" in told.out
    assert "the 4 images of its val part are pooled with those of train; split=given validates" in told.out
    after = "next: mml predict, then mml post, for calibration, intervals and the report"
    assert after in told.out.splitlines()
    assert main(["train", "mode.subroutines=[train]", f"task={name}", *words]) == 0
    assert main(["train", f"task={name}", "task.max_unreadable=0", *words]) == 2


def test_create_tells_the_test_part(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    created("split=holdout", "split.test_fraction=0.25")
    assert "folds of pets-" in (told := capsys.readouterr().out)
    assert "4, 14 images (fold 0 validates); test part: 6 images" in told
    # Without a split of its own the command tells the one that holds.
    created()
    assert "4, 14 images (fold 0 validates); test part: 6 images" in capsys.readouterr().out
    created("mode.n_folds=3")
    assert "8, 8, 8 images; test part: 0 images" in capsys.readouterr().out
