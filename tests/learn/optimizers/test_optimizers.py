"""Optimizers are torch's; norms, biases and frozen parameters are treated apart."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.optim import Lamb, Lars, Lion
from torch import nn

from mlpipe.arch import classifier
from mlpipe.arch.classifier import Head, Pixels
from mlpipe.errors import ConfigError
from mlpipe.learn.optimizers import optimizers


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 36, 2))


def test_norms_and_biases_have_no_weight_decay_and_frozen_ones_are_absent() -> None:
    net = network()
    net[3].weight.requires_grad_(False)
    decayed, plain = optimizers.parameter_groups(net)
    assert [tuple(p.shape) for p in decayed["params"]] == [(2, 1, 3, 3)]
    assert "weight_decay" not in decayed
    assert plain["weight_decay"] == 0.0
    assert {id(p) for p in plain["params"]} == {id(p) for p in (net[0].bias, net[1].weight, net[1].bias, net[3].bias)}
    built = optimizers.adamw([decayed, plain], lr=0.1, weight_decay=0.3)
    assert [group["weight_decay"] for group in built.param_groups] == [0.3, 0.0]


def test_every_parameter_of_a_timm_network_is_in_one_group() -> None:
    net = timm.create_model("test_convnext", num_classes=3)
    groups = optimizers.parameter_groups(net)
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in net.parameters())
    assert all(parameter.ndim <= 1 for parameter in groups[1]["params"])


def test_a_group_without_parameters_is_left_out() -> None:
    (only,) = optimizers.parameter_groups(nn.Linear(2, 2, bias=False))
    assert "weight_decay" not in only
    net = network().requires_grad_(False)
    assert optimizers.parameter_groups(net) == []


@pytest.mark.parametrize(
    ("name", "options", "reference", "torchs"),
    [
        ("sgd", {"momentum": 0.8, "weight_decay": 0.1}, torch.optim.SGD, {"nesterov": True}),
        ("sgd", {"momentum": 0.0}, torch.optim.SGD, {"nesterov": False}),
        ("adam", {"betas": (0.8, 0.9), "weight_decay": 0.1}, torch.optim.Adam, {}),
        ("adamw", {"weight_decay": 0.1, "eps": 1e-6}, torch.optim.AdamW, {}),
        ("adagrad", {"lr_decay": 0.1, "weight_decay": 0.1}, torch.optim.Adagrad, {}),
        ("adamax", {"betas": (0.8, 0.9)}, torch.optim.Adamax, {}),
        ("nadam", {"momentum_decay": 0.01}, torch.optim.NAdam, {}),
        ("adadelta", {"rho": 0.8}, torch.optim.Adadelta, {}),
        ("rmsprop", {"alpha": 0.9, "momentum": 0.5, "centered": True}, torch.optim.RMSprop, {}),
        ("lars", {"weight_decay": 0.1, "trust_coeff": 0.01}, Lars, {"momentum": 0.9, "always_adapt": True}),
        ("lamb", {"max_grad_norm": None, "always_adapt": True}, Lamb, {}),
        ("lion", {"weight_decay": 0.1}, Lion, {}),
    ],
)
def test_steps_are_torchs(name: str, options: dict[str, Any], reference: Any, torchs: dict[str, Any]) -> None:
    ends = []
    for build in (getattr(optimizers, name), lambda groups, **given: reference(groups, **given, **torchs)):
        net = network()
        optimizer = build(optimizers.parameter_groups(net), lr=0.05, **options)
        for step in range(3):
            images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(step))
            net(images).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append(torch.cat([parameter.detach().flatten() for parameter in net.parameters()]))
    assert torch.equal(*ends)


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
    optimizer = optimizers.adamw(optimizers.parameter_groups(network, 0.7), lr=0.01, weight_decay=0.05)
    optimizers.scale_rates(optimizer)
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
    groups = optimizers.parameter_groups(network, 0.5)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(map(id, learning))
    assert {group["lr_scale"] for group in groups} == {1.0, 0.5, 0.25}
    optimizer = optimizers.sgd(groups, lr=1.0)
    optimizers.scale_rates(optimizer)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.1**step)
    optimizer.step()
    schedule.step()
    assert {group["lr"] for group in optimizer.param_groups} == {0.1, 0.05, 0.025}


def test_layer_decay_needs_layers() -> None:
    with pytest.raises(ConfigError, match="optimizer.layer_decay: needs a timm network whose layers are known"):
        optimizers.parameter_groups(network(), 0.5)
