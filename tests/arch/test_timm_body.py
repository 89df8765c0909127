"""The first layer for further channels, and networks without hidden layers after the pooling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from mlpipe.arch import classifier, timm_body
from mlpipe.arch.classifier import Head, Pixels


@pytest.mark.parametrize(("how", "last"), [("zero", None), ("copy_last", 2)])
def test_further_channels_are_zeros_or_the_third_one(how: Any, last: int | None) -> None:
    three, five = (timm.create_model("test_resnet", in_chans=count, num_classes=0) for count in (3, 5))
    timm_body.widen(five, three, how)
    found, given = five.conv1[0].weight, three.conv1[0].weight
    assert torch.equal(found[:, :3], given)
    for number in (3, 4):
        assert torch.equal(found[:, number], given[:, last] if last is not None else torch.zeros_like(given[:, 0]))


@pytest.mark.parametrize(("how", "last"), [("zero", None), ("copy_last", 2), ("timm", 0)])
@pytest.mark.parametrize("stored", [3, 4])
def test_so_they_are_of_a_file(how: Any, last: int | None, stored: int, tmp_path: Path) -> None:
    """A file of weights was adapted as timm does it, whatever `arch.extra_channels` said; one of as many channels is kept."""
    source = timm.create_model("test_resnet", in_chans=stored, num_classes=0)
    torch.save(source.state_dict(), tmp_path / "x.pth")
    named: dict[str, Any] = {"name": "test_resnet", "weights": str(tmp_path / "x.pth"), "extra_channels": how}
    network = classifier.timm({"target": Head(2)}, Pixels(4, 32), **named)
    found, given = network.backbone.conv1[0].weight, source.conv1[0].weight
    if stored == 4:
        assert torch.equal(found, given)
    elif how == "timm":
        torch.testing.assert_close(found, torch.cat([given, given[:, :1]], 1) * 3 / 4)
    else:
        fourth = torch.zeros_like(given[:, :1]) if last is None else given[:, 2:]
        assert torch.equal(found, torch.cat([given, fourth], 1))
    assert torch.equal(network.backbone.layer1[0].conv1.weight, source.layer1[0].conv1.weight)
    assert "adapted" in network.begun or stored == 4


@pytest.mark.program
def test_vgg_without_its_hidden_layers_gives_what_its_last_maps_have() -> None:
    heads, pixels = {"target": Head(2)}, Pixels(3, 32)
    plain = classifier.timm(heads, pixels, name="vgg11", pretrained=False)
    short = classifier.timm(heads, pixels, name="vgg11", pretrained=False, pre_logits=False).eval()
    assert (plain.heads["target"].in_features, short.heads["target"].in_features) == (4096, 512)
    images = torch.rand(1, 3, 32, 32) * 255
    maps = short.backbone.forward_features((images - short.mean) / short.std)
    torch.testing.assert_close(short.features(images), maps.mean((2, 3)))


def test_outputs_side_by_side_go_through_their_activations() -> None:
    parts = (("softmax", 3), ("hard_sigmoid", 2), ("linear", 1))
    head = Head(6, activations=parts)
    network = classifier.timm({"target": head}, Pixels(3, 32), name="test_resnet", pretrained=False).eval()
    features = torch.randn(4, network.heads["target"].in_features)  # type: ignore[arg-type]
    raw, found = network.heads["target"](features), network(features)["target"]
    expected = torch.cat([raw[:, :3].softmax(1), (0.2 * raw[:, 3:5] + 0.5).clamp(0, 1), raw[:, 5:]], 1)
    torch.testing.assert_close(found, expected)
