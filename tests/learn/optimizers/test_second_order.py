"""Limited-memory BFGS against SciPy's minimum, its limits, and LAMB with AMSGrad's denominator."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize
from timm.optim.lamb import Lamb

from mlpipe.errors import ConfigError
from mlpipe.learn.optimizers import optimizers
from mlpipe.learn.optimizers.lamb import AmsgradLamb
from mlpipe.learn.optimizers.second_order import lbfgs


def rosenbrock(x: torch.Tensor) -> torch.Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def minimised(**limits: float) -> tuple[torch.Tensor, int]:
    x, calls = torch.nn.Parameter(torch.full((6,), -0.5, dtype=torch.float64)), 0
    optimizer = lbfgs([{"params": [x]}], **limits)  # type: ignore[arg-type]

    def closure() -> torch.Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss = rosenbrock(x)
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[call-overload]
    return x.detach(), calls


def test_it_arrives_where_scipy_does() -> None:
    found, calls = minimised()
    wanted = minimize(lambda x: float(rosenbrock(torch.tensor(x))), [-0.5] * 6, method="L-BFGS-B", tol=1e-14)
    assert torch.allclose(found, torch.tensor(wanted.x), atol=1e-3)
    assert torch.allclose(found, torch.ones(6, dtype=torch.float64), atol=1e-5) and calls < 400


def test_every_limit_ends_it() -> None:
    whole = minimised()[1]
    assert minimised(max_iter=3)[1] < minimised(max_iter=10)[1] < whole
    assert 10 <= minimised(max_eval=10)[1] < 40
    assert minimised(tolerance=1.0)[1] < whole
    # A gradient that is larger than the loss never is less than a thousandth of it, but soon than a thousand times it.
    assert minimised(relative_tolerance=1000.0)[1] < minimised(relative_tolerance=1e-3)[1]


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


@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam", "adamw", "rmsprop", "lars", "lamb"])
def test_all_decays_only_when_asked(name: str) -> None:
    for whole, wanted in ((False, 0.0), (True, 0.3)):
        groups = optimizers.parameter_groups(torch.nn.Linear(2, 2))
        made = getattr(optimizers, name)(groups, lr=0.1, weight_decay=0.3, decay_all=whole)
        assert [group["weight_decay"] for group in made.param_groups] == [0.3, wanted]


@pytest.mark.parametrize(
    ("name", "keys", "torchs", "its"),
    [
        ("sgd", {"momentum": 0.9, "dampening": 0.3, "nesterov": False}, "SGD", {"momentum": 0.9, "dampening": 0.3}),
        ("adam", {"amsgrad": True}, "Adam", {"amsgrad": True}),
        ("adamw", {"amsgrad": True, "weight_decay": 0.0}, "AdamW", {"amsgrad": True, "weight_decay": 0.0}),
    ],
)
def test_further_keys_are_torchs(name: str, keys: dict[str, object], torchs: str, its: dict[str, object]) -> None:
    def run(make: object) -> torch.Tensor:
        torch.manual_seed(0)
        network = torch.nn.Linear(3, 2)
        optimizer = make(network)  # type: ignore[operator]
        for scale in (5.0, 1.0, 0.1, 2.0):
            optimizer.zero_grad()
            (scale * network(torch.ones(4, 3)).square().sum()).backward()
            optimizer.step()
        return network.weight.detach()

    ours = run(lambda net: getattr(optimizers, name)(optimizers.parameter_groups(net), lr=0.01, **keys))
    theirs = run(lambda net: getattr(torch.optim, torchs)(net.parameters(), lr=0.01, **its))
    assert torch.allclose(ours, theirs, atol=1e-7)


def test_amsgrad_of_lamb_needs_no_bound_of_its_own() -> None:
    groups = optimizers.parameter_groups(torch.nn.Linear(2, 2))
    with pytest.raises(
        ConfigError, match=r"optimizer\.amsgrad: knows no bound of its own; add optimizer\.max_grad_norm"
    ):
        optimizers.lamb(groups, lr=0.1, amsgrad=True)
