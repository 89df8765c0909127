"""Features of a frozen backbone: computed once, the same training as without them."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlpipe.arch import adapt
from mlpipe.arch.classifier import Classifier, Head, Pixels, timm
from mlpipe.arch.keras.keras_json import keras_json
from mlpipe.config.components import Component
from mlpipe.data.preprocessing import BeforeResize
from mlpipe.learn import features, fit
from mlpipe.learn.build.network import build_network
from mlpipe.learn.build.own_network import own
from mlpipe.learn.job import Watch
from tests.learn.conftest import job

FROZEN = ["arch.freeze=true", "augmentations=none", "arch.drop_rate=0.0"]


def test_they_are_what_the_backbone_gives(tmp_path: Path) -> None:
    one = job(tmp_path, *FROZEN)
    network = build_network(one.recipe, one.task, one.pack, seed=0)
    assert features.applies(one.recipe, network)
    rows = np.union1d(one.view.train, one.view.val)
    pack = features.feature_pack(network, one.pack, rows, lambda: None)  # type: ignore[arg-type]
    images = torch.from_numpy(one.pack.take_fixed(rows[:5])).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = network.eval().features(images)  # type: ignore[operator]
    assert np.allclose(pack.take(rows[:5]), expected.numpy(), atol=1e-5)
    assert network.heads["target"](torch.from_numpy(pack.take(rows[:5]))).shape == (5, 10)  # type: ignore[index, operator]


@pytest.mark.program
def test_training_on_them_is_training_on_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = fit.fit(job(tmp_path / "a", *FROZEN), Watch())
    monkeypatch.setattr(features, "applies", lambda recipe, network: False)
    slow = fit.fit(job(tmp_path / "b", *FROZEN), Watch())
    assert quick.scores["val"] == pytest.approx(slow.scores["val"], abs=1e-4)


def test_a_second_fold_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(tmp_path, *FROZEN)
    network = build_network(one.recipe, one.task, one.pack, seed=0)
    rows = np.arange(40)
    first = features.feature_pack(network, one.pack, rows, lambda: None)  # type: ignore[arg-type]
    calls: list[int] = []
    monkeypatch.setattr(
        network, "view_features", lambda images: calls.append(len(images)) or torch.ones(len(images), 256)
    )
    again = features.feature_pack(network, one.pack, rows[10:], lambda: None)  # type: ignore[arg-type]
    assert calls == [] and (again.take(rows) == first.take(rows)).all()
    features.feature_pack(network, one.pack, np.arange(30, 50), lambda: None)  # type: ignore[arg-type]
    assert calls == [10]


@pytest.mark.parametrize(("name", "pools"), [("test_resnet", ("avg", "max", "avgmax")), ("test_vit", ("token", "avg"))])
def test_another_pooling_has_other_features_beside_them(tmp_path: Path, name: str, pools: tuple[str, ...]) -> None:
    one, rows = job(tmp_path, *FROZEN, "preprocessing.size=64"), np.arange(5)
    images = torch.from_numpy(one.pack.take_fixed(rows)).permute(0, 3, 1, 2)
    for pool in pools:
        torch.manual_seed(0)
        given = {"name": name, "pretrained": False, "pool": None if pool == "token" else pool}
        pixels = Pixels(channels=one.pack.preprocessing.channels, size=images.shape[-1])
        network = timm({"target": Head(10)}, pixels, **given).eval()  # type: ignore[arg-type]
        found = features.feature_pack(network, one.pack, rows, lambda: None).take(rows)
        with torch.no_grad():
            assert np.allclose(found, network.features(images).numpy(), atol=1e-5)


def layer(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": config}


def keras_network(*middle: dict[str, Any], activation: str = "relu") -> Callable[[Pixels], Classifier]:
    conv = layer("Conv2D", filters=4, kernel_size=3, padding="same", activation=activation)
    layers = [conv, *middle, layer("Flatten"), layer("Dense", units=10, activation="softmax")]
    return lambda pixels: keras_json({"target": Head(10)}, pixels, layers=layers, freeze=True)  # type: ignore[return-value]


PAIRS = {
    "pooling": (keras_network(layer("MaxPooling2D")), keras_network(layer("AveragePooling2D"))),
    "windows": (keras_network(layer("MaxPooling2D", pool_size=3, strides=2)), keras_network(layer("MaxPooling2D"))),
    "activation of a layer": (keras_network(activation="relu"), keras_network(activation="tanh")),
    "activation": (keras_network(layer("Activation", activation="elu")), keras_network(layer("Activation", activation="gelu"))),
    "slope": (
        keras_network(layer("LeakyReLU", alpha=0.1), activation="linear"),
        keras_network(layer("LeakyReLU", alpha=0.5), activation="linear"),
    ),
    "numbers that are no weights": (keras_network(layer("Rescaling", scale=2.0)), keras_network(layer("Rescaling", scale=5.0))),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_networks_with_the_same_weights_that_compute_something_else_have_features_of_their_own(
    tmp_path: Path, name: str
) -> None:
    """The second network was given the features of the first: such layers print their class alone."""
    base, rows = job(tmp_path, *FROZEN), np.arange(5)
    images = torch.from_numpy(base.pack.take_fixed(rows)).permute(0, 3, 1, 2)
    values = []
    for make in PAIRS[name]:
        torch.manual_seed(0)
        network = make(Pixels(channels=base.pack.preprocessing.channels, size=images.shape[-1])).eval()
        values.append(features.feature_pack(network, base.pack, rows, lambda: None).take(rows))
        with torch.no_grad():
            assert np.allclose(values[-1], network.features(images).numpy(), atol=1e-4)
    assert values[0].shape != values[1].shape or not np.allclose(*values, atol=0.01)


OWN = """
import torch
from torch import nn


class Means(nn.Module):
    def __init__(self, in_chans, power=1.0):
        super().__init__()
        self.layer, self.power = nn.Linear(in_chans, 3), power

    def forward(self, images):
        return FACTOR * self.layer(images.mean((2, 3))) ** self.power
"""


def test_other_code_or_arguments_of_an_own_network_have_features_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Stored bytecode is taken for that of a file of the same second and length.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    base, rows = job(tmp_path, *FROZEN), np.arange(5)
    images = torch.from_numpy(base.pack.take_fixed(rows)).permute(0, 3, 1, 2)
    folder, values = tmp_path / "modules", []
    folder.mkdir()
    for factor, power in ((1, 1.0), (2, 1.0), (2, 2.0), (1, 1.0)):
        (folder / "means_of_features_test.py").write_text(OWN.replace("FACTOR", str(factor)))
        sys.modules.pop("means_of_features_test", None)
        torch.manual_seed(0)
        pixels = Pixels(channels=base.pack.preprocessing.channels, size=images.shape[-1])
        options = {"modules": str(folder), "arguments": {"power": power}, "freeze": True}
        network = own({"target": Head(10)}, pixels, name="Means", **options).eval()  # type: ignore[arg-type]
        values.append(features.feature_pack(network, base.pack, rows, lambda: None).take(rows))
    assert np.allclose(values[1], 2 * values[0], atol=1e-6)
    assert np.allclose(values[2], 2 * values[0] ** 2, atol=1e-5)
    assert (values[3] == values[0]).all()
    assert len(list(base.pack.folder.glob("features-*.npz"))) == 3


def test_another_text_of_a_class_behind_the_backbone_is_other_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that a function of `arch` builds itself says nothing of its code, and weights say nothing of a class."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_layers_of_features_test.py").write_text(
        "from torch.nn import Identity\n\n\nclass Own(Identity): ...\n"
    )
    own = importlib.import_module("own_layers_of_features_test")
    one = job(tmp_path, *FROZEN)
    network = build_network(one.recipe, one.task, one.pack, seed=0)
    plain = features._fingerprint(network, one.pack)  # type: ignore[arg-type]
    network.backbone.act1 = own.Own()
    names = []
    for number in (1, 2, 1):
        text = f"from torch.nn import Identity\n\n\nclass Own(Identity): ...  # {number}\n"
        (tmp_path / "own_layers_of_features_test.py").write_text(text)
        names.append(features._fingerprint(network, one.pack))  # type: ignore[arg-type]
    assert names[0] == names[2] != names[1] and plain not in names


def test_prediction_finds_the_features_of_the_training(tmp_path: Path) -> None:
    """A training marks the normalisations of a frozen backbone; the network of a prediction has no such marks."""
    one = job(tmp_path, *FROZEN)
    network = build_network(one.recipe, one.task, one.pack, seed=0)
    names = [features._fingerprint(network, one.pack)]  # type: ignore[arg-type]
    for is_frozen in (False, True):
        adapt.freeze_statistics(network, is_frozen)
        names.append(features._fingerprint(network, one.pack))  # type: ignore[arg-type]
    assert len(set(names)) == 1


def test_a_function_with_a_name_that_has_no_value_yet_has_a_fingerprint() -> None:
    def made(known: bool) -> Callable[[], float]:
        if known:
            factor = 2.0
        return lambda: factor

    module = torch.nn.Identity()
    fingerprints = []
    for known in (False, True, False):
        module.change = made(known)  # type: ignore[assignment]
        fingerprints.append(features._settings(module))
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


NAMES = """
import sys
import torch
from mlpipe.arch.classifier import Head, Pixels, timm
from mlpipe.arch.keras.keras_json import keras_json
from mlpipe.learn.features import _settings

layers = [
    {"class_name": "Conv2D", "config": {"filters": 4, "kernel_size": 3, "activation": "relu"}},
    {"class_name": "LeakyReLU", "config": {"alpha": 0.1}},
]
torch.manual_seed(0)
networks = [
    timm({"target": Head(10)}, Pixels(3, 32), name=name, pretrained=False) for name in ("test_resnet", "test_vit")
]
body = keras_json({"target": Head(10)}, Pixels(1, 16), layers=[
    *layers[:2], {"class_name": "Flatten", "config": {}}, {"class_name": "Dense", "config": {"units": 10}}
])
print([[name, *_settings(module)] for network in (*networks, body) for name, module in network.backbone.named_modules()])
"""


@pytest.mark.program
def test_the_name_of_features_is_the_same_in_every_process() -> None:
    texts = [
        subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, check=True).stdout for _ in "ab"
    ]
    assert texts[0] == texts[1] and "0x" not in texts[0] and len(texts[0]) > 1000


@pytest.mark.parametrize("overrides", [["arch.freeze=false"], ["augmentations=flips"], ["augmentations=kornia"]])
def test_nothing_of_this_when_features_change(tmp_path: Path, overrides: list[str]) -> None:
    one = job(tmp_path, *FROZEN, *overrides)
    assert not features.applies(one.recipe, build_network(one.recipe, one.task, one.pack, seed=0))


def test_transforms_before_the_resize_are_known_by_what_they_are(tmp_path: Path) -> None:
    """Their address in memory was part of the name, so that no other process found the features."""
    one = job(tmp_path, *FROZEN)
    network = build_network(one.recipe, one.task, one.pack, seed=0)

    def name(degrees: float) -> str:
        step = Component("augmentations", "mlpipe.data.augment.geometry.rotate", {"degrees": degrees})
        own = dataclasses.replace(one.pack.preprocessing, before=BeforeResize([step]))
        return features._fingerprint(network, dataclasses.replace(one.pack, preprocessing=own))  # type: ignore[arg-type]

    assert name(3.0) == name(3.0) != name(4.0)
