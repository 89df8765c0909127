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
    ],
)
def test_schedules(given: dict[str, Any], option: str, values: dict[str, Any]) -> None:
    target = f"torch.optim.lr_scheduler.{given['_target_']}"
    native = mml_core.translate({"lr_scheduler": {**given, "_target_": target}}).native
    assert native["defaults"] == [{"lr_scheduler": option}]
    assert native["lr_scheduler"] == values


def test_mixup_is_an_augmentation_here() -> None:
    target = "mml.core.data_loading.augmentations.mixup_cutmix.MixUpCallback"
    native = mml_core.translate(changed("cbs", mixup={"_target_": target, "alpha": 0.3})).native
    steps = native["augmentations"]["device"]["pipeline"]
    assert steps == [{"_target_": "mlpipe.data.augment.batches.mixup", "alpha": 0.3}]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (changed("optimizer", _target_="torch.optim.LBFGS"), "optimizer._target_: has no counterpart here"),
        (changed("optimizer", amsgrad=True), "optimizer.amsgrad: amsgrad=True is not available"),
        (changed("arch", _target_="mml.core.models.smp.SMPModel"), "arch._target_: the network mml.core.models.smp"),
        (changed("loss", cls={"_target_": "mine.Loss"}), "loss.cls: the loss mine.Loss is not available"),
        (changed("tta", variations={"own": []}), "tta.variations: a list of your own is not available"),
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
