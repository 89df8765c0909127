"""Adagrad, Adadelta and RMSprop are torch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.learn.optimizers.conftest import check_decay, check_steps


@pytest.mark.parametrize(
    ("name", "options", "reference", "torchs"),
    [
        ("adagrad", {"lr_decay": 0.1, "weight_decay": 0.1}, torch.optim.Adagrad, {}),
        ("adadelta", {"rho": 0.8}, torch.optim.Adadelta, {}),
        ("rmsprop", {"alpha": 0.9, "momentum": 0.5, "centered": True}, torch.optim.RMSprop, {}),
    ],
)
def test_steps_are_torchs(name: str, options: dict[str, Any], reference: Any, torchs: dict[str, Any]) -> None:
    check_steps(name, options, reference, torchs)


@pytest.mark.parametrize("name", ["adagrad", "rmsprop"])
def test_all_decays_only_when_asked(name: str) -> None:
    check_decay(name)
