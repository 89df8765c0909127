"""Presets: several recipes within a time, decided once, resumable, and what they refuse."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlpipe.cli import main
from mlpipe.errors import ConfigError, Interrupted
from mlpipe.reports import tables
from mlpipe.running import launch, presets
from mlpipe.running.folds.fold_training import FoldTraining
from mlpipe.running.image_times import ImageTimes
from mlpipe.running.presets import PresetScheduler
from mlpipe.running.steps import Deadline, Stop
from mlpipe.running.time_plan import Pace, PlannedAnew, Shape
from mlpipe.runs import ensembles, predictions, records
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

TRAIN = ["train", "task=digits", "arch=test_resnet", "arch.pretrained=false", "sys.threads=1", "preprocessing.size=16"]
# The features of the last stage alone, of which heads are fitted in a third of the time.
TRAIN += ["split.folds=2", "arch.pool=null"]


@pytest.mark.parametrize(
    ("size", "scale", "other"),
    [
        (128, 2.0, 256),
        (128, 1.5, 192),
        (100, 1.0, 100),
        (100, 0.5, 64),
        (28, 1.5, 40),
        (8, 0.1, 8),
        ([96, 64], 0.5, [64, 32]),
    ],
)
def test_sizes_are_whole_multiples(size: object, scale: float, other: object) -> None:
    assert presets._scaled(size, scale) == other


@pytest.mark.parametrize(("given", "share"), [((), 0.0), (("split.test_fraction",), 0.2)])
def test_a_test_part_is_set_aside_only_when_asked_for(given: tuple[str, ...], share: float) -> None:
    assert presets._split_without_test({"folds": 5, "test_fraction": 0.2}, frozenset(given)) == {
        "folds": 5,
        "test_fraction": share,
    }
    assert presets._split_without_test({"rare": "refuse"}, frozenset(given)) == {"rare": "refuse"}


def test_the_end_of_a_time_stops_and_is_nobodys_wish() -> None:
    wish = Stop()
    over, later = Deadline(wish, time.monotonic() - 1), Deadline(wish, time.monotonic() + 600)
    assert over() and not later() and not wish()
    with pytest.raises(Interrupted):
        over.check()
    later.check()
    later.asked = True
    assert wish() and later() and over.asked


def test_how_slow_a_machine_is() -> None:
    assert presets.slowness() >= 1.0


def trees_of(*words: str) -> dict[str, dict[str, Any]]:
    trees: dict[str, dict[str, Any]] = launch.prepare(
        launch.Command("train", [*TRAIN[1:], "preset=best", *words])
    ).run_config.tree["preset"]["trees"]
    return trees


def test_keys_that_an_exact_head_has_no_use_for_are_the_networks() -> None:
    words = ["stages=freeze_then_finetune", "tune=lr_find", "loss=focal", "loss.class_weights=balanced"]
    trees = trees_of(*words, "mode.subroutines=[train,predict,post]")
    for name in ("probe", "larger", "mirrored", "larger_mirrored", "nearest"):
        tree = trees[name]
        assert not tree["stages"]["list"] and tree["loss"]["_target_"].endswith(".auto")
        assert tree["tune"]["_target_"].endswith(".none")
    assert len(trees["tuned"]["stages"]["list"]) == 2 and trees["tuned"]["tune"]["_target_"].endswith("lr_find")
    assert trees["strong"]["loss"]["_target_"].endswith(".focal")
    recipes = [tree for name, tree in trees.items() if name != "post"]
    assert all(tree["loss"]["class_weights"] == "balanced" for tree in recipes)
    # Calibrated and reported once, of all recipes together.
    assert all(tree["mode"]["subroutines"] == ["train", "predict"] for tree in recipes)


@pytest.mark.parametrize("parts", ["[train]", "[predict]"])
def test_a_preset_mixes_what_its_recipes_predict(parts: str) -> None:
    with pytest.raises(
        ConfigError, match=r"mode.subroutines: a preset trains recipes and mixes what they predict, got"
    ):
        trees_of(f"mode.subroutines={parts}")


@pytest.mark.parametrize(("left", "scale", "side"), [(100, 1.0, 128), (14, 0.75, 96), (10, 0.5, 64), (0, 0.5, 64)])
def test_the_first_recipe_has_fewer_pixels_where_one_pass_takes_more_than_half_of_what_is_left(
    left: float, scale: float, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 images of 128 x 128 take 11 s, of 96 x 96 6.2 s, of 64 x 64 2.8 s."""
    scheduler = PresetScheduler.__new__(PresetScheduler)
    scheduler._limit, scheduler._trees = 60.0, {"probe": {}, "post": {}}
    scheduler.run_config = SimpleNamespace(tree={"preset": {}})  # type: ignore[assignment]
    scheduler._times = ImageTimes(images=1000, read=0.0, evaluate=0.01, size=128, parameters=1)
    monkeypatch.setattr(PresetScheduler, "_remaining_seconds", lambda self: float(left))
    assert scheduler._scale("probe") == scale and presets._scaled(128, scale) == side


def planned(*held_out: np.ndarray[Any, Any], classes: int = 2) -> PresetScheduler:
    """A scheduler that knows which images each fold holds out."""
    scheduler = PresetScheduler.__new__(PresetScheduler)
    scheduler._task = SimpleNamespace(classes=["c"] * classes)  # type: ignore[assignment]
    scheduler._labels, scheduler._folds = [f"fold {place}" for place in range(len(held_out))], len(held_out)
    scheduler.__dict__["_held_out"] = held_out
    return scheduler


def test_so_many_folds_choose_as_hold_out_images_enough_each_as_often() -> None:
    once = [np.arange(60), np.arange(60, 120)]
    assert [planned(*once)._is_enough(folds) for folds in (1, 2)] == [False, True]
    # Of a repeat there is all or nothing: the mean over repeats is of images that each of them holds out.
    assert [planned(*once, *once)._is_enough(folds) for folds in (2, 3, 4)] == [True, False, True]
    assert not planned(*once, classes=30)._is_enough(2)


def test_a_network_has_no_more_folds_than_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PresetScheduler, "_is_exact", lambda self, name: name == "probe")
    scheduler = planned(*[np.arange(60)] * 5)
    scheduler._plans = {"probe": {"epochs": 1, "left_out": ["fold 1", "fold 2", "fold 3", "fold 4"]}}
    assert scheduler._most_folds("tuned") == 5
    # What is left out of all folds is no fold.
    scheduler._plans["tuned"] = {"epochs": 3, "left_out": ["fold 4", "refit"]}
    assert scheduler._most_folds("strong") == 4
    scheduler._plans["tuned"] = {"epochs": 0, "left_out": ["fold 4"]}
    assert scheduler._most_folds("strong") == 5


def test_a_fold_that_is_late_is_told_beside_those_that_the_plan_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, told = planned(*[np.arange(60 * fold, 60 * fold + 60) for fold in range(5)]), list[str]()
    scheduler._limit, scheduler._slow, scheduler._trees = 60.0, 1.0, {"probe": {}, "tuned": {}, "post": {}}
    scheduler._plans = {"tuned": {"epochs": 5, "seconds": 9.0, "left_out": ["fold 4"]}}
    scheduler._step_seconds = {"tuned": {"train fold 0": 9.0, "train fold 1": 9.0}}
    monkeypatch.setattr(PresetScheduler, "_is_exact", lambda self, name: name == "probe")
    monkeypatch.setattr(PresetScheduler, "_remaining_seconds", lambda self: 0.0)
    monkeypatch.setattr(PresetScheduler, "_least_fold_seconds", lambda self, before: 9.0)
    monkeypatch.setattr(PresetScheduler, "_store", lambda self, name, decided: self._plans.update({name: decided}))
    monkeypatch.setattr(presets.log, "info", told.append)
    assert scheduler._is_late("tuned", "train fold 2") and scheduler._is_late("tuned", "train fold 3")
    assert told == ["tuned: fold 2 and what follows it are left out, 0 s are left"]
    assert scheduler._plans["tuned"]["left_out"] == ["fold 4", "fold 2", "fold 3"]


@pytest.mark.parametrize(
    ("left", "most", "is_left_out"),
    [
        # 10 s an epoch of all five folds; the recipe needs 30 s.
        (300.0, 20, False),  # All 20 epochs fit with it.
        (220.0, 20, True),  # 21 without it, 19 with it.
        (60.0, 20, True),  # Six without it, three with it.
        (45.0, 20, False),  # Not five epochs of all folds fit in any case.
        (45.0, 4, True),  # Four are all that are wished for.
        (10.0, 20, False),
    ],
)
def test_a_recipe_for_spare_time_takes_no_epochs_from_a_network_that_is_trained_well(
    left: float, most: int, is_left_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, told = planned(*[np.arange(60 * fold, 60 * fold + 60) for fold in range(5)]), list[str]()
    scheduler._limit, scheduler._trees = 600.0, {"probe": {}, "both": {}, "tuned": {}, "post": {}}
    scheduler.run_config = SimpleNamespace(tree={"preset": {"spare": ["both"]}})  # type: ignore[assignment]
    scheduler._plans, scheduler._step_seconds = {}, {}
    scheduler._shape = replace(Shape(300, 0, 5, 0.2, 1.0, 0.0), train_second=2.0 / (240 * 1.1))
    monkeypatch.setattr(Shape, "predicting", lambda self: 0.0)
    monkeypatch.setattr(PresetScheduler, "_is_exact", lambda self, name: name != "tuned")
    monkeypatch.setattr(PresetScheduler, "_exact_heads", lambda self, name: 0)
    monkeypatch.setattr(PresetScheduler, "_fold_seconds", lambda self: 0.0)
    monkeypatch.setattr(PresetScheduler, "_most_epochs", lambda self, name: most)
    monkeypatch.setattr(PresetScheduler, "_needed_seconds", lambda self, name, scale: 30.0)
    monkeypatch.setattr(PresetScheduler, "_remaining_seconds", lambda self: left + 1e-6)
    assert scheduler._loses_epochs("both", 1.0) == ("tuned" if is_left_out else None)
    monkeypatch.setattr(PresetScheduler, "_scale", lambda self, name: 1.0)
    monkeypatch.setattr(presets.log, "info", told.append)
    scheduler._trees["both"] = {"preprocessing": {"size": 64}}  # type: ignore[index]
    assert scheduler._decide("both")["epochs"] == (0 if is_left_out else most)
    sentence = "both: left out, tuned has epochs of all folds for what is left"
    assert (sentence in told) == is_left_out


@pytest.mark.parametrize(("left", "epochs"), [(29.0, 0), (30.5, 2)])
def test_a_network_that_is_left_out_takes_longer_than_what_is_left(
    left: float, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, lines = planned(*[np.arange(12 * fold, 12 * fold + 12) for fold in range(5)]), list[str]()
    scheduler._limit, scheduler._trees = 60.0, {"tuned": {}, "post": {}}
    scheduler._plans = {}
    # Two epochs of five folds take 20 s, beginning and predicting these folds 7.5 s, and the heads that they start from 2.5 s.
    scheduler._shape = replace(Shape(60, 0, 5, 0.2, 1.0, 0.0), train_second=2.0 / (48 * 1.1))
    monkeypatch.setattr(PresetScheduler, "_is_exact", lambda self, name: False)
    monkeypatch.setattr(PresetScheduler, "_exact_heads", lambda self, name: 1)
    monkeypatch.setattr(PresetScheduler, "_fold_seconds", lambda self: 0.5)
    monkeypatch.setattr(PresetScheduler, "_most_epochs", lambda self, name: 20)
    monkeypatch.setattr(PresetScheduler, "_remaining_seconds", lambda self: left)
    monkeypatch.setattr(presets.log, "info", lines.append)
    assert scheduler._decide("tuned")["epochs"] == epochs
    sentence = "tuned: left out, 29 s are left and 2 epochs of 5 folds with their predictions take about 30 s"
    assert (lines == [sentence]) == (epochs == 0)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        (
            "preset.spare=[larg]",
            "preset.spare: names no recipe of the preset, got 'larg'; the recipes are probe, larger",
        ),
        ("+preset.sizes.larg=2.0", "preset.sizes: names no recipe of the preset, got 'larg'"),
        ("preset.spare=[tuned]", "preset.spare: is trained in steps, which take all the time, got 'tuned'"),
    ],
)
def test_keys_of_recipes_name_recipes(word: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        trees_of(word)


def begin_a_fold(folder: Path) -> None:
    """What a fold leaves that was stopped after a recovery: its state, the events beside it, its curves."""
    (folder / "checkpoints" / "net-1-f0").mkdir(parents=True)
    (folder / "checkpoints" / "net-1-f0" / "state.json").write_text("{}")
    (folder / "checkpoints" / "net-1-f0.events.json").write_text("[]")
    (folder / "logs" / "net-1-f0").mkdir(parents=True)


def test_a_plan_that_is_made_anew_after_a_recovery_begins_with_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(run: Any) -> None:
        begin_a_fold(tmp_path)
        raise PlannedAnew

    (tmp_path / "logs" / "of another").mkdir(parents=True)
    scheduler, run = planned(np.arange(9)), Run("run", tmp_path)
    scheduler._pace, scheduler._calls = Pace(1.0, lambda seconds, done: None), {"train fold 0": train}
    monkeypatch.setattr(PresetScheduler, "_recipe_plan", lambda self, name, run: {"epochs": 0})
    scheduler._do_with_pace("tuned", "train fold 0", run)
    assert sorted(one.relative_to(tmp_path).as_posix() for one in tmp_path.rglob("*")) == [
        "checkpoints", "logs", "logs/of another",
    ]  # fmt: skip


def test_a_recipe_that_is_given_up_within_a_fold_leaves_no_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_a_fold(tmp_path)
    scheduler = planned(np.arange(9))
    scheduler._run, scheduler._children = Run("run", tmp_path), {}
    scheduler._task = SimpleNamespace(name="digits")  # type: ignore[assignment]
    scheduler.context = SimpleNamespace(project=Project(tmp_path))  # type: ignore[assignment]
    monkeypatch.setattr(PresetScheduler, "_store", lambda self, name, decided: None)
    scheduler._give_up("tuned", "its time is over")
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("words", "begins_at_the_head"),
    [
        (["arch.pretrained=true"], True),
        (["arch.pretrained=lite0", "arch=tf_efficientnet_lite0"], True),
        # A head on random features is nothing to begin at, and what does not learn as a whole has stages of its own.
        (["arch.pretrained=false"], False),
        (["arch.pretrained=true", "arch.freeze=2"], False),
        (["arch.pretrained=true", "peft=lora", "peft.layers=[layer4*]"], False),
    ],
)
@pytest.mark.parametrize("preset", ["fast", "best"])
def test_fine_tuning_of_pretrained_weights_begins_at_the_exact_head(
    words: list[str], begins_at_the_head: bool, preset: str
) -> None:
    given = ["task=digits", "arch=test_resnet", f"preset={preset}", "trainer.max_epochs=7", *words]
    trees = launch.prepare(launch.Command("train", given)).run_config.tree["preset"]["trees"]
    listed = [(stage["epochs"], stage.get("head")) for stage in trees["tuned"]["stages"]["list"]]
    assert listed == ([(1, "linear"), (7, None)] if begins_at_the_head else [])
    assert not any(trees[name]["stages"]["list"] for name in trees if name != "tuned")


@pytest.mark.parametrize(
    ("words", "rate"), [([], 3e-4), (["optimizer.lr=1e-3"], 1e-3), (["optimizer=sgd", "optimizer.lr=0.1"], 0.1)]
)
def test_the_rate_of_fine_tuning_from_the_head_is_the_command_lines(words: list[str], rate: float) -> None:
    given = ["task=fashion_mini", "arch.pretrained=true", "preset=good", *words]
    trees = launch.prepare(launch.Command("train", given)).run_config.tree["preset"]["trees"]
    assert trees["tuned"]["stages"]["list"][1]["lr"] == rate


@pytest.mark.parametrize(
    ("stages", "most", "planned"),
    [
        ([], 9, []),
        ([{"epochs": 1, "head": "linear"}, {"epochs": 7}], 7, [{"epochs": 1, "head": "linear"}, {"epochs": 2}]),
        ([{"epochs": 4}, {"epochs": 4}], 8, [{"epochs": 1}, {"epochs": 1}]),
    ],
)
def test_the_epochs_of_a_plan_are_those_of_its_stages(
    stages: list[dict[str, object]], most: int, planned: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, changes = PresetScheduler.__new__(PresetScheduler), []
    tree = {"stages": {"list": stages}, "trainer": {"max_epochs": 9}, "optimizer": {"_target_": "adamw"}}
    scheduler._trees = {"tuned": tree, "post": {}}
    child = SimpleNamespace(plan=lambda: [])
    monkeypatch.setattr(PresetScheduler, "_child", lambda self, name, changed, pace: changes.append(changed) or child)
    assert scheduler._most_epochs("tuned") == most
    scheduler._begin("tuned", {"epochs": 2, "seconds": None})
    assert changes == [{"trainer.max_epochs": 2, "stages.list": planned}]


@pytest.mark.program
@pytest.mark.parametrize(("measured", "seen", "before", "after"), [(5.0, None, 3, 6), (1e-6, 20.0, 6, 3)])
def test_a_plan_is_made_anew_where_an_epoch_takes_another_time(
    measured: float,
    seen: float | None,
    before: int,
    after: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Seconds of an epoch that were measured beforehand, and that the first fold shows; None: as it is, hardly any."""
    real = PresetScheduler._measured_shape
    shapes: list[Shape] = []

    def measure(self: PresetScheduler, name: str) -> Shape:
        if self._shape is None:
            shapes.append(real(self, name))
            self._shape = shapes[0].at(measured)
        return self._shape

    def left(self: PresetScheduler) -> float:
        if not shapes:
            return 1e6
        slow = shapes[0].at(max(measured, seen or 0.0))
        return slow.predicting() + 3.6 * slow.folds * slow.epoch()

    monkeypatch.setattr(PresetScheduler, "_measured_shape", measure)
    monkeypatch.setattr(PresetScheduler, "_remaining_seconds", left)
    monkeypatch.setattr("mlpipe.running.presets._PACE", 0.0)
    if seen is not None:
        monkeypatch.setattr(Pace, "epoch", lambda self, position, epoch, *rest: self._pace_listener(seen, epoch + 1))
    assert main([*TRAIN, "preset=fast", "time_limit=10m", "trainer.max_epochs=6"]) == 0
    told = capsys.readouterr().out
    assert f"tuned: {before} of 6 epochs" in told and "so that the plan is made anew" in told
    assert f"tuned: {after} of 6 epochs" in told
    project = Project(tmp_path / "results" / "default")
    tuned = records.latest_cross_validation(records.load_all(project, "digits"))
    assert [record.epochs for record in tuned] == [after, after]
    run = project.run_dir(tuned[0].run)
    assert json.loads((run / "preset.json").read_text())["tuned"]["is_final"]
    assert not list((run / "checkpoints").glob("*"))


@pytest.mark.program
def test_fast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "preset=fast", "time_limit=20m", "trainer.max_epochs=2"]) == 0
    told = capsys.readouterr().out
    assert "measured: " in told and "tuned: 2 of 2 epochs" in told
    assert (
        "plan: probe, larger, mirrored, larger_mirrored, tuned, 2 folds each" in told
        and "larger: a head on frozen features at 32 x 32" in told
    )
    assert told.splitlines()[-1] == "new images: mml predict mode.source=FOLDER mode.ensemble=latest"
    project = Project(tmp_path / "results" / "default")
    found = records.load_all(project, "digits")
    probe, larger, mirrored, both, tuned = found[:3], found[3:6], found[6:9], found[9:12], found[12:]
    assert [record.epochs for record in found[:12]] == [1] * 12 and [record.epochs for record in tuned] == [2, 2]
    assert len({record.recipe for record in found}) == 5 and probe[0].val_used_for == []
    # Each is called in leaderboards what the preset calls it.
    called = {row["recipe"]: row["called"] for row in tables.leaderboard(project) if not row["ensemble"]}
    named = [called[part[0].recipe] for part in (probe, larger, mirrored, both, tuned)]
    assert named == ["probe", "larger", "mirrored", "larger_mirrored", "tuned"]
    assert re.search(r"^[0-9a-f]{8} +larger ", told, re.MULTILINE)
    # What predicts new images has learned from all 1,797.
    assert [record.counts["train"] for record in probe] == [898, 899, 1797]
    # Digits come without a test part, and none is set aside: every image is held out once.
    assert all(record.counts["test"] == 0 and "test" not in record.scores for record in found)
    held_out = [predictions.load(project.predictions_file("digits", one.id), "digits", "val") for one in probe[:2]]
    assert sorted(len(rows) for rows in held_out) == [898, 899]
    (ensemble,) = ensembles.load_all(project, "digits")
    assert ensemble.way == "certified"
    refits = {member["refit"] for member in ensemble.members if "refit" in member}
    assert refits and refits <= {probe[2].id, mirrored[2].id, larger[2].id, both[2].id}
    losses = list(ensemble.losses["members"].values())
    assert len(losses) == 5 and ensemble.losses["ensemble"] <= min(losses) + 1e-9


@pytest.mark.program
def test_fewer_folds_are_tuned_where_more_epochs_of_them_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The images that the tuned fold held out choose where it gains there, else all; the others predict by all of theirs."""
    real = PresetScheduler._measured_shape
    shapes: list[Shape] = []

    def measure(self: PresetScheduler, name: str) -> Shape:
        if not shapes:
            shapes.append(real(self, name).at(5.0))
            self._shape = shapes[0]
        return shapes[0]

    def left(self: PresetScheduler) -> float:
        if not shapes:
            return 1e6
        return shapes[0].predicting() + 2.6 * shapes[0].folds * shapes[0].epoch()

    monkeypatch.setattr(PresetScheduler, "_measured_shape", measure)
    monkeypatch.setattr(PresetScheduler, "_remaining_seconds", left)
    monkeypatch.setattr(PresetScheduler, "_judge", lambda *given: None)
    assert main([*TRAIN, "preset=fast", "time_limit=10m", "trainer.max_epochs=4"]) == 0
    assert "tuned: 4 of 4 epochs of 1 of 2 folds" in capsys.readouterr().out
    project = Project(tmp_path / "results" / "default")
    by_recipe: dict[str, list[ModelRecord]] = {}
    for record in records.load_all(project, "digits"):
        by_recipe.setdefault(record.recipe, []).append(record)
    *others, (tuned,) = by_recipe.values()
    assert tuned.fold == 0 and tuned.epochs == 4
    assert [[record.fold for record in folds] for folds in others] == [[0, 1, -1]] * 4
    (ensemble,) = ensembles.load_all(project, "digits")
    held_out = predictions.load(project.predictions_file("digits", tuned.id), "digits", "val")
    chose = predictions.load(project.ensembles_dir("digits") / f"{ensemble.id}.parquet", "digits", "val")
    is_mixed = any(member["records"] == [tuned.id] for member in ensemble.members)
    assert len(chose) == (len(held_out) if is_mixed else 1797) and len(held_out) < 1000


@pytest.mark.program
def test_a_recipe_that_turns_out_too_long_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time is over after the first fold of the second recipe: it mixes with nothing, the first recipe is whole."""
    real = PresetScheduler._remaining_seconds
    trained = list[int]()
    train = FoldTraining.train

    def count(self: FoldTraining, fold: int, run: object) -> None:
        train(self, fold, run)  # type: ignore[arg-type]
        trained.append(fold)

    monkeypatch.setattr(FoldTraining, "train", count)
    monkeypatch.setattr(PresetScheduler, "_remaining_seconds", lambda self: real(self) if len(trained) < 4 else -1.0)
    assert main([*TRAIN, "preset=fast", "time_limit=20m", "trainer.max_epochs=1"]) == 0
    told = capsys.readouterr().out
    assert "larger: left out after all: 0 s are left" in told and "tuned: left out, 0 s are left" in told
    project = Project(tmp_path / "results" / "default")
    found = records.load_all(project, "digits")
    assert len(trained) == 4 and [record.fold for record in found] == [0, 1, -1]
    assert json.loads((project.run_dir(found[0].run) / "preset.json").read_text())["larger"]["epochs"] == 0
    assert len(ensembles.load_all(project, "digits")) == 1


@pytest.mark.program
def test_the_first_recipe_goes_without_its_last_fold_where_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(PresetScheduler, "_remaining_seconds", lambda self: -1.0 if self._step_seconds else 1e6)
    assert main([*TRAIN, "preset=fast", "time_limit=10m"]) == 0
    told = capsys.readouterr().out
    assert "probe: fold 1 is left out, 0 s are left" in told and "larger: left out" in told
    # Said once: what follows a fold that is left out is left out too.
    assert "probe: refit" not in told
    project = Project(tmp_path / "results" / "default")
    assert [record.fold for record in records.load_all(project, "digits")] == [0]
    (ensemble,) = ensembles.load_all(project, "digits")
    assert ensemble.scores["chosen on"]["accuracy"]["value"] > 0.3


@pytest.mark.program
def test_an_interrupted_preset_goes_on_with_what_it_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = FoldTraining.train

    def stopping(self: FoldTraining, fold: int, run: object) -> None:
        train(self, fold, run)  # type: ignore[arg-type]
        self.folds.context.stop.asked = True

    monkeypatch.setattr(FoldTraining, "train", stopping)
    assert main([*TRAIN, "preset=fast", "time_limit=20m", "trainer.max_epochs=1"]) == 75
    monkeypatch.undo()
    monkeypatch.setenv("MML_RESULTS_PATH", str(tmp_path / "results"))
    monkeypatch.setenv("MML_DATA_PATH", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path / "results" / "default")
    assert len(records.load_all(project, "digits")) == 1
    assert main(["train", "continue=latest"]) == 0
    found = records.load_all(project, "digits")
    assert len(found) == 14 and len({record.run for record in found}) == 1
    assert len({record.recipe for record in found}) == 5
    stored = json.loads((project.run_dir(found[0].run) / "preset.json").read_text())
    assert (
        list(stored) == ["probe", "larger", "mirrored", "larger_mirrored", "tuned"] and stored["tuned"]["epochs"] == 1
    )
    assert stored["larger"]["scale"] == 2.0
    assert len(ensembles.load_all(project, "digits")) == 1


@pytest.mark.program
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["reuse.parameters=default#1"], "reuse.parameters: is for one recipe, a preset trains several"),
        (["hpo=optuna", "search_space=basic"], "hpo: searches for one recipe, a preset trains several"),
    ],
)
def test_what_is_meant_for_one_recipe(given: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "preset=fast", *given]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.program
def test_a_time_that_is_over_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "preset=fast", "time_limit=1s"]) == 0
    told = capsys.readouterr().out
    assert "larger: left out" in told and "tuned: left out" in told and "no time is left for the report" in told
    assert len(records.load_all(Project(tmp_path / "results" / "default"), "digits")) == 1
    assert not (tmp_path / "results" / "default" / "reports" / "report.html").exists()


@pytest.mark.program
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "preset=fsat"], "preset: unknown option, got 'fsat'; did you mean 'fast'?"),
        (["train", "preset=fast", "time_limit=soon"], "time_limit: is no time, got 'soon'"),
        (["predict", "preset=fast"], "preset: is for mml train, not for mml predict"),
        (["train", "preset=good", "optimizer.lrr=1"], "optimizer.lrr"),
    ],
)
def test_wrong_inputs(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.program
def test_a_dry_run_says_what_it_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "preset=good", "split.folds=3", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "all of it would take about" in told and "MB on the disk" in told
    assert "tuned: train fold 2" in told and told.splitlines()[-1] == "leaderboard"
    assert not (tmp_path / "results").exists()
