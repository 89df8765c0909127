"""Every snippet of Musket's classification reference and README: read, translated, and composed as a native configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mlpipe.config.compose import Facts, compose
from mlpipe.config.recipe_file import as_overrides
from mlpipe.dialects import musket
from mlpipe.dialects.translation import Translation
from mlpipe.errors import ConfigError

FACTS = Facts(lambda: ())
BASE = """
architecture: ResNet34
classes: 3
activation: sigmoid
weights: null
shape: [64, 64, 3]
optimizer: Adam
loss: binary_crossentropy
metrics: [binary_accuracy, matthews_correlation, macro_f1]
primary_metric: val_binary_accuracy
stages:
  - epochs: 2
"""
MODULE = """
def getTrain(*given): ...
def getTest(*given): ...
def measure(y_true, y_pred): ...
def TheAugmenter(parameter): ...
def binarize_target(x): ...
def tokenize(x): ...
def tokens_to_indexes(x, maxLen): ...
"""
# The section of the reference (or README), its snippet, and what of it must be in the native configuration.
SNIPPETS: dict[str, tuple[str, dict[str, Any]]] = {
    "activation": ("activation: sigmoid", {}),
    "experiment_result": (
        "experiment_result: matthews_correlation_holdout",
        {"metrics.final": ["accuracy", "elementwise_mcc", "soft_macro_f1"]},
    ),
    "transforms": (
        "transforms:\n  Fliplr: 0.5\n  Affine:\n    translate_px:\n      x:\n        - -50\n        - +50\n"
        "      y:\n        - -50\n        - +50",
        {
            "preprocessing.before": [
                {"_target_": "albumentations.HorizontalFlip", "p": 0.5},
                {
                    "_target_": "albumentations.Affine",
                    "translate_px": {"x": [-50, 50], "y": [-50, 50]},
                    "p": 1.0,
                },
            ]
        },
    ),
    "batch": ("batch: 512", {"sampling.batch_size": 512}),
    "callbacks": (
        "callbacks:\n  EarlyStopping:\n    patience: 100\n    monitor: val_binary_accuracy\n    verbose: 1\n"
        "  ReduceLROnPlateau:\n    patience: 16\n    factor: 0.5\n    monitor: val_binary_accuracy\n    mode: auto\n"
        "    cooldown: 5\n    verbose: 1",
        {
            "callbacks.early.patience": 100,
            "callbacks.early.watch": "val/accuracy",
            "lr_scheduler.patience": 15,
            "lr_scheduler.factor": 0.5,
            "lr_scheduler.cooldown": 4,
        },
    ),
    "copyWeights": ("copyWeights: true", {}),
    "clipnorm": ("clipnorm: 1.0", {"optimizer.clip_norm": 1.0}),
    "clipvalue": ("clipvalue: 0.5", {"optimizer.clip_value": 0.5}),
    "crops": ("shape: [63, 63, 3]\ncrops: 3", {"slicing.cells": 3}),
    "dataset": (
        "dataset:\n  getTrain: [false,false]",
        {"task.train": [{"call": "getTrain", "arguments": [False, False]}]},
    ),
    "datasets": (
        "dataset: test\ndatasets:\n  test:\n    getTest: [false,false]",
        {"task.train": [{"call": "getTest", "arguments": [False, False]}]},
    ),
    "dataset_augmenter": (
        "dataset:\n  getTrain: []\ndataset_augmenter:\n  name: TheAugmenter\n  parameter: test",
        {"task.augmenter": {"call": "TheAugmenter", "arguments": {"parameter": "test"}}},
    ),
    "dropout": ("dropout: 0.25", {"arch.drop_rate": 0.25}),
    "extra_train_data": (
        "dataset:\n  getTrain: []\ndatasets:\n  more:\n    getTest: []\nextra_train_data: more",
        {"task.extra": [{"call": "getTest", "arguments": []}]},
    ),
    "folds_count": ("folds_count: 3", {"split.folds": 3}),
    "freeze_encoder": (
        "freeze_encoder: true\nstages:\n  - epochs: 10 #frozen\n  - epochs: 100\n    unfreeze_encoder: true",
        {"stages.list": [{"epochs": 10, "freeze": "backbone"}, {"epochs": 100, "carry": True, "freeze": False}]},
    ),
    "final_metrics": ("final_metrics: [measure]", {"metrics.functions": ["measure"]}),
    "holdout": (
        "dataset:\n  getTrain: []\nholdout:\n  getTest: []",
        {"task.test": [{"call": "getTest", "arguments": []}], "split.test_fraction": 0.0},
    ),
    # All files of modules/ are imported anyway.
    "imports": ("dataset:\n  getTrain: []\nimports: [ layers, preprocessors ]", {"task.imports": []}),
    "inference_batch": ("inference_batch: 8", {"sampling.eval_batch_size": 8}),
    "loss": ("loss: binary_crossentropy", {"loss._target_": "mlpipe.learn.losses.cross_entropy.bce"}),
    "lr": ("lr: 0.01", {"optimizer.lr": 0.01}),
    "manualResize": ("manualResize: true", {"preprocessing.size": None, "preprocessing.id": "none"}),
    "metrics": (
        "metrics: #We would like to track some metrics\n  - binary_accuracy\n  - binary_crossentropy\n"
        "  - matthews_correlation",
        {"metrics.train": ["accuracy", "nll", "elementwise_mcc"]},
    ),
    "num_seeds": ("num_seeds: 3", {}),
    "optimizer": ("optimizer: Adam", {"optimizer.eps": 1e-7}),
    "primary_metric": ("primary_metric: val_macro_f1", {"metrics.monitor": "val/soft_macro_f1"}),
    "primary_metric_mode": ("primary_metric_mode: max", {"metrics.direction": "max"}),
    "preprocessing": (
        "dataset:\n  getTrain: []\npreprocessing:\n  - binarize_target:\n  - tokenize:\n  - tokens_to_indexes:\n"
        "      maxLen: 160\n  - disk-cache:",
        {
            "task.preprocessing": [
                {"call": "binarize_target"},
                {"call": "tokenize"},
                {"call": "tokens_to_indexes", "arguments": {"maxLen": 160}},
                {"call": "disk-cache"},
            ]
        },
    ),
    "random_state": ("random_state: 7", {"split.seed": 7}),
    "shape": ("shape: [440,440,3]", {"preprocessing.size": 440, "arch.in_chans": 3}),
    "stages": (
        "stages:\n  - epochs: 6\n  - epochs: 6\n    lr: 0.01",
        {"stages.list": [{"epochs": 6}, {"epochs": 6, "lr": 0.01}]},
    ),
    "stratified": ("stratified: true", {"split.stratify": True}),
    "testSplit": ("testSplit: 0.4", {"split.test_fraction": 0.4}),
    "testSplitSeed": ("testSplitSeed: 5", {"split.test_seed": 5}),
    "testTimeAugmentation": ("testTimeAugmentation: Horizontal", {"tta._target_": "mlpipe.learn.tta.flips"}),
    "validationSplit": ("folds_count: 1\nvalidationSplit: 0.3", {"split.val_fraction": 0.3}),
    "weights": ("weights: imagenet", {"arch.name": "resnet34.tv_in1k", "arch.pretrained": True}),
    "CyclicLR": (
        "callbacks:\n  CyclicLR:\n    base_lr: 0.001\n    max_lr: 0.006\n    step_size: 2000\n    mode: triangular",
        {"lr_scheduler.up_steps": 2000, "lr_scheduler.policy": "triangular", "optimizer.lr": 0.006},
    ),
    "LRVariator": (
        "callbacks:\n  LRVariator:\n    fromVal: 0.001\n    toVal: 0.01\n    style: cos+",
        {"lr_scheduler.from_lr": 0.001, "lr_scheduler.to_lr": 0.01, "lr_scheduler.style": "cos+"},
    ),
    "TensorBoard": (
        "callbacks:\n  TensorBoard:\n    log_dir: './logs'\n    batch_size: 32\n    write_graph: True\n"
        "    update_freq: batch",
        {"logging._target_": "mlpipe.learn.logging.tensorboard"},
    ),
    "preprocessors: augmentation": (
        "dataset:\n  getTrain: []\npreprocessing:\n  - augmentation:\n      Fliplr: 0.5\n      Affine:\n        translate_px:\n"
        "          x:\n            - -50\n            - +50\n          y:\n            - -50\n            - +50",
        {"preprocessing.keep": "original"},
    ),
    "README: the example": (
        "architecture: DenseNet201\npooling: avg\naugmentation:\n Fliplr: 0.5\n Flipud: 0.5\nclasses: 28\n"
        "activation: sigmoid\nweights: imagenet\nshape: [224, 224, 3]\noptimizer: Adam\nbatch: 16\nlr: 0.005\n"
        "copyWeights: true\nmetrics:\n  - binary_accuracy\n  - macro_f1\nprimary_metric: val_binary_accuracy\n"
        "primary_metric_mode: max\ncallbacks:\n  EarlyStopping:\n    patience: 3\n    monitor: val_macro_f1\n    mode: max\n"
        "    verbose: 1\n  ReduceLROnPlateau:\n    patience: 2\n    factor: 0.3\n    monitor: val_binary_accuracy\n"
        "    mode: max\n    cooldown: 1\n    verbose: 1\nloss: binary_crossentropy\nstages:\n  - epochs: 10",
        {"arch.name": "densenet201.tv_in1k", "sampling.batch_size": 16, "callbacks.early.watch": "val/soft_macro_f1"},
    ),
    "README: augmentations": (
        "augmentation:\n  Fliplr: 0.5\n  Flipud: 0.5\n  Affine:\n    scale: [0.8, 1.5]\n    translate_percent:\n"
        "      x: [-0.2,0.2]\n      y: [-0.2,0.2]\n    rotate: [-16, 16]\n    shear: [-16, 16]",
        {"preprocessing.keep": "original"},
    ),
    "README: several outputs": (
        "classes: [ 4, 4 ]\nactivation: [sigmoid,sigmoid]\nloss:\n  - binary_crossentropy\n  - binary_crossentropy\n"
        "primary_metric: val_loss\nprimary_metric_mode: min",
        {"metrics.monitor": "val/loss", "loss.expression": "2*bce"},
    ),
    "README: composite losses": ("loss: binary_crossentropy+0.1*dice_loss", {"loss.expression": "bce+0.1*dice"}),
    "README: cyclical rates": (
        "callbacks:\n  EarlyStopping:\n    patience: 40\n    monitor: val_binary_accuracy\n    verbose: 1\n"
        "  CyclicLR:\n     base_lr: 0.0001\n     max_lr: 0.01\n     mode: triangular2\n     step_size: 300",
        {"lr_scheduler.policy": "triangular2", "lr_scheduler.up_steps": 300, "callbacks.early.patience": 40},
    ),
    "README: crops": ("shape: [768, 768, 3]\ncrops: 3", {"slicing.cells": 3, "preprocessing.size": 768}),
}
_STAGES = """
stages:
  - epochs: 6 #Train for 6 epochs
    negatives: none #do not include negative examples in your training set
    validation_negatives: real #validation should contain all negative examples

  - lr: 0.0001 #let's use different starting learning rate
    epochs: 6
    negatives: real
    validation_negatives: real

  - loss: lovasz_loss #let's override loss function
    lr: 0.00001
    epochs: 6
    initial_weights: ./fpn-resnext2/weights/best-0.1.weights #let's load weights from this file
"""
NETWORKS = [
    *(f"ResNet{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"DenseNet{depth}" for depth in (121, 169, 201)),
    *("ResNeXt50", "ResNeXt101", "VGG16", "VGG19", "InceptionV3", "InceptionResNetV2", "Xception"),
    *("MobileNet", "MobileNetV2", "NASNetMobile", "NASNetLarge"),
]


def translated(tmp_path: Path, text: str) -> Translation:
    (tmp_path / "modules").mkdir(exist_ok=True)
    (tmp_path / "modules" / "functions_of_snippets.py").write_text(MODULE)
    for name in ("layers", "preprocessors"):
        (tmp_path / "modules" / f"{name}.py").touch()
    weights = tmp_path / "experiments" / "fpn-resnext2" / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    (weights / "best-0.1.weights").touch()
    path = tmp_path / "experiments" / "one" / "config.yaml"
    return musket.translate({**yaml.safe_load(BASE), **yaml.safe_load(text)}, musket.Home.of(path))


def composed(found: Translation) -> dict[str, Any]:
    """The tree of a training with a translation, its data from elsewhere where it names none."""
    texts = as_overrides(found.native, set())
    task = [] if "task" in found.chosen() else ["task=digits"]
    return dict(compose("train", [*texts, *task], FACTS).tree)


def looked_up(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_snippet_is_translated_and_composes(tmp_path: Path, name: str) -> None:
    text, expected = SNIPPETS[name]
    found = translated(tmp_path, text)
    tree = composed(found)
    for key, value in expected.items():
        given = looked_up(tree, key)
        if key == "stages.list":
            given = [{part: stage[part] for part in wanted} for stage, wanted in zip(given, value, strict=True)]
        assert given == value, key
    keys = {line.key.partition(".")[0].partition("[")[0] for line in found.report}
    assert set(yaml.safe_load(text)) - {"primary_metric_mode", "metrics"} <= keys | {"shape"}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_the_readme(tmp_path: Path, name: str) -> None:
    assert composed(translated(tmp_path, f"architecture: {name}"))["arch"]["pretrained"] is False


def test_stages_of_the_readme(tmp_path: Path) -> None:
    stages = composed(translated(tmp_path, _STAGES))["stages"]["list"]
    assert [(stage.get("negatives"), stage.get("val_negatives"), stage.get("lr")) for stage in stages] == [
        (0, None, None),
        (None, None, 0.0001),
        (None, None, 0.00001),
    ]
    assert stages[2]["loss"]["expression"] == "lovasz"
    assert stages[2]["initial_weights"].endswith("fpn-resnext2/weights/best-0.1.weights")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("architecture: FPN", "activation: a sigmoid over 3 classes means masks that overlap"),
        ("architecture: NASNetMobile\nweights: imagenet", "weights: there are no pretrained weights of NASNetMobile"),
    ],
)
def test_what_is_still_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        translated(tmp_path, text)
    assert any(one.startswith(sentence) for one in caught.value.problems)
