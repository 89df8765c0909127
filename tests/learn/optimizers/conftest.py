"""The steps of an optimizer beside those of another, and what decays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mlpipe import names
from mlpipe.config.components import Component
from mlpipe.learn.optimizers.parameter_groups import parameter_groups


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 36, 2))


def builder(name: str) -> Callable[..., Any]:
    """The function behind an option of `conf/optimizer`."""
    function: Callable[..., Any] = Component("optimizer", names.path_of("optimizer", name)).load()
    return function


def check_steps(name: str, options: dict[str, Any], reference: Any, torchs: dict[str, Any]) -> None:
    """Three steps are bit for bit those of another optimizer."""
    ends = []
    for build in (builder(name), lambda groups, **given: reference(groups, **given, **torchs)):
        net = network()
        optimizer = build(parameter_groups(net), lr=0.05, **options)
        for step in range(3):
            images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(step))
            net(images).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append(torch.cat([parameter.detach().flatten() for parameter in net.parameters()]))
    assert torch.equal(*ends)


def check_decay(name: str) -> None:
    """Biases decay where all is to decay, and only there."""
    for whole, wanted in ((False, 0.0), (True, 0.3)):
        groups = parameter_groups(nn.Linear(2, 2))
        made = builder(name)(groups, lr=0.1, weight_decay=0.3, decay_all=whole)
        assert [group["weight_decay"] for group in made.param_groups] == [0.3, wanted]


def check_further_keys(name: str, keys: dict[str, object], torchs: str, its: dict[str, object]) -> None:
    """Keys mean what those of torch's optimizer mean, over large and small gradients."""

    def run(make: Callable[[nn.Module], Any]) -> torch.Tensor:
        torch.manual_seed(0)
        net = nn.Linear(3, 2)
        optimizer = make(net)
        for scale in (5.0, 1.0, 0.1, 2.0):
            optimizer.zero_grad()
            (scale * net(torch.ones(4, 3)).square().sum()).backward()
            optimizer.step()
        return net.weight.detach()

    ours = run(lambda net: builder(name)(parameter_groups(net), lr=0.01, **keys))
    theirs = run(lambda net: getattr(torch.optim, torchs)(net.parameters(), lr=0.01, **its))
    assert torch.allclose(ours, theirs, atol=1e-7)
