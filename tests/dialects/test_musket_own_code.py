"""Names of a project's own functions in an experiment: found without running them, and before built-in names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mlpipe.dialects import musket
from mlpipe.errors import ConfigError
from tests import musket_project

FUNCTIONS = """
raise RuntimeError("a translation runs nothing")


def tight_loss(y_true, y_pred=None, by=1):
    pass


class MyNet:
    def __init__(self, depth=1):
        pass


def turned(image, by=1):
    pass
"""


def translated(tmp_path: Path, **keys: Any) -> musket.Home | Any:
    folder = musket_project.make(tmp_path)
    (tmp_path / "modules" / "mine.py").write_text(FUNCTIONS)
    source = {**yaml.safe_load(musket_project.CONFIG), **keys}
    return musket.translate(source, musket.Home.of(folder / "config.yaml"))


def test_functions_of_the_project(tmp_path: Path) -> None:
    keys = {"loss": "categorical_crossentropy+0.1*tight_loss", "testTimeAugmentation": "turned", "depth": 3}
    found = translated(tmp_path, architecture="MyNet", **keys)
    modules = str(tmp_path / "modules")
    assert {key: found.chosen()[key] for key in ("loss", "arch", "tta")} == dict.fromkeys(
        ("loss", "arch", "tta"), "own"
    )
    assert found.native["loss"]["expression"] == "ce+0.1*tight_loss"
    assert (found.native["arch"]["name"], found.native["arch"]["arguments"]) == ("MyNet", {"depth": 3})
    assert found.native["tta"]["function"] == "turned"
    assert {found.native[key]["modules"] for key in ("loss", "arch", "tta")} == {modules}


@pytest.mark.parametrize(
    ("steps", "several"),
    [
        ([{"split-preprocessor": [["turned"], ["pass"]]}], True),
        ([{"split-preprocessor": [["turned"], ["pass"]]}, "disk-cache"], True),
        ([{"seq-preprocessor": [{"split-preprocessor": [["turned"], ["pass"]]}]}, {"transform-preprocessor": [["pass"]]}], True),
        ([{"turned": {"name": "a"}}, {"turned": {"name": "b"}}, {"cache": {"inputs": ["a", "b"]}}], True),
        # Perhaps put together again, by the project's own function; surely so by what is there.
        ([{"split-preprocessor": [["turned"], ["pass"]]}, "tight_loss"], None),
        ([{"split-concat-preprocessor": [["turned"], ["pass"]]}], False),
        ([{"turned": {"name": "a"}}, {"split-preprocessor": [["pass"], ["turned"]]}, {"cache": {"inputs": ["a"]}}], False),
    ],
)  # fmt: skip
def test_several_inputs_are_for_networks_that_take_a_list(
    tmp_path: Path, steps: list[Any], several: bool | None
) -> None:
    found = translated(tmp_path, architecture="MyNet", preprocessing=steps)
    assert ("in_chans" in found.native["arch"]) is (several is False)
    if several:
        with pytest.raises(
            ConfigError, match="^preprocessing: split-preprocessor gives several inputs, ResNet18 takes one"
        ):
            translated(tmp_path / "b", preprocessing=steps)


@pytest.mark.parametrize(
    ("made", "key", "unknown"),
    [
        ("def MyNet(depth=1): ...", "depth", False),
        ("def MyNet(depth=1): ...", "lss", True),
        ("def MyNet(depth=1): ...", "width", True),
        ("def MyNet(depth=1): ...", "detph", True),
        ("def MyNet(depth=1, **rest): ...", "width", False),
        # What looks like a key of the file, where the function does not name it.
        ("def MyNet(depth=1, **rest): ...", "lss", True),
        ("def MyNet(lss, **rest): ...", "lss", False),
        ("class MyNet:\n    def __init__(self, depth): ...", "depth", False),
        ("class MyNet:\n    def __init__(self, depth): ...", "width", True),
    ],
)
def test_keys_of_a_network_are_those_that_it_takes(tmp_path: Path, made: str, key: str, unknown: bool) -> None:
    folder = musket_project.make(tmp_path)
    (tmp_path / "modules" / "nets.py").write_text(made)
    source = {**yaml.safe_load(musket_project.CONFIG), "architecture": "MyNet", key: 3}
    if unknown:
        near = "; did you mean 'depth'" if key == "detph" else ""
        with pytest.raises(ConfigError, match=f"^{key}: unknown key{near}"):
            musket.translate(source, musket.Home.of(folder / "config.yaml"))
    else:
        found = musket.translate(source, musket.Home.of(folder / "config.yaml"))
        assert found.native["arch"]["arguments"] == {key: 3}


def test_a_loss_of_a_stage(tmp_path: Path) -> None:
    found = translated(tmp_path, stages=[{"epochs": 1}, {"epochs": 1, "loss": "tight_loss"}])
    node = found.native["stages"]["list"][1]["loss"]
    assert (node["_target_"], node["expression"]) == ("mlpipe.learn.losses.own.own", "tight_loss")


def test_a_metric_and_its_direction(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"metrics": ["macro_f1"], "primary_metric": "val_turned", "primary_metric_mode": "max"}
    finals = ["tight_loss", {"turned": {"for_validation": True}}]
    found = translated(tmp_path, **keys, final_metrics=finals)
    chosen = found.native["metrics"]
    assert found.chosen()["metrics"] == "own" and chosen["modules"] == str(tmp_path / "modules")
    assert chosen["functions"] == ["tight_loss", "turned"]
    assert (chosen["train"], chosen["final"]) == (
        ["soft_macro_f1", "turned"],
        ["soft_macro_f1", "turned", "tight_loss"],
    )
    assert (chosen["monitor"], chosen["direction"]) == ("val/turned", "max")


def test_a_metric_without_a_direction_goes_by_its_name(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"metrics": ["turned"], "primary_metric": "val_turned", "primary_metric_mode": "auto"}
    found = translated(tmp_path, **keys)
    assert found.native["metrics"]["direction"] == "min"
    assert any(line.key == "primary_metric_mode" and line.fate == "lint" for line in found.report)


def test_crops_batches_and_data(tmp_path: Path) -> None:
    found = translated(tmp_path, crops=2, shape=[64, 32, 3], batch=10, testTimeAugmentation=True)
    assert (found.native["slicing"], found.native["sampling"]["batch_size"]) == ({"cells": 2}, 2)
    assert (found.native["preprocessing"]["size"], found.chosen()["tta"]) == ([64, 32], "hv")


def test_chains_and_declarations(tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        "declarations": {"start": [{"turned": None}], "all": {"body": ["start", {"cache": {"name": "kept"}}]}},
        "preprocessing": [
            "all",
            {"split-concat-preprocessor": [["pass"], [{"tight_loss": {"by": 2}}]]},
            {"augmentation": {"body": [{"Fliplr": 0.5}], "weights": [0.4], "seed": 3}},
            {"disk-cache": {"split": True}},
        ],
        "extra_train_data": {"getTrain": [6]},
        "dataset_augmenter": {"name": "MyNet", "depth": 3},
        "transforms": {"Flipud": 1.0},
    }
    found = translated(tmp_path, **keys)
    task = found.native["task"]
    assert task["preprocessing"] == [
        {"call": "turned"},
        {"call": "cache", "arguments": {"name": "kept"}},
        {
            "call": "split-concat-preprocessor",
            "arguments": [[{"call": "pass"}], [{"call": "tight_loss", "arguments": {"by": 2}}]],
        },
        {"call": "disk-cache", "arguments": {"split": True}},
    ]
    assert task["extra"] == [{"call": "getTrain", "arguments": [6]}]
    assert task["augmenter"] == {"call": "MyNet", "arguments": {"depth": 3}}
    # It may repeat items, which are then in several folds.
    assert task["allow_overlap"] is True and "allow_overlap" not in translated(tmp_path / "none").native["task"]
    assert found.native["preprocessing"]["before"] == [{"_target_": "albumentations.VerticalFlip", "p": 1.0}]
    (flip,) = found.native["augmentations"]["cpu"]["pipeline"]
    assert flip == {"_target_": "albumentations.HorizontalFlip", "p": 0.2}
    with pytest.raises(ConfigError, match="name each other without an end"):
        translated(tmp_path / "again", declarations={"a": ["b"], "b": ["a"]}, preprocessing="a")


def test_classes_to_spread_and_what_the_holdout_leaves(tmp_path: Path) -> None:
    keys = {"groupFunc": "tight_loss", "stratified": True, "pretrain_transform": {"turned": {"by": 2}}}
    found = translated(tmp_path, **keys)
    task, split = found.native["task"], found.native["split"]
    assert task["strata"] == {"call": "tight_loss"}
    assert task["after_holdout"] == {"call": "turned", "arguments": {"by": 2}}
    assert task["holdout"] == {"fraction": 0.2, "seed": 123, "stratify": True}
    assert split["test_fraction"] == 0.0 and split["stratify"] is True
    plain = translated(tmp_path / "b", groupFunc="tight_loss", pretrain_transform="turned", testSplit=0)
    assert "holdout" not in plain.native["task"]
    assert [line.key for line in plain.of_fate("lint")] == ["groupFunc"]


def test_nothing_is_trained(tmp_path: Path) -> None:
    found = translated(tmp_path, noTrain=True, stages=[])
    assert found.chosen()["optimizer"] == "none" and "optimizer" not in found.native
    assert "stages" not in found.native
    again = translated(tmp_path / "b", noTrain=True)
    assert [stage["epochs"] for stage in again.native["stages"]["list"]] == [1, 1]
    assert translated(tmp_path / "c", noTrain=False).chosen()["optimizer"] == "adam"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"groupFunc": "tihgt_loss"}, "groupFunc: no function of the project's modules has this name"),
        ({"pretrain_transform": ["turned"]}, "pretrain_transform: must be the name of a function"),
        ({"loss": "tihgt_loss"}, "loss: unknown loss, got 'tihgt_loss'; did you mean 'tight_loss'"),
        ({"architecture": "MyNett"}, "architecture: unknown architecture, got 'MyNett'; did you mean 'MyNet'"),
        ({"testTimeAugmentation": "turn"}, "testTimeAugmentation: unknown test-time augmentation, got 'turn'"),
        ({"depth": 3}, "depth: unknown key"),
        ({"metrics": ["turnd", "macro_f1"]}, "metrics: unknown metric, got 'turnd'; did you mean 'turned'"),
    ],
)
def test_names_that_are_nobodys(tmp_path: Path, keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        translated(tmp_path, **keys)
    assert any(one.startswith(sentence) for one in caught.value.problems)


@pytest.mark.parametrize(("activation", "loss"), [
    (["softmax", "softmax"], ["categorical_crossentropy"] * 2),
    (["sigmoid", "sigmoid"], ["binary_crossentropy"] * 2),
    (["softmax", "sigmoid"], ["categorical_crossentropy", "binary_crossentropy"]),
])  # fmt: skip
@pytest.mark.parametrize(("primary", "monitor"), [
    ("val_turned", "val/turned"), ("val_out1_turned", "val/out1_turned"), ("val_dense_2_turned", "val/out1_turned"),
])  # fmt: skip
def test_metrics_of_several_heads_know_them(
    tmp_path: Path, activation: list[str], loss: list[str], primary: str, monitor: str
) -> None:
    found = translated(
        tmp_path, classes=[3, 3], activation=activation, loss=loss, metrics=["turned"], primary_metric=primary,
        primary_metric_mode="max", callbacks={"EarlyStopping": {"monitor": primary, "patience": 2, "mode": "max"}},
    )  # fmt: skip
    chosen = found.native["metrics"]
    heads = [{"name": f"out{n}", "outputs": 3, "activation": one} for n, one in enumerate(activation)]
    assert (chosen["heads"], chosen["functions"], chosen["monitor"]) == (heads, ["turned"], monitor)
    assert "turned" in chosen["train"] and found.native["callbacks"]["early"]["watch"] == monitor
    with pytest.raises(ConfigError, match="primary_metric: there are 2 heads, got 'out2_turned'"):
        translated(tmp_path / "x", classes=[3, 3], activation=activation, loss=loss, metrics=["turned"],
                   primary_metric="val_out2_turned")  # fmt: skip


def test_one_head_has_no_heads(tmp_path: Path) -> None:
    found = translated(tmp_path, final_metrics=["turned"], activation="softplus", loss="mse", metrics=[],
                       primary_metric="val_loss")  # fmt: skip
    assert "heads" not in found.native["metrics"]


THESE, NAMED = "cannot be given these", "has no such parameter"
CALLED = """
@datasets.dataset_provider
def getSome(flag, m=3): ...

def getAny(*items, **rest): ...

def getOnly(*, path): ...

class Made:
    def __init__(self, root, size=32): ...

class Derived(Made): ...

@unknown_library.wraps
def getWrapped(): ...

@preprocessing.dataset_preprocessor
def darken(item, amount, *, mode="soft"): ...

@dataset_transformer
def doubled(ds, times): ...

class Lighter:
    def __init__(self, amount): ...

def widen(ds, parameter="x"): ...
"""


@pytest.mark.parametrize(
    ("keys", "key", "sentence"),
    [
        ({"dataset": {"getSome": [True]}}, "", ""),
        ({"dataset": {"getSome": {"flag": True, "m": 3}}}, "", ""),
        ({"dataset": {"getAny": [1, 2, 3]}}, "", ""),
        ({"dataset": {"getAny": {"what": 3}}}, "", ""),
        ({"dataset": {"Derived": {"anything": 3}}}, "", ""),
        ({"dataset": {"getWrapped": [3]}}, "", ""),
        ({"dataset": {"getSome": {"m": 3}}}, "dataset.getSome", f"{THESE} (missing a required argument: 'flag')"),
        ({"dataset": {"getSome": [1, 2, 3]}}, "dataset.getSome", f"{THESE} (too many positional arguments)"),
        ({"dataset": {"getSome": {"flga": 3}}}, "dataset.getSome", f"{NAMED}, got 'flga'; did you mean 'flag'?"),
        ({"dataset": {"getOnly": [3]}}, "dataset.getOnly", f"{THESE} (too many positional arguments)"),
        ({"dataset": {"Made": {"size": 3}}}, "dataset.Made", f"{THESE} (missing a required argument: 'root')"),
        ({"holdout": {"getSome": []}}, "holdout.getSome", f"{THESE} (missing a required argument: 'flag')"),
        ({"preprocessing": [{"darken": {"amont": 3}}]}, "preprocessing[0].darken", f"{NAMED}, got 'amont'; did you mean"),
        ({"preprocessing": ["darken"]}, "preprocessing[0].darken", f"{THESE} (missing a required argument: 'amount')"),
        ({"preprocessing": [{"darken": [3, "hard"]}]}, "preprocessing[0].darken", f"{THESE} (too many positional"),
        ({"preprocessing": [{"doubled": []}]}, "preprocessing[0].doubled", f"{THESE} (missing a required argument: 'times')"),
        ({"preprocessing": [{"Lighter": {"amuont": 3}}]}, "preprocessing[0].Lighter", f"{NAMED}, got 'amuont'"),
        ({"dataset_augmenter": {"name": "widen", "paramter": 3}}, "dataset_augmenter.widen", f"{NAMED}, got 'paramter'"),
        ({"preprocessing": [{"disk-cache": {"split": True, "name": "a"}}, "pass", "cache"]}, "", ""),
        ({"preprocessing": [{"disk-cache": {"nme": "a"}}]}, "preprocessing[0].disk-cache", f"{NAMED}, got 'nme'; did you mean"),
        ({"preprocessing": [{"cache": {"split": True}}]}, "preprocessing[0].cache", f"{NAMED}, got 'split'; it takes name"),
        ({"dataset": {"FolderDataSet": ["images"]}}, "", ""),
        ({"dataset": {"FolderDataSet": {"pth": "a"}}}, "dataset.FolderDataSet", f"{NAMED}, got 'pth'; it takes"),
        ({"dataset": {"BinaryClassificationDataSet": ["a", "b.csv", "c", "d", 5, 6]}}, "dataset.BinaryClassificationDataSet",
         f"{THESE} (too many positional arguments)"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_told_in_the_file_s_words(
    tmp_path: Path, keys: dict[str, Any], key: str, sentence: str
) -> None:
    folder = musket_project.make(tmp_path)
    (tmp_path / "modules" / "called.py").write_text(CALLED)
    source = {**yaml.safe_load(musket_project.CONFIG), **keys}
    if not key:
        musket.translate(source, musket.Home.of(folder / "config.yaml"))
        return
    with pytest.raises(ConfigError) as caught:
        musket.translate({**source, "optimizer": "Adm"}, musket.Home.of(folder / "config.yaml"))
    # With the file's other mistakes.
    first, second = sorted(caught.value.problems, key=lambda one: one.startswith("optimizer"))
    name = key.rpartition(".")[2]
    assert first.startswith(f"{key}: {name} {sentence}") and second.startswith("optimizer: ")
