"""rmldnn's targets that are masks, as native segmentations: losses, values of pixels, transforms, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from mlpipe.dialects import rmldnn
from mlpipe.dialects.rmldnn.network import look
from mlpipe.dialects.translation import Translation
from mlpipe.errors import ConfigError

WHOLE = {"normalize": {"std": 0.00392}}


def net(end: str = "log_softmax", filters: int = 3) -> list[dict[str, Any]]:
    last = {"name": "out", "filters": filters, "kernel_size": 1, "activation": end}
    return [{"class_name": "Conv2D", "config": {**last, "batch_input_shape": [None, 8, 12, 3]}}]


def translated(
    loss: dict[str, Any] | None = None, layers: Any = None, sections: dict[str, Any] | None = None, **data: Any
) -> Translation:
    common: dict[str, Any] = {
        "input_type": "images", "target_type": "images", "target_is_mask": True, "input_path": "x", "target_path": "y",
        "test_input_path": "v", "test_target_path": "w", "target_transforms": [WHOLE],
    }  # fmt: skip
    whole: dict[str, Any] = {
        "layers": layers or net(), "optimizer": {"type": "SGD"}, "loss": loss or {"function": "NLL"},
        "data": {key: value for key, value in {**common, **data}.items() if value is not None}, **(sections or {}),
    }  # fmt: skip
    return rmldnn.translate({"neural_network": {key: value for key, value in whole.items() if value is not None}})


def test_a_training_with_masks() -> None:
    found = translated(test_output_path="o", target_grayscale=True)
    assert found.chosen()["task"] == "mask_folders" and found.chosen()["split"] == "on_test"
    assert found.native["task"] == {
        "train": "x", "train_masks": "y", "test": "v", "test_masks": "w", "pairing": "order", "strict": True, "bits": 8,
        "channels": 3, "classes": ["0", "1", "2"], "values": [0, 1, 2], "allow_overlap": True,
    }  # fmt: skip
    assert found.native["metrics"] == {"train": ["dice"], "monitor": "val/loss"} and found.chosen()["loss"] == "nll"
    assert found.chosen()["callbacks"] == "output_files"


@pytest.mark.parametrize(
    ("filters", "transforms", "values"),
    [
        (3, [WHOLE], [0, 1, 2]),
        # Trimaps of 1, 2 and 3.
        (3, [{"normalize": {"mean": 0.00392, "std": 0.00392}}], [1, 2, 3]),
        (1, [WHOLE], [0, 1]),
        (1, [], [0, 255]),
        (2, [], [0, 255]),
        (2, [{"normalize": {"std": 0.25098}}], [0, 64]),
    ],
)
def test_the_values_of_pixels_follow_from_what_normalises_them(
    filters: int, transforms: list[Any], values: list[int]
) -> None:
    end, loss = ("sigmoid", "BCE") if filters == 1 else ("log_softmax", "NLL")
    tree = translated({"function": loss}, net(end, filters), target_transforms=transforms).native
    assert tree["task"]["values"] == values
    assert tree["task"]["classes"] == (["background", "foreground"] if filters == 1 else list("0123")[:filters])
    assert tree["metrics"]["train"] == ["foreground_dice" if filters == 1 else "dice"]


@pytest.mark.parametrize(
    ("end", "filters", "loss", "option", "values"),
    [
        ("log_softmax", 3, {"function": "NLL", "weight": [1, 2, 3]}, "nll", {"class_weights": [1.0, 2.0, 3.0]}),
        ("log_softmax", 3, {"function": "NLL", "ignore_index": 0}, "nll", {"class_weights": [0.0, 1.0, 1.0]}),
        ("softmax", 3, {"function": "NLL"}, "ce", {}),
        ("softmax", 3, {"function": "Dice"}, "dice", {"over": "all", "eps": 1e-7}),
        ("sigmoid", 1, {"function": "MSE", "source": "sigmoid"}, "pixel_mse", {}),
        ("softmax", 3, {"function": "MSE", "source": "softmax"}, "elementwise", {"of": "squared_error"}),
        ("log_softmax", 3, {"function": "mse"}, "elementwise", {"of": "squared_error"}),
        ("softmax", 3, {"function": "BCE", "source": "sigmoid"}, "elementwise", {"of": "bce"}),
        ("log_softmax", 3, {"function": "NLL", "source": "log_softmax"}, "nll", {}),
        ("softmax", 3, {"function": "Dice", "source": "sigmoid", "weight": [1, 0, 1], "eps": 1e-5}, "overlap",
         {"of": "dice", "eps": 1e-5, "class_weights": [1.0, 0.0, 1.0]}),
        ("log_softmax", 3, {"function": "Jaccard", "source": "log_softmax"}, "jaccard", {"over": "all", "eps": 1e-7}),
        ("sigmoid", 1, {"function": "Jaccard", "source": "sigmoid"}, "jaccard",
         {"over": "all", "eps": 1e-7, "class_weights": [0.0, 1.0]}),
        ("sigmoid", 1, {"function": "BCE", "source": "softmax"}, "ce", {}),
        ("sigmoid", 1, {"function": "Focal"}, "focal", {"gamma": 2.0}),
        ("softmax", 3, {"function": "Focal", "gamma": 1, "weight": [1, 2, 3]}, "focal",
         {"gamma": 1.0, "class_weights": [1.0, 2.0, 3.0]}),
        ("sigmoid", 1, {"function": "Lovasz", "source": "sigmoid"}, "lovasz", {"hinge": True}),
        ("log_softmax", 3, {"function": "Lovasz"}, "lovasz", {"hinge": False}),
    ],
)  # fmt: skip
def test_every_loss(end: str, filters: int, loss: dict[str, Any], option: str, values: dict[str, Any]) -> None:
    found = translated(loss, net(end, filters))
    assert found.chosen()["loss"] == option and found.native.get("loss", {}) == values


def test_a_class_beyond_the_maps_is_a_value_that_counts_nowhere() -> None:
    assert translated({"function": "NLL", "ignore_index": 255}).native["task"]["ignore_index"] == 255
    assert "ignore_index" not in translated({"function": "NLL", "ignore_index": 300}).native["task"]


def test_losses_of_classes_say_that_targets_are_masks() -> None:
    found = translated({"function": "Dice"}, net("softmax"), target_is_mask=None)
    assert found.chosen()["task"] == "mask_folders"
    assert any("targets are masks" in line.note for line in found.of_fate("differs"))


def test_images_and_masks_go_through_one_list() -> None:
    moves = [{"random_horizontal_flip": 0.5}, {"random_rotate": 9}, {"resize": [12, 8]}]
    found = translated(
        input_transforms=[*moves, {"normalize": {"mean": 0.5}}, {"convert_color": "BGR2RGB"}],
        target_transforms=[*moves, WHOLE],
    )
    steps = found.native["augmentations"]["cpu"]["pipeline"]
    assert [step["_target_"].rpartition(".")[2] for step in steps] == [
        "horizontal_flip", "random_rotate", "resize", "normalize",
    ]  # fmt: skip
    assert any("count nowhere" in line.note for line in found.of_fate("differs"))
    both = translated(transforms=[WHOLE], target_transforms=None)
    assert both.native["task"]["values"] == [0, 1, 2]
    assert both.native["augmentations"]["cpu"]["pipeline"][-1]["std"] == 0.00392


@pytest.mark.parametrize("kind", ["numpy", "hdf5"])
def test_arrays_with_masks(kind: str) -> None:
    found = translated(input_type=kind, target_type=kind, target_transforms=None)
    assert found.native["task"] == {
        "labels": "masks", "train": "x", "train_targets": "y", "test": "v", "test_targets": "w", "classes": list("012"),
        "values": [0, 1, 2], "allow_overlap": True,
    }  # fmt: skip
    # Class numbers of samples are no masks, though the loss is one of classes.
    flat = [*net(), {"class_name": "Flatten", "config": {}}]
    other = translated(layers=flat, input_type=kind, target_type=kind, target_is_mask=None, target_transforms=None)
    assert other.native["task"]["labels"] == "files"


def test_inference_and_evaluation() -> None:
    none = dict.fromkeys(("input_path", "target_path", "test_target_path", "target_type", "target_is_mask"))
    infer = translated(None, sections={"optimizer": None, "loss": None}, **none)
    assert infer.mode == "evaluate" and infer.chosen()["task"] == "mask_folders"
    assert infer.native["task"]["classes"] == ["0", "1", "2"] and "values" not in infer.native["task"]
    judged = translated(sections={"num_epochs": 0})
    assert judged.mode == "evaluate" and "train" not in judged.native["task"]
    assert judged.native["metrics"]["train"] == ["dice"] and judged.native["task"]["test_masks"] == "w"


def test_which_networks_give_maps() -> None:
    up = {"class_name": "UpSampling2D", "config": {"name": "u"}}
    assert look([*net(), up]).maps and look([*net("relu"), up]).units == 3
    assert not look([*net(), {"class_name": "Flatten", "config": {}}]).maps
    assert not look([*net(), {"class_name": "GlobalAveragePooling2D", "config": {}}]).maps
    assert not look([{"class_name": "Dense", "config": {"units": 3}}]).maps


@pytest.mark.parametrize(
    ("loss", "layers", "data", "sentence"),
    [
        ({"function": "Dice"}, net("linear"), {}, r"Dice takes probabilities, the network ends in linear"),
        ({"function": "BCE"}, net("softmax", 1), {}, r"ends in softmax with one map"),
        ({"function": "Dice"}, net("sigmoid"), {}, r"layers: ends in a sigmoid for each of 3 classes, of which a pixel has one"),
        ({"function": "NLL"}, net("sigmoid", 1), {}, r"NLL does not compare 1 map .* use BCE or MSE for one"),
        ({"function": "Dice", "source": "log_softmax"}, net("softmax"), {}, r"loss.source: the network ends in softmax"),
        ({"function": "Dice", "weight": [1]}, net("softmax"), {}, r"loss.weight: the network has 3 maps"),
        ({"function": "NLL", "weight": [1]}, net(), {}, r"loss.weight: the network has 3 maps"),
        (None, net(), {"target_transforms": []}, r"no value of a pixel becomes the class 2 of 3; add"),
        (None, net(), {"input_transforms": [{"resize": [8, 8]}]}, r"in another way than input_transforms"),
        (None, net(), {"transforms": []}, r"target_transforms: stands beside transforms"),
        (None, net(), {"target_path": None}, r"data.target_path: is needed to train"),
        (None, net(), {"test_target_path": None}, r"data.test_target_path: is needed beside a training"),
        (None, [{"class_name": "Dense", "config": {"units": 3}}], {}, r"targets are masks, and the network gives no maps"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(loss: Any, layers: Any, data: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        translated(loss, layers, **data)


def test_mse_of_a_linear_end_is_between_numbers() -> None:
    found = translated({"function": "MSE"}, net("linear", 1), target_grayscale=True)
    assert found.chosen()["task"] == "image_folders" and found.chosen()["loss"] == "mse"
    (line,) = [one for one in found.report if one.key == "data.target_is_mask"]
    assert line.fate == "differs" and "a rotation mixes" in line.note
    assert translated({"function": "MSE"}, net("sigmoid", 1)).chosen()["task"] == "mask_folders"


def test_masks_that_are_numbers_have_one_for_each_pixel() -> None:
    """Read as colours they would be three maps, and the network gives one."""
    found = translated({"function": "MSE"}, net("linear", 1))
    assert found.native["task"]["target_channels"] == 1 and found.native["task"]["channels"] == 3
    # What a file says of its colours as rmldnn takes them anyway is no other thing.
    for key in ("grayscale", "target_grayscale"):
        said = translated({"function": "MSE"}, net("linear", 1), **{key: False})
        assert said.native["task"]["target_channels"] == 1 and said.native["task"]["channels"] == 3


def test_a_hinge_is_of_the_logit_that_a_network_ends_in() -> None:
    """Of softmaxes it is not, so that several maps must end in one."""
    for end in ("linear", "sigmoid"):
        found = translated({"function": "Lovasz"}, net(end, 1))
        assert found.chosen()["loss"] == "lovasz" and found.native["loss"]["hinge"] is True
    with pytest.raises(ConfigError, match=r"Lovasz takes probabilities, the network ends in linear"):
        translated({"function": "Lovasz"}, net("linear"))
