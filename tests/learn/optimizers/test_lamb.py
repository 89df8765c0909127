"""LAMB and LARS are timm's; LAMB with AMSGrad's denominator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.optim import Lars
from timm.optim.lamb import Lamb

from mlpipe.errors import ConfigError
from mlpipe.learn.optimizers import lamb, parameter_groups
from mlpipe.learn.optimizers.lamb import AmsgradLamb
from tests.learn.optimizers.conftest import check_decay, check_steps


@pytest.mark.parametrize(
    ("name", "options", "reference", "torchs"),
    [
        ("lars", {"weight_decay": 0.1, "trust_coeff": 0.01}, Lars, {"momentum": 0.9, "always_adapt": True}),
        ("lamb", {"max_grad_norm": None, "always_adapt": True}, Lamb, {}),
    ],
)
def test_steps_are_timms(name: str, options: dict[str, Any], reference: Any, torchs: dict[str, Any]) -> None:
    check_steps(name, options, reference, torchs)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_all_decays_only_when_asked(name: str) -> None:
    check_decay(name)


def steps(make: type[Lamb], gradients: list[float], **keys: object) -> list[torch.Tensor]:
    x = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    optimizer = make([{"params": [x]}], lr=0.1, max_grad_norm=None, always_adapt=True, **keys)  # type: ignore[arg-type]
    found = []
    for scale in gradients:
        x.grad = scale * torch.tensor([0.3, 0.1, -0.4])
        optimizer.step()
        found.append(x.detach().clone())
    return found


def test_amsgrad_is_lamb_while_gradients_grow_and_less_once_they_shrink() -> None:
    growing = [1.0, 2.0, 4.0, 8.0]
    for keys in ({}, {"weight_decay": 0.1}):
        for one, other in zip(steps(Lamb, growing, **keys), steps(AmsgradLamb, growing, **keys), strict=True):
            assert torch.allclose(one, other, atol=1e-6)
    # Ten small gradients after a large one: the mean square forgets it, the largest one does not.
    x = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = AmsgradLamb([{"params": [x]}], betas=(0.9, 0.5), max_grad_norm=None, weight_decay=0.0)
    for scale in [100.0] + [1.0] * 10:
        x.grad = torch.full((2,), scale)
        optimizer.step()
    state = optimizer.state[x]
    assert float(state["max_exp_avg_sq"][0]) == pytest.approx(5000) and float(state["exp_avg_sq"][0]) < 10


def test_amsgrad_of_lamb_needs_no_bound_of_its_own() -> None:
    groups = parameter_groups.parameter_groups(torch.nn.Linear(2, 2))
    with pytest.raises(
        ConfigError, match=r"optimizer\.amsgrad: knows no bound of its own; add optimizer\.max_grad_norm"
    ):
        lamb.lamb(groups, lr=0.1, amsgrad=True)
