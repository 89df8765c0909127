"""Optimizers are torch's; norms, biases and frozen parameters are treated apart."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.optim import Lamb, Lars, Lion
from torch import nn

from mlpipe.learn import optimizers


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
