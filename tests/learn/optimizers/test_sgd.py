"""SGD is torch's, Lion timm's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.optim import Lion

from mlpipe.errors import ConfigError
from mlpipe.learn.optimizers.lamb import lars
from mlpipe.learn.optimizers.sgd import sgd
from tests.learn.optimizers.conftest import check_decay, check_further_keys, check_steps


@pytest.mark.parametrize(
    ("name", "options", "reference", "torchs"),
    [
        ("sgd", {"momentum": 0.8, "weight_decay": 0.1}, torch.optim.SGD, {"nesterov": True}),
        ("sgd", {"momentum": 0.0}, torch.optim.SGD, {"nesterov": False}),
        ("lion", {"weight_decay": 0.1}, Lion, {}),
    ],
)
def test_steps_are_torchs(name: str, options: dict[str, Any], reference: Any, torchs: dict[str, Any]) -> None:
    check_steps(name, options, reference, torchs)


@pytest.mark.parametrize("name", ["sgd"])
def test_all_decays_only_when_asked(name: str) -> None:
    check_decay(name)


@pytest.mark.parametrize(
    ("name", "keys", "torchs", "its"),
    [
        ("sgd", {"momentum": 0.9, "dampening": 0.3, "nesterov": False}, "SGD", {"momentum": 0.9, "dampening": 0.3}),
    ],
)
def test_further_keys_are_torchs(name: str, keys: dict[str, object], torchs: str, its: dict[str, object]) -> None:
    check_further_keys(name, keys, torchs, its)


@pytest.mark.parametrize("build", [sgd, lars])
def test_nesterov_and_dampening_are_refused_together(build: Any) -> None:
    """SGD dropped nesterov in silence, LARS failed with an error of timm's."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))]}]
    with pytest.raises(ConfigError, match=r"optimizer\.dampening: cannot go with nesterov, got 0\.3; add optimizer"):
        build(groups, lr=0.1, momentum=0.9, dampening=0.3, nesterov=True)
    # Without momentum there is neither.
    assert not build(groups, lr=0.1, momentum=0.0, dampening=0.3, nesterov=True).defaults["nesterov"]
    assert build(groups, lr=0.1, momentum=0.9, nesterov=True).defaults["nesterov"]
