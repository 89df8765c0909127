"""A generator and a critic out of convolutions, networks of Keras or own functions, which must fit each other and the images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlpipe.arch.classifier import Head, Pixels
from mlpipe.arch.gan import ClassFeatures, PixelFeatures
from mlpipe.errors import ConfigError, DataError
from mlpipe.learn.build.gan_network import gan
from tests.dialects.test_rmldnn_drawn import CRITIC, GENERATOR, dense, network

HEADS = {"target": Head(3, draws=True, classes=3)}


def built(size: int = 8, **given: Any) -> Any:
    torch.manual_seed(0)
    return gan(given.pop("heads", HEADS), given.pop("pixels", Pixels(1, size)), **given)


@pytest.mark.parametrize("as_text", [True, False])
def test_networks_of_keras(as_text: bool) -> None:
    parts: dict[str, Any] = {"generator": GENERATOR, "critic": CRITIC}
    parts = {key: json.dumps(one) for key, one in parts.items()} if as_text else parts
    made = built(**parts, values="unit").eval()
    assert made.noise == 6 and made.shape == (1, 8, 8)
    assert made(torch.zeros(2, 1, 8, 8))["target"].shape == (2, 2 + 2 * 64)


def test_what_images_are_compared_by() -> None:
    assert isinstance(built().features, ClassFeatures)
    assert isinstance(built(heads={"target": Head(1, draws=True)}).features, PixelFeatures)
    named = built(32, features="test_resnet", pretrained=False)
    found = named.features(torch.zeros(2, 1, 32, 32))
    assert found.ndim == 2 and not list(named.features.parameters())


def test_functions_of_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "mine.py").write_text(
        "import math\nfrom torch import nn\n\n\n"
        "def draws(noise, shape):\n"
        "    return nn.Sequential(nn.Linear(noise, math.prod(shape)), nn.Unflatten(1, shape))\n\n\n"
        "def judges(shape):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 1))\n\n\n"
        "def wrong():\n"
        "    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    made = built(generator="draws", critic="judges", noise=5, modules="nets")
    assert made.generator(torch.zeros(2, 5)).shape == (2, 1, 8, 8)
    with pytest.raises(ConfigError, match=r"arch\.critic: wrong gives no network, got 'int'; return"):
        built(critic="wrong", modules="nets")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"size": 16, "generator": GENERATOR},
         r"arch\.generator: draws images of 8 x 8 with 1 channel, the critic takes the task's, 16 x 16 with 1 channel"),
        ({"size": 16, "critic": CRITIC}, r"arch\.critic: takes images of 8 x 8 x 1, the task's are 16 x 16 x 1"),
        ({"generator": GENERATOR, "noise": 9}, r"arch\.noise: the generator takes 6 numbers, got 9; use arch\.noise=6"),
        ({"critic": network("c", {"class_name": "Flatten", "config": {"name": "f"}}, dense("s", 4))},
         r"arch\.critic: gives one score for an image, got \[4\]"),
        ({"heads": {"target": Head(3)}}, "arch: gan draws images, and predicts nothing of them"),
        ({"heads": {**HEADS, "other": Head(2)}}, r"mode\.multitask: a generator is learned alone"),
        ({"heads": {"target": Head(1, draws=True)}, "features": "classes"}, r"arch\.features: the task's images have no cl"),
        ({"features": "pixels", "features_weights": "w.pt"}, r"arch\.features_weights: are not for features of pixels"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        built(**given)


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (Pixels(1, 8, shape=(8, 8, 8)), r"arch\.generator: convolutions of images draw no samples of 8 x 8 x 8"),
        (Pixels(1, 8, inputs=(("x", (3,)),)), "the task's samples are records"),
    ],
)
def test_samples_that_are_no_images(pixels: Pixels, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        built(pixels=pixels)


def test_features_of_a_records_weights_are_those_of_its_network(tmp_path: Path) -> None:
    from mlpipe.arch import weights
    from mlpipe.arch.classifier import timm

    pixels = Pixels(1, 32)
    own = timm({"target": Head(4)}, pixels, name="test_resnet", pretrained=False).eval()
    weights.save(own.state_dict(), tmp_path / "weights.safetensors")
    made = built(32, features="test_resnet", features_weights=str(tmp_path / "weights.safetensors"))
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 1, 32, 32), np.uint8)).float()
    torch.testing.assert_close(made.eval().features(images), own.features(images))
