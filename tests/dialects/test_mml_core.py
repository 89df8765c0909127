"""A pipeline that mml-core stored becomes native configuration; what cannot be said is refused by name."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlpipe.cli import main
from mlpipe.dialects import mml_core
from mlpipe.dialects.detect import translated
from mlpipe.errors import ConfigError

PIPELINE: dict[str, Any] = yaml.safe_load(
    """
arch: {_target_: mml.core.models.timm.TimmGenericModel, name: resnet10t, pretrained: false, drop_rate: 0.1}
optimizer: {_target_: torch.optim.Adam, betas: [0.9, 0.99], lr: 0.0005, eps: 1.0e-08, weight_decay: 0, _convert_: partial}
lr_scheduler: {_target_: null}
loss:
  cls: {_target_: torch.nn.CrossEntropyLoss}
  mlcls: {_target_: torch.nn.BCEWithLogitsLoss}
  seg: {_target_: segmentation_models_pytorch.losses.DiceLoss, mode: multiclass, ignore_index: 255}
  reg: {_target_: torch.nn.HuberLoss, delta: 1.0}
  auto_activate_weighing: true
  class_weights: null
cbs:
  lrm: {_target_: lightning.pytorch.callbacks.LearningRateMonitor}
  early: {_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val/loss, mode: min, patience: 7}
trainer: {_target_: lightning.Trainer, benchmark: true, precision: 16-mixed, max_epochs: 2, accelerator: auto, devices: 1}
preprocessing:
  id: default
  pipeline:
  - {name: SmallestMaxSize, max_size: 256}
  - {name: PadIfNeeded, min_height: 288, min_width: 288}
  - {name: Resize, height: 256, width: 256}
augmentations:
  normalization: imagenet
  cpu:
    backend: albumentations
    pipeline:
    - {name: RandomCrop, height: 32, width: 32}
    - {name: HorizontalFlip, p: 0.5}
    - {name: CoarseDropout, p: 0.5}
  gpu: {}
sampling: {sample_num: 0, balanced: false, batch_size: 40, drop_last: false, enable_caching: false, cache_max_size: 10000}
tune: {lr: true, bs: false, lr_kwargs: {}, bs_kwargs: {}}
tta: {mode: mean, variations: {}}
mode: {cv: true, nested: true, store_best: false, multitask: false, subroutines: [train]}
"""
)


def changed(section: str, **values: Any) -> dict[str, Any]:
    source = copy.deepcopy(PIPELINE)
    source[section] = {**source[section], **values}
    return source


def test_a_stored_pipeline_becomes_options_and_values() -> None:
    native = mml_core.translate(PIPELINE).native
    chosen = {group: option for entry in native["defaults"] for group, option in entry.items()}
    assert chosen == {
        "arch": "timm", "optimizer": "adam", "lr_scheduler": "none", "loss": "auto", "preprocessing": "default",
        "augmentations": "none", "sampling": "full", "callbacks": "early", "tta": "none", "tune": "lr_find",
    }  # fmt: skip
    assert native["arch"] == {"name": "resnet10t", "pretrained": False, "drop_rate": 0.1, "in_chans": 3}
    assert native["optimizer"] == {"lr": 5e-4, "weight_decay": 0, "betas": [0.9, 0.99], "eps": 1e-8}
    assert native["trainer"] == {"precision": "auto", "max_epochs": 2, "accelerator": "auto", "devices": 1}
    assert native["preprocessing"] == {"size": 32, "resize": "short_side"}
    assert [step["_target_"] for step in native["augmentations"]["cpu"]["pipeline"]] == [
        "mlpipe.data.augment.samples.random_crop",
        "albumentations.HorizontalFlip",
        "albumentations.CoarseDropout",
    ]
    assert native["cbs"]["early"]["patience"] == 7
    assert native["mode"] == {"store_best": False}


def test_every_key_of_a_pipeline_is_in_the_report() -> None:
    told = {line.key.partition(":")[0] for line in mml_core.translate(PIPELINE).report}
    for section, values in PIPELINE.items():
        assert section in told or any(key.startswith(f"{section}.") for key in told), section
        assert values is not None


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("SGD", {"lr": 0.1}, ("sgd", {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.0, "nesterov": False})),
        ("AdamW", {}, ("adamw", {"lr": 1e-3, "weight_decay": 0.01})),
        ("RMSprop", {"alpha": 0.9}, ("rmsprop", {"alpha": 0.9})),
    ],
)
def test_optimizers_have_torchs_own_values(name: str, given: dict[str, Any], wanted: tuple[str, Any]) -> None:
    source = {"optimizer": {"_target_": f"torch.optim.{name}", **given}}
    native = mml_core.translate(source).native
    assert native["defaults"] == [{"optimizer": wanted[0]}]
    assert native["optimizer"] == wanted[1]


@pytest.mark.parametrize(
    ("given", "option", "values"),
    [
        ({"_target_": "StepLR", "step_size": 5, "gamma": 0.5}, "step", {"step_epochs": 5, "gamma": 0.5}),
        ({"_target_": "CosineAnnealingLR", "T_max": 9}, "cosine", {"interval": "epoch", "warmup_epochs": 0.0}),
        ({"_target_": "ReduceLROnPlateau", "mode": "min", "patience": 2}, "plateau", {"patience": 2}),
        (
            {"_target_": "ReduceLROnPlateau", "cooldown": 2, "min_lr": 1e-7, "threshold_mode": "abs", "eps": 1e-8},
            "plateau",
            {"cooldown": 2, "min_lr": 1e-7, "threshold_mode": "abs"},
        ),
        ({"_target_": "StepLR", "step_size": 5, "last_epoch": -1, "verbose": True}, "step", {"step_epochs": 5}),
        (
            {"_target_": "OneCycleLR", "anneal_strategy": "linear", "final_div_factor": 10.0},
            "one_cycle",
            {"anneal": "linear", "final_div_factor": 10.0},
        ),
        (
            {"_target_": "LinearLR", "start_factor": 0.1, "total_iters": 5},
            "none",
            {
                "_target_": "torch.optim.lr_scheduler.LinearLR",
                "start_factor": 0.1,
                "total_iters": 5,
            },
        ),
        (
            {"_target_": "CosineAnnealingLR", "T_max": 9, "eta_min": 1e-5},
            "none",
            {
                "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
                "T_max": 9,
                "eta_min": 1e-5,
            },
        ),
    ],
)
def test_schedules(given: dict[str, Any], option: str, values: dict[str, Any]) -> None:
    target = f"torch.optim.lr_scheduler.{given['_target_']}"
    native = mml_core.translate({"lr_scheduler": {**given, "_target_": target}}).native
    assert native["defaults"] == [{"lr_scheduler": option}]
    assert native["lr_scheduler"] == values


def test_the_least_rate_of_a_cosine_is_a_share_of_the_first() -> None:
    schedule = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 2, "eta_min": 1e-5}
    native = mml_core.translate(changed("lr_scheduler", **schedule)).native
    assert native["lr_scheduler"] == {"interval": "epoch", "warmup_epochs": 0.0, "min_ratio": pytest.approx(0.02)}
    # One that ends before the training rises again.
    native = mml_core.translate(changed("lr_scheduler", **{**schedule, "T_max": 1})).native
    assert native["lr_scheduler"] == {**schedule, "T_max": 1}


@pytest.mark.parametrize(
    "optimizer", [{"_target_": "torch.optim.RAdam", "lr": 1e-3}, {"_target_": "torch.optim.Adam", "amsgrad": True}]
)
def test_what_has_no_option_is_torchs_own_class(optimizer: dict[str, Any]) -> None:
    native = mml_core.translate({"optimizer": {**optimizer, "_convert_": "partial"}}).native
    assert native == {"defaults": [{"optimizer": "none"}], "optimizer": optimizer}


@pytest.mark.parametrize(
    ("variations", "option", "views"),
    [
        ({"i": [{"name": "RandomHorizontalFlip", "p": 0.0}], "a": [{"name": "RandomResizedCrop", "p": 1.0}]}, "crop", None),
        ({"a": [], "b": [{"name": "RandomHorizontalFlip", "p": 1.0}]}, "views", ["identity", "horizontal"]),
        ({"a": [], "b": [{"name": "RandomRotation", "degrees": [90, 90]}]}, "views", ["identity", "rot90"]),
    ],
)  # fmt: skip
def test_views(variations: dict[str, Any], option: str, views: list[str] | None) -> None:
    native = mml_core.translate({"tta": {"mode": "mean", "variations": variations}}).native
    assert native["defaults"] == [{"tta": option}] and native.get("tta", {}).get("views") == views


def test_parameters_of_earlier_albumentations() -> None:
    steps = [
        {"name": "GaussNoise", "var_limit": [25.0, 100.0], "p": 0.5},
        {"name": "CoarseDropout", "max_holes": 8, "max_height": 6, "min_height": 2, "max_width": 4, "fill_value": 0},
        {"name": "RandomResizedCrop", "size": [28, 28], "scale": [0.5, 1.0]},
    ]
    cpu = {"backend": "albumentations", "pipeline": steps}
    noise, holes, crop = mml_core.translate(changed("augmentations", cpu=cpu)).native["augmentations"]["cpu"][
        "pipeline"
    ]
    assert noise == {"_target_": "albumentations.GaussNoise", "std_range": [5 / 255, 10 / 255], "p": 0.5}
    assert holes == {
        "_target_": "albumentations.CoarseDropout", "num_holes_range": [8, 8], "hole_height_range": [2, 6],
        "hole_width_range": [4, 4], "fill": 0,
    }  # fmt: skip
    assert crop == {"_target_": "mlpipe.data.augment.samples.random_resized_crop", "size": 28, "scale": [0.5, 1.0]}


def test_mixup_is_an_augmentation_here() -> None:
    target = "mml.core.data_loading.augmentations.mixup_cutmix.MixUpCallback"
    translation = mml_core.translate(changed("cbs", mixup={"_target_": target, "alpha": 0.3, "label_smoothing": 0.1}))
    native = translation.native
    assert native["loss"]["label_smoothing"] == 0.1
    steps = native["augmentations"]["device"]["pipeline"]
    assert steps == [{"_target_": "mlpipe.data.augment.batches.mixup", "alpha": 0.3}]


FOCAL = {"_target_": "torchvision.ops.sigmoid_focal_loss", "_partial_": True, "reduction": "mean"}


@pytest.mark.parametrize(
    ("parameters", "alpha", "gamma"),
    [({}, 0.25, 2.0), ({"alpha": -1, "gamma": 1.5}, None, 1.5), ({"alpha": 0.6}, 0.6, 2.0)],
)
def test_the_focal_loss_of_labels_is_torchvisions(
    parameters: dict[str, Any], alpha: float | None, gamma: float
) -> None:
    translation = mml_core.translate(changed("loss", mlcls={**FOCAL, **parameters}))
    assert {"loss": "focal"} in translation.native["defaults"]
    assert translation.native["loss"] == {"alpha": alpha, "gamma": gamma}
    (line,) = [line for line in translation.report if line.key == "loss.mlcls"]
    assert line.fate == "differs" and "loss=auto" in line.note


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (changed("loss", mlcls={**FOCAL, "reduction": "none"}), "loss.mlcls: gives no number for a batch"),
        (changed("optimizer", _target_="torch.optim.LBFGS"), "optimizer._target_: has no counterpart here"),
        (
            {"lr_scheduler": {"_target_": "torch.optim.lr_scheduler.SequentialLR"}},
            "lr_scheduler._target_: takes what a file cannot hold",
        ),
        (changed("arch", _target_="mml.core.models.smp.SMPModel"), "arch._target_: the network mml.core.models.smp"),
        (changed("loss", cls={"_target_": "mine.Loss"}), "loss.cls: the loss mine.Loss is not available"),
        (changed("tta", variations={"a": [{"name": "Blur", "p": 1.0}]}), "tta.variations.a: a view of your own is not"),
        ({**PIPELINE, "optimiser": {}}, "optimiser: is no section of a pipeline; did you mean"),
        ({**PIPELINE, "trainer": 3}, "trainer: must be a section, got 3"),
    ],
)
def test_what_cannot_be_said_is_refused(source: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mml_core.translate(source)
    assert any(one.startswith(sentence) for one in caught.value.problems), caught.value.problems


@pytest.mark.program
def test_the_program_knows_the_file_by_its_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump(PIPELINE), "utf-8")
    assert translated(path).dialect == "mml-core"
    assert main(["train", f"recipe={path}", "task=digits", "--dry-run", f"out_dir={tmp_path / 'r'}"]) == 0
    assert main(["convert", f"recipe={path}"]) == 0
    assert "Translated from mml-core" in capsys.readouterr().out
