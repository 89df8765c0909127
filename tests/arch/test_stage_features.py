"""Features of every stage beside those of the last one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mlpipe.arch import classifier, stage_features
from mlpipe.arch.classifier import Classifier, Head, Pixels
from mlpipe.errors import ConfigError

HEADS, PIXELS = {"target": Head(3)}, Pixels(3, 64)


def build(name: str, **options: Any) -> Classifier:
    torch.manual_seed(0)
    return classifier.timm(HEADS, PIXELS, name=name, pretrained=False, **options).eval()


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "mobilenetv4_conv_small", "vgg11_bn"])
def test_a_networks_own_features_come_first(name: str) -> None:
    plain, staged = build(name), build(name, pool="stages")
    images = torch.rand(2, 3, 64, 64) * 255
    own, found = plain.features(images), staged.features(images)
    assert found.shape == (2, staged.heads["target"].in_features) and found.shape[1] > own.shape[1]
    torch.testing.assert_close(found[:, : own.shape[1]], own)
    assert plain.backbone.state_dict().keys() == staged.backbone.state_dict().keys()


def test_mean_and_deviation_of_maps_by_hooks() -> None:
    network = build("test_resnet", pool="stages")
    maps: list[torch.Tensor] = []
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        network.backbone.get_submodule(layer).register_forward_hook(lambda module, given, made: maps.append(made))
    images = torch.rand(2, 3, 64, 64) * 255
    found = network.features(images)
    expected = []
    for one in maps:
        flat = one.flatten(2).double().detach().numpy()
        expected.append(torch.from_numpy(flat.mean(2)))
        expected.append(torch.from_numpy((flat.var(2) + 1e-6) ** 0.5))
    last = torch.cat(expected, 1).float()
    torch.testing.assert_close(found[:, -last.shape[1] :], last)


def test_of_many_stages_evenly_spread_ones_are_read_and_the_last() -> None:
    network = build("vit_tiny_patch16_224", pool="stages")
    assert network.stages is not None and network.stages._stages == [1, 3, 6, 8, 11]


def test_a_constant_map_has_a_gradient() -> None:
    network = build("test_resnet", pool="stages")
    network(torch.full((2, 3, 64, 64), 7.0))["target"].sum().backward()
    assert all(one.grad is None or torch.isfinite(one.grad).all() for one in network.parameters())


def test_dropout_is_of_all_features() -> None:
    network = build("test_resnet", pool="stages", drop_rate=0.5)
    own = int(network.backbone.num_features)
    images = torch.rand(64, 3, 64, 64) * 255
    found = network.train().features(images)
    for part in (found[:, :own], found[:, own:]):
        assert (part == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_a_network_without_stages_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"arch\.pool: timm gives no maps of the stages of mine"):
        stage_features.of("mine", nn.Flatten(), torch.zeros(1, 3, 8, 8))
