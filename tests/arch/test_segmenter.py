"""Encoder-decoders: every size of image, the library's own outputs, and what cannot be built said in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp  # type: ignore[import-untyped]
import torch

from mlpipe.arch import classifier, segmenter
from mlpipe.arch import weights as weight_files
from mlpipe.arch.classifier import Head, Pixels
from mlpipe.errors import ConfigError, DataError
from mlpipe.learn import per_pixel

ENCODER = "resnet10t"
HEADS = {"target": Head(3, per_pixel=True)}


def build(kind: str, size: int = 64, channels: int = 3, **options: Any) -> segmenter.Segmenter:
    torch.manual_seed(0)
    options = {"encoder": ENCODER, "name": kind, "pretrained": False} | options
    made: segmenter.Segmenter = getattr(segmenter, kind)(HEADS, Pixels(channels, size), **options)
    return made.eval()


@pytest.mark.parametrize("kind", ["unet", "fpn", "pspnet", "linknet"])
@pytest.mark.parametrize("size", [64, 50])
def test_every_pixel_gets_its_logits(kind: str, size: int) -> None:
    network = build(kind, size, channels=1)
    with torch.no_grad():
        outputs = network(torch.randint(0, 255, (2, 1, size, size)).float())["target"]
    assert outputs.shape == (2, 3, size, size)


def test_the_outputs_are_the_library_s() -> None:
    network = build("unet")
    torch.manual_seed(0)
    theirs = smp.Unet(encoder_name=f"tu-{ENCODER}", encoder_weights=None, in_channels=3, classes=3).eval()
    images = torch.randint(0, 255, (1, 3, 64, 64)).float()
    with torch.no_grad():
        wanted = theirs((images - network.mean) / network.std)
        assert torch.allclose(network(images)["target"], wanted, atol=1e-5)


def test_a_shallow_one_and_a_frozen_encoder() -> None:
    network = build("unet", depth=3, attention="scse", freeze=True)
    assert not any(parameter.requires_grad for parameter in network.backbone.parameters())
    assert all(parameter.requires_grad for parameter in network.decoder.parameters())
    assert network(torch.zeros(1, 3, 20, 20))["target"].shape == (1, 3, 20, 20)


def test_weights_of_a_file(tmp_path: Path) -> None:
    first = build("fpn")
    with torch.no_grad():
        first.heads["target"][0].bias.fill_(3.0)  # type: ignore[index]
    weight_files.save(first.state_dict(), tmp_path / "w.safetensors")
    again = build("fpn", weights=str(tmp_path / "w.safetensors"))
    assert torch.equal(again.heads["target"][0].bias, first.heads["target"][0].bias)  # type: ignore[index]
    with pytest.raises(DataError, match="does not fit the network"):
        build("unet", weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(DataError, match="no such file"):
        build("unet", weights=str(tmp_path / "none.safetensors"))


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ConfigError, match=r"arch\.encoder: cannot be used here"):
        build("unet", encoder="mixer_s32_224")
    with pytest.raises(ConfigError, match="the task wants one for an image"):
        segmenter.unet({"target": Head(3)}, Pixels(3, 64), encoder=ENCODER, name="x", pretrained=False)
    with pytest.raises(ConfigError, match="masks and images are learned alone"):
        segmenter.unet(HEADS | {"b": Head(2)}, Pixels(3, 64), encoder=ENCODER, name="x", pretrained=False)
    of_kind = per_pixel.head(3)
    with pytest.raises(ConfigError, match=r"use arch=unet arch\.encoder=resnet10t"):
        classifier.timm({"target": of_kind}, Pixels(3, 64), name=ENCODER, pretrained=False)
