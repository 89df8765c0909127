"""Limited-memory BFGS against SciPy's minimum, and its limits."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize

from mlpipe.errors import ConfigError
from mlpipe.learn.optimizers.lbfgs import lbfgs


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


def test_rates_of_layers_are_refused() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr_scale": scale} for scale in (1.0, 0.5)]
    with pytest.raises(
        ConfigError, match=r"optimizer\.layer_decay: a line search has one rate for all layers; leave it"
    ):
        lbfgs(groups)
    assert len(lbfgs([{**group, "lr_scale": 1.0} for group in groups]).param_groups[0]["params"]) == 2
