"""rmldnn's targets that are images, as native tasks of images: paths, channels, colours, losses, patches, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from mlpipe.dialects import rmldnn
from mlpipe.dialects.translation import Translation
from mlpipe.errors import ConfigError

HOME = "mlpipe.data.augment.geometry"
BLUE = {"_target_": f"{HOME}.convert_color", "code": "RGB2BGR"}


def net(end: str = "sigmoid", filters: int = 3) -> list[dict[str, Any]]:
    last = {"name": "out", "filters": filters, "kernel_size": 1, "activation": end}
    return [{"class_name": "Conv2D", "config": {**last, "batch_input_shape": [None, 8, 12, 3]}}]


def translated(
    loss: dict[str, Any] | None = None, layers: Any = None, sections: dict[str, Any] | None = None, **data: Any
) -> Translation:
    common: dict[str, Any] = {
        "input_type": "images", "target_type": "images", "input_path": "x", "target_path": "y", "test_input_path": "v",
        "test_target_path": "w",
    }  # fmt: skip
    whole: dict[str, Any] = {
        "layers": layers or net(), "optimizer": {"type": "SGD"}, "loss": loss or {"function": "MSE"},
        "data": {key: value for key, value in {**common, **data}.items() if value is not None}, **(sections or {}),
    }  # fmt: skip
    return rmldnn.translate({"neural_network": {key: value for key, value in whole.items() if value is not None}})


def steps(found: Translation) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = found.native["augmentations"]["cpu"]["pipeline"]
    return listed


def test_a_training_with_images() -> None:
    found = translated(test_output_path="o", target_grayscale=True)
    assert found.chosen()["task"] == "image_folders" and found.chosen()["split"] == "on_test"
    assert found.native["task"] == {
        "train": "x", "train_targets": "y", "test": "v", "test_targets": "w", "pairing": "order", "strict": True,
        "bits": 8, "channels": 3, "target_channels": 1, "allow_overlap": True,
    }  # fmt: skip
    assert found.native["metrics"] == {"train": ["psnr"], "monitor": "val/loss"} and found.chosen()["loss"] == "mse"
    assert found.chosen()["callbacks"] == "output_files" and steps(found) == [{**BLUE, "on": "images"}]


def test_targets_that_are_the_inputs_are_left_out() -> None:
    found = translated({"function": "BCE", "source": "sigmoid"}, target_path="x", test_target_path="v", grayscale=True)
    assert {"train": "x", "test": "v"}.items() <= found.native["task"].items() and found.chosen()["loss"] == "bce"
    assert not {"train_targets", "test_targets"} & set(found.native["task"])
    # Of other channels they are other images.
    other = translated(target_path="x", test_target_path="v", target_grayscale=True)
    assert other.native["task"]["train_targets"] == "x"


def test_transforms_are_of_both() -> None:
    listed = [{"resize": [8, 8]}, {"rotate": 5}, {"normalize": {"mean": 0.5, "std": 0.5}}]
    found = translated(transforms=listed)
    assert found.native["preprocessing"] == {"size": 8, "interpolation": "linear"}
    assert steps(found) == [
        {**BLUE, "on": "images"}, {**BLUE, "on": "targets"}, {"_target_": f"{HOME}.rotate", "degrees": 5},
        {"_target_": f"{HOME}.normalize", "mean": 0.5, "std": 0.5, "white": 255.0, "on": "both"},
    ]  # fmt: skip


def test_transforms_of_each_stand_where_they_stood() -> None:
    found = translated(
        input_transforms=[{"convert_color": "BGR2RGB"}, {"random_rotate": 5}, {"normalize": {"std": 0.5}}],
        target_transforms=[{"normalize": {"mean": 0.1}}, {"random_rotate": 5}],
        target_grayscale=True,
    )
    assert steps(found) == [
        {"_target_": f"{HOME}.normalize", "mean": 0.1, "std": 1.0, "white": 255.0, "on": "targets"},
        {"_target_": f"{HOME}.random_rotate", "degrees": 5},
        {"_target_": f"{HOME}.normalize", "mean": 0.0, "std": 0.5, "white": 255.0, "on": "images"},
    ]


def test_patches_need_no_targets_of_their_own() -> None:
    patches = [{"random_patches": {"number": 100, "size": 10}}]
    found = translated(transforms=patches, target_path=None, test_target_path=None)
    assert steps(found)[-1] == {"_target_": "mlpipe.data.augment.patches.random_patches", "number": 100, "size": 10}
    assert not {"train_targets", "test_targets"} & set(found.native["task"])
    assert any("always the same ones of an image" in line.note for line in found.report)
    assert translated(transforms=patches, target_path="x", test_target_path="v").native["task"]["train"] == "x"


def test_arrays() -> None:
    common = {"input_type": "hdf5", "target_type": "hdf5"}
    found = translated(layers=net("linear", 2), **common)
    assert found.chosen()["task"] == "samples" and found.native["task"] == {
        "labels": "images", "train": "x", "train_targets": "y", "test": "v", "test_targets": "w", "allow_overlap": True,
    }  # fmt: skip
    alone = translated(
        layers=net("linear", 2), sections={"loss": None, "optimizer": None}, input_path=None, target_path=None,
        test_target_path=None, **common,
    )  # fmt: skip
    assert alone.native["task"] == {
        "labels": "images", "test": "v", "labelled": False, "classes": ["channel 0", "channel 1"], "allow_overlap": True,
    }  # fmt: skip


def test_targets_that_a_transform_makes_grey_have_one_channel() -> None:
    found = translated(layers=net("sigmoid", 1), transforms=[{"convert_color": "BGR2GRAY"}, {"resize": [8, 8]}])
    assert (found.native["task"]["channels"], found.native["task"]["target_channels"]) == (3, 1)
    (grey,) = [step for step in steps(found) if step.get("code") == "BGR2GRAY"]
    assert grey["on"] == "images"
    # A colour image from a grey one: both are of one folder.
    other = translated(target_path="x", test_target_path="v", input_grayscale=True)
    assert (other.native["task"]["channels"], other.native["task"]["target_channels"]) == (1, 3)
    assert other.native["task"]["train_targets"] == other.native["task"]["train"] == "x"


def test_targets_that_a_transform_makes_grey_are_no_inputs() -> None:
    grey, paths = [{"convert_color": "BGR2GRAY"}], {"target_path": "i", "test_target_path": "j"}
    folders = {"input_path": "i", "test_input_path": "j", **paths}
    for lists in ({"input_transforms": [], "target_transforms": grey}, {"transforms": grey}):
        task = translated(None, None, **folders, **lists).native["task"]
        assert (task["channels"], task["target_channels"], task["train_targets"]) == (3, 1, "i")


def test_images_without_targets_are_predicted_only() -> None:
    given = {"input_path": None, "target_path": None, "test_target_path": None, "target_type": None}
    found = translated(sections={"loss": None, "optimizer": None}, **given)
    assert found.mode == "evaluate" and found.chosen()["task"] == "image_folders"
    assert {"labelled": False, "target_channels": 3, "test": "v"}.items() <= found.native["task"].items()
    # A softmax is of classes.
    masks = translated(layers=net("softmax"), sections={"loss": None, "optimizer": None}, **given)
    assert masks.chosen()["task"] == "mask_folders"


@pytest.mark.parametrize(
    ("loss", "layers", "data", "sentence"),
    [
        ({"function": "BCE"}, net("linear"), {}, "BCE takes values from 0 to 1, the network ends in linear"),
        ({"function": "Wasserstein"}, None, {}, "Wasserstein teaches a generator and a critic, this is one network"),
        (None, None, {"target_path": None}, r"data\.target_path: is needed to train"),
        (None, None, {"test_target_path": None}, r"test_target_path: is needed beside a training"),
        (None, None, {"input_transforms": [{"resize": [8, 8]}], "target_transforms": [{"center_crop": [4, 4]}]},
         "resizes, crops, flips or turns targets in another way"),
        (None, None, {"transforms": [{"random_patches": {"number": 0, "size": 3}}]}, r"number: must be a whole number"),
        (None, None, {"target_type": "labels", "transforms": [{"random_patches": {"number": 1, "size": 3}}]},
         "makes targets that are images, and the targets are none"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(loss: Any, layers: Any, data: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        translated(loss, layers, **data)


def test_targets_of_another_size() -> None:
    """The example of rmldnn's page, with flips beside it."""
    flip = {"random_horizontal_flip": 0.5}
    found = translated(input_transforms=[flip, {"resize": [128, 64]}], target_transforms=[flip, {"resize": [16, 8]}])
    assert found.native["preprocessing"] == {"max_side": None, "size": [64, 128]}
    assert steps(found)[-2:] == [
        {"_target_": f"{HOME}.resize", "size": [128, 64], "on": "images"},
        {"_target_": f"{HOME}.resize", "size": [16, 8], "on": "targets"},
    ]
    first = translated(input_transforms=[{"resize": [8, 8]}], target_transforms=[{"resize": [4, 4]}])
    assert first.native["preprocessing"] == {"max_side": None, "size": [8, 8]}
    assert [step.get("on") for step in steps(first)[-2:]] == ["images", "targets"]


def test_a_resize_of_both_has_a_line_for_each() -> None:
    """That of the targets was told to be used by nothing."""
    found = translated(input_transforms=[{"resize": [8, 8]}], target_transforms=[{"resize": [8, 8]}])
    fates = {line.key: line.fate for line in found.report if "transforms" in line.key}
    assert fates["data.target_transforms[0]"] == "same" and "ignored" not in fates.values()
