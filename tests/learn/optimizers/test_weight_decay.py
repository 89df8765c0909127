"""What does not decay is what timm leaves out of weight decay, wherever in a network it is."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from mlpipe.arch import classifier, segmenter
from mlpipe.arch.classifier import Head, Pixels
from mlpipe.learn.optimizers import optimizers
from mlpipe.learn.optimizers.weight_decay import undecayed

# What each of them lists: tokens and positions, also of distillation, tables of relative positions, temperatures.
NETWORKS = [
    ("test_vit", 160),
    ("deit_tiny_distilled_patch16_224", 224),
    ("swin_tiny_patch4_window7_224", 224),
    ("swinv2_tiny_window8_256", 256),
    ("test_vit_relpos", 160),
    ("xcit_nano_12_p8_224", 224),
    ("eva02_tiny_patch14_224", 224),
    ("levit_128s", 224),
    ("test_convnext", 160),
    ("test_resnet", 64),
]


def exempt_by_timm(body: nn.Module) -> set[str]:
    listed = getattr(body, "no_weight_decay", set)()
    groups = timm.optim.param_groups_weight_decay(body, weight_decay=0.1, no_weight_decay_list=listed)
    names = {id(parameter): name for name, parameter in body.named_parameters()}
    return {names[id(one)] for group in groups if group["weight_decay"] == 0 for one in group["params"]}


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_a_backbones_groups_are_timms(name: str, size: int) -> None:
    with torch.device("meta"):
        network = classifier.timm({"target": Head(3)}, Pixels(3, size), name=name, pretrained=False)
    found = undecayed(network)
    expected = {f"backbone.{one}" for one in exempt_by_timm(network.backbone)} | {"heads.target.bias"}
    assert found == expected
    _, plain = optimizers.parameter_groups(network)
    names = {id(parameter): key for key, parameter in network.named_parameters()}
    assert {names[id(one)] for one in plain["params"]} == expected


def test_decay_all_decays_all() -> None:
    network = classifier.timm({"target": Head(3)}, Pixels(3, 160), name="test_vit", pretrained=False)
    groups = optimizers.parameter_groups(network)
    built = optimizers.adamw(groups, lr=0.1, weight_decay=0.3, decay_all=True)
    assert {group["weight_decay"] for group in built.param_groups} == {0.3}
    built = optimizers.adamw(optimizers.parameter_groups(network), lr=0.1, weight_decay=0.3)
    decays = {id(one): group["weight_decay"] for group in built.param_groups for one in group["params"]}
    assert decays[id(network.backbone.cls_token)] == decays[id(network.backbone.pos_embed)] == 0
    assert decays[id(network.backbone.patch_embed.proj.weight)] == 0.3


def test_layers_with_rates_of_their_own_leave_out_the_same() -> None:
    network = classifier.timm({"target": Head(3)}, Pixels(3, 160), name="test_vit", pretrained=False)
    groups = optimizers.parameter_groups(network, 0.5)
    names = {id(parameter): key for key, parameter in network.named_parameters()}
    plain = {names[id(one)] for group in groups if group.get("weight_decay") == 0 for one in group["params"]}
    assert plain == undecayed(network) and "backbone.pos_embed" in plain


def test_an_encoders_network_is_asked_though_what_gives_its_features_hides_it() -> None:
    heads: dict[str, Any] = {"target": Head(2, per_pixel=True)}
    name = "swin_tiny_patch4_window7_224"
    network = segmenter.unet(heads, Pixels(3, 224), encoder=name, name="x", pretrained=False)
    with torch.device("meta"):
        whole = timm.create_model(name)
    listed = {one.replace("layers.", "layers_", 1) for one in whole.no_weight_decay()}
    tables = {f"backbone.model.{one}" for one in listed}
    names = {one for one, _ in network.named_parameters()}
    assert len(tables) == 12 and tables <= names
    assert undecayed(network) == tables | {one for one, parameter in network.named_parameters() if parameter.ndim <= 1}


def test_a_part_of_a_network_of_ones_own_may_list_patterns() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (nn.Parameter(torch.zeros(1, 2, 3)) for _ in range(2))
            self.mix = nn.Linear(3, 3)

        def no_weight_decay(self) -> set[str]:
            return {"fir*", "gone"}

    network = nn.ModuleDict({"inner": nn.Sequential(Tokens()), "last": nn.Linear(3, 2)})
    assert undecayed(network) == {"inner.0.first", "inner.0.mix.bias", "last.bias"}
