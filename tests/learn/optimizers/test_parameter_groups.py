"""What weight decay leaves alone is what timm leaves alone; each layer has its share of the rate."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from mlpipe.arch import classifier, segmenter
from mlpipe.arch.classifier import Head, Pixels
from mlpipe.errors import ConfigError
from mlpipe.learn.optimizers import adam, parameter_groups, sgd
from mlpipe.learn.optimizers.parameter_groups import undecayed
from tests.learn.optimizers.conftest import network


def test_norms_and_biases_have_no_weight_decay_and_frozen_ones_are_absent() -> None:
    net = network()
    net[3].weight.requires_grad_(False)
    decayed, plain = parameter_groups.parameter_groups(net)
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 1, 3, 3)]
    assert "weight_decay" not in decayed
    assert plain["weight_decay"] == 0.0
    assert {id(p) for p in plain["params"]} == {id(p) for p in (net[0].bias, net[1].weight, net[1].bias, net[3].bias)}
    built = adam.adamw([decayed, plain], lr=0.1, weight_decay=0.3)
    assert [group["weight_decay"] for group in built.param_groups] == [0.3, 0.0]


def test_every_parameter_of_a_timm_network_is_in_one_group() -> None:
    net = timm.create_model("test_convnext", num_classes=3)
    groups = parameter_groups.parameter_groups(net)
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in net.parameters())
    assert all(parameter.ndim <= 1 for parameter in groups[1]["params"])


def test_a_group_without_parameters_is_left_out() -> None:
    (only,) = parameter_groups.parameter_groups(nn.Linear(2, 2, bias=False))
    assert "weight_decay" not in only
    net = network().requires_grad_(False)
    assert parameter_groups.parameter_groups(net) == []


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "mobilenetv3_small_050"])
def test_layer_decay_is_timms_with_the_heads_on_top(name: str) -> None:
    whole = timm.create_model(name, num_classes=5)
    expected = {}
    names = {id(parameter): key for key, parameter in whole.named_parameters()}
    listed = getattr(whole, "no_weight_decay", set)()
    for group in timm.optim.param_groups_layer_decay(
        whole, weight_decay=0.05, layer_decay=0.7, no_weight_decay_list=listed
    ):
        for parameter in group["params"]:
            expected[names[id(parameter)]] = (group["lr_scale"], group["weight_decay"])
    classifier_name = whole.pretrained_cfg["classifier"]
    network = classifier.timm({"target": Head(5)}, Pixels(3, 32), name=name, pretrained=False)
    names = {id(parameter): key for key, parameter in network.named_parameters()}
    optimizer = adam.adamw(parameter_groups.parameter_groups(network, 0.7), lr=0.01, weight_decay=0.05)
    parameter_groups.scale_rates(optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.01
    found = {}
    for group in optimizer.param_groups:
        assert "lr_scale" not in group
        for parameter in group["params"]:
            key = names[id(parameter)].replace("heads.target", classifier_name).removeprefix("backbone.")
            found[key] = (group["lr"] / 0.01, group["weight_decay"])
    assert set(found) == set(expected)
    for key, (scale, decay) in found.items():
        assert scale == pytest.approx(expected[key][0]), key
        assert decay == expected[key][1], key


def test_layer_decay_keeps_its_shares_under_a_schedule_and_leaves_out_what_is_frozen() -> None:
    network = classifier.timm({"target": Head(5)}, Pixels(3, 32), name="test_resnet", pretrained=False, freeze=2)
    groups = parameter_groups.parameter_groups(network, 0.5)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(map(id, learning))
    assert {group["lr_scale"] for group in groups} == {1.0, 0.5, 0.25}
    optimizer = sgd.sgd(groups, lr=1.0)
    parameter_groups.scale_rates(optimizer)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.1**step)
    optimizer.step()
    schedule.step()
    assert {group["lr"] for group in optimizer.param_groups} == {0.1, 0.05, 0.025}


def test_layer_decay_needs_layers() -> None:
    with pytest.raises(ConfigError, match="optimizer.layer_decay: needs a timm network whose layers are known"):
        parameter_groups.parameter_groups(network(), 0.5)


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
    _, plain = parameter_groups.parameter_groups(network)
    names = {id(parameter): key for key, parameter in network.named_parameters()}
    assert {names[id(one)] for one in plain["params"]} == expected


def test_decay_all_decays_all() -> None:
    network = classifier.timm({"target": Head(3)}, Pixels(3, 160), name="test_vit", pretrained=False)
    groups = parameter_groups.parameter_groups(network)
    built = adam.adamw(groups, lr=0.1, weight_decay=0.3, decay_all=True)
    assert {group["weight_decay"] for group in built.param_groups} == {0.3}
    built = adam.adamw(parameter_groups.parameter_groups(network), lr=0.1, weight_decay=0.3)
    decays = {id(one): group["weight_decay"] for group in built.param_groups for one in group["params"]}
    assert decays[id(network.backbone.cls_token)] == decays[id(network.backbone.pos_embed)] == 0
    assert decays[id(network.backbone.patch_embed.proj.weight)] == 0.3


def test_layers_with_rates_of_their_own_leave_out_the_same() -> None:
    network = classifier.timm({"target": Head(3)}, Pixels(3, 160), name="test_vit", pretrained=False)
    groups = parameter_groups.parameter_groups(network, 0.5)
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
