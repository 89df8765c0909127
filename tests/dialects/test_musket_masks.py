"""Musket experiments whose every pixel is predicted: networks, losses and metrics, and what has no meaning there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlpipe.dialects import musket, names
from mlpipe.dialects.translation import Translation
from mlpipe.errors import ConfigError
from tests import musket_masks_project
from tests.dialects.test_musket_snippets import composed

SOFTMAX = {"classes": 3, "activation": "softmax", "loss": "categorical_crossentropy"}


def changed(where: Path = Path("/none"), **keys: Any) -> Translation:
    """The project's configuration with other keys; None takes one out."""
    source = {**yaml.safe_load(musket_masks_project.CONFIG), **keys}
    source = {key: value for key, value in source.items() if value is not None or key == "encoder_weights"}
    return musket.translate(source, musket.Home.of(where / "config.yaml"))


def problems(**keys: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        changed(**keys)
    return list(caught.value.problems)


def notes(found: Translation, key: str) -> str:
    return "; ".join(f"{line.fate} {line.note}" for line in found.report if line.key == key)


def test_the_project_composes(tmp_path: Path) -> None:
    native = composed(changed(tmp_path))
    assert (native["task"]["kind"], native["task"]["outputs"]) == ("segmentation", 2)
    assert (native["arch"]["encoder"], native["arch"]["pretrained"]) == ("resnet18", False)
    assert native["loss"]["expression"] == "ce+0.5*dice" and native["tta"]["_target_"].endswith("flips")
    assert native["metrics"]["monitor"] == "val/foreground_dice" and native["metrics"]["direction"] == "max"
    assert native["stages"]["list"][0]["negatives"] == 0


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("Unet", "unet"),
        ("UNET", "unet"),
        ("Linknet", "linknet"),
        ("PSP", "pspnet"),
        ("PSPNet", "pspnet"),
        ("fpn", "fpn"),
    ],
)
def test_networks(tmp_path: Path, name: str, option: str) -> None:
    found = changed(tmp_path, architecture=name, backbone="SEResNet18")
    assert found.chosen()["arch"] == option
    assert composed(found)["arch"]["encoder"] == "legacy_seresnet18"


def test_what_a_file_leaves_out_is_as_in_segmentation_models() -> None:
    source = yaml.safe_load(musket_masks_project.CONFIG)
    for key in ("backbone", "encoder_weights"):
        del source[key]
    found = musket.translate(source, musket.Home.of(Path("/none/config.yaml")))
    assert found.native["arch"]["encoder"] == "vgg16.tv_in1k" and found.native["arch"]["pretrained"] is True
    assert notes(found, "backbone") == "differs missing, so vgg16"
    assert notes(found, "encoder_weights") == "same missing, so imagenet"
    assert changed(encoder_weights="imagenet").native["arch"]["encoder"] == "resnet18.tv_in1k"


@pytest.mark.parametrize(
    ("keys", "loss"),
    [
        ({"loss": "binary_crossentropy"}, {"_target_": "mlpipe.learn.losses.cross_entropy.ce"}),
        ({"loss": None}, {"_target_": "mlpipe.learn.losses.auto.auto"}),
        ({"loss": "dice_loss"}, {"_target_": "mlpipe.learn.losses.overlap.dice"}),
        ({"loss": "iou"}, {"_target_": "mlpipe.learn.losses.overlap.jaccard"}),
        ({"loss": "lovasz_loss"}, {"_target_": "mlpipe.learn.losses.overlap.lovasz"}),
        ({"loss": "focal_loss"}, {"_target_": "mlpipe.learn.losses.focal.focal"}),
        ({**SOFTMAX, "loss": "categorical_crossentropy+0.1*jaccard_loss"}, "ce+0.1*jaccard"),
        ({**SOFTMAX, "loss": "0.5*lovasz_loss"}, "0.5*lovasz"),
    ],
)
def test_losses(tmp_path: Path, keys: dict[str, Any], loss: Any) -> None:
    found = composed(changed(tmp_path, **keys))["loss"]
    if isinstance(loss, str):
        assert found["expression"] == loss
    else:
        assert found["_target_"] == loss["_target_"]
    stages = [{"epochs": 1, "loss": keys["loss"]}] if keys["loss"] else [{"epochs": 1}]
    inside = composed(changed(tmp_path, **{**keys, "stages": stages}))["stages"]["list"][0]
    assert keys["loss"] is None or inside["loss"]["_target_"] == found["_target_"]


def test_what_differs_is_said() -> None:
    assert notes(changed(loss="binary_crossentropy"), "loss") == "same "
    assert "differs 1 - the soft Dice" in notes(changed(), "loss")
    assert "not a question for each class" in notes(changed(**{**SOFTMAX, "loss": "binary_crossentropy"}), "loss")
    assert "Musket's iou is another" in notes(changed(), "metrics")
    assert "a logit each" in notes(changed(), "classes")


def test_metrics_are_of_the_foreground_where_there_is_one_class() -> None:
    one, several = changed(), changed(**SOFTMAX)
    assert one.native["metrics"]["final"] == ["foreground_dice", "foreground_iou", "pixel_accuracy"]
    assert several.native["metrics"]["final"] == ["dice", "iou", "pixel_accuracy"]
    assert several.native["task"]["outputs"] == 3
    home = musket.Home.of(Path("/none/config.yaml"))
    named = musket.names_of(yaml.safe_load(musket_masks_project.CONFIG), home)
    assert named == {"foreground_dice": "dice", "foreground_iou": "iou", "pixel_accuracy": "binary_accuracy"}
    assert musket.targets_of({"architecture": "Unet", "classes": 1, "activation": "sigmoid"}) == {
        "kind": "segmentation",
        "outputs": 2,
    }


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"classes": 3}, "activation: a sigmoid over 3 classes means masks that overlap"),
        ({"classes": [1, 2], "activation": ["sigmoid", "softmax"]}, "classes: masks have one head"),
        ({"activation": "tanh"}, "activation: gives no probabilities of masks, got 'tanh'"),
        ({"activation": "softmax"}, "activation: a softmax over one class is always 1"),
        ({"backbone": "resnet33"}, "backbone: unknown backbone, got 'resnet33'; did you mean 'resnet"),
        ({"backbone": "InceptionV3"}, "backbone: gives features whose sizes do not fit Unet, got 'InceptionV3'"),
        ({"backbone": "xception", "architecture": "FPN"}, "backbone: gives features whose sizes do not fit FPN"),
        ({"backbone": "resnet152v2", "encoder_weights": "imagenet"}, "encoder_weights: there are none for resnet152v2"),
        ({"loss": "mse"}, "loss: is no loss of masks here, got 'mse'"),
        ({"loss": "dice_los"}, "loss: unknown loss, got 'dice_los'; did you mean 'dice_loss'?"),
        ({"loss": "categorical_crossentropy"}, "loss: categorical_crossentropy needs probabilities of another"),
        ({"metrics": ["dice", "macro_f1"]}, "metrics: is no metric of masks here, got 'macro_f1'"),
        ({"metrics": ["dise"], "primary_metric": None}, "metrics: unknown metric, got 'dise'; did you mean 'dice'?"),
        ({"crops": 3}, "crops: cells of images are for classes"),
        ({"transforms": {"Flipud": 1.0}}, "transforms: changes images only"),
        ({"dropout": 0.5}, "dropout: is for networks of classes"),
        ({"augmentation": {"BackgroundReplacer": {}}}, "augmentation.BackgroundReplacer: is not there"),
        ({"alpha": 0.5}, "alpha: unknown key"),
        ({"architecture": "Unett"}, "architecture: unknown architecture, got 'Unett'; did you mean 'unet'?"),
        ({"bakbone": "resnet18"}, "bakbone: unknown key; did you mean 'backbone'?"),
    ],
)
def test_mistakes_are_named(keys: dict[str, Any], sentence: str) -> None:
    assert any(one.startswith(sentence) for one in problems(**keys)), problems(**keys)


def test_functions_of_the_project_are_no_losses_metrics_or_views_of_masks(tmp_path: Path) -> None:
    folder = musket_masks_project.make(tmp_path)
    (tmp_path / "modules" / "more.py").write_text("def mine(*given): ...\ndef Linknet(width): ...\n")
    source = yaml.safe_load(musket_masks_project.CONFIG)
    home = musket.Home.of(folder / "config.yaml")
    with pytest.raises(ConfigError) as caught:
        musket.translate({**source, "loss": "mine", "metrics": ["dice", "mine"], "testTimeAugmentation": "mine"}, home)
    assert [re.split("[,;]", one)[0] for one in caught.value.problems] == [
        "testTimeAugmentation: what a function does to an image cannot be undone on its mask",
        "metrics: is no metric of masks here",
        "loss: is no loss of masks here",
    ]
    own = {**source, "architecture": "Linknet", "metrics": ["binary_accuracy"], "primary_metric": "val_binary_accuracy"}
    del own["backbone"]
    assert musket.translate({**own, "loss": "binary_crossentropy"}, home).chosen()["arch"] == "own"


def test_every_backbone_of_the_table_has_a_decoder() -> None:
    found = {}
    for name in names.BACKBONES:
        decoders = []
        for decoder in ("Unet", "Linknet", "PSPNet", "FPN"):
            try:
                changed(architecture=decoder, backbone=name)
                decoders.append(decoder)
            except ConfigError as error:
                assert "do not fit" in str(error)
        found[name] = decoders
    assert [name for name, decoders in found.items() if not decoders] == ["inceptionv3", "inceptionresnetv2"]


def test_parameters_of_a_decoder(tmp_path: Path) -> None:
    """Those that a file writes out as they are anyway act; others have no counterpart and are refused."""
    usual = {"decoder_filters": [256, 128, 64, 32, 16], "use_batchnorm": True, "decoder_block_type": "upsampling"}
    found = changed(tmp_path, architecture="Unet", **usual)
    assert composed(found)["arch"] == composed(changed(tmp_path, architecture="Unet"))["arch"]
    assert all(notes(found, key).startswith("same") for key in usual)
    (wrong,) = problems(architecture="Unet", decoder_filters=[128, 64, 32, 16, 8])
    assert wrong.startswith("decoder_filters: this decoder has another one, got [128, 64, 32, 16, 8]; leave it out")
    (wrong,) = problems(architecture="Unet", pyramid_block_filters=256)
    assert wrong.startswith("pyramid_block_filters: unknown key")


def test_a_key_that_musket_never_used_is_told_so() -> None:
    assert notes(changed(classifier="resnet50"), "classifier") == "ignored Musket never used it"


@pytest.mark.parametrize(
    ("name", "ours", "fate"),
    [
        ("dice_true_negative_is_one", "foreground_image_dice_empty_one", ""),
        ("iou_true_negative_is_zero", "foreground_image_iou_empty_zero", ""),
        ("dice_with_custom_treshold_true_negative_is_one", "foreground_image_dice_empty_one", "a threshold of 0.5"),
    ],
)
def test_metrics_of_the_tutorial_of_masks(name: str, ours: str, fate: str) -> None:
    found = changed(final_metrics=[name], experiment_result=name)
    assert ours in found.native["metrics"]["final"]
    assert fate in notes(found, "final_metrics")
