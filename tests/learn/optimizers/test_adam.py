"""Adam and its kin are torch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.learn.optimizers.conftest import check_decay, check_further_keys, check_steps


@pytest.mark.parametrize(
    ("name", "options", "reference", "torchs"),
    [
        ("adam", {"betas": (0.8, 0.9), "weight_decay": 0.1}, torch.optim.Adam, {}),
        ("adamw", {"weight_decay": 0.1, "eps": 1e-6}, torch.optim.AdamW, {}),
        ("adamax", {"betas": (0.8, 0.9)}, torch.optim.Adamax, {}),
        ("nadam", {"momentum_decay": 0.01}, torch.optim.NAdam, {}),
    ],
)
def test_steps_are_torchs(name: str, options: dict[str, Any], reference: Any, torchs: dict[str, Any]) -> None:
    check_steps(name, options, reference, torchs)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_all_decays_only_when_asked(name: str) -> None:
    check_decay(name)


@pytest.mark.parametrize(
    ("name", "keys", "torchs", "its"),
    [
        ("adam", {"amsgrad": True}, "Adam", {"amsgrad": True}),
        ("adamw", {"amsgrad": True, "weight_decay": 0.0}, "AdamW", {"amsgrad": True, "weight_decay": 0.0}),
    ],
)
def test_further_keys_are_torchs(name: str, keys: dict[str, object], torchs: str, its: dict[str, object]) -> None:
    check_further_keys(name, keys, torchs, its)
