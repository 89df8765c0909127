"""Losses of numbers are torch's."""

from __future__ import annotations

import pytest
import torch

from tests.learn.losses.conftest import LOGITS, NUMBERS, SOFT, build


@pytest.mark.parametrize(
    ("name", "options", "torchs"),
    [
        ("mse", {}, torch.nn.MSELoss()),
        ("auto", {}, torch.nn.MSELoss()),
        ("mae", {}, torch.nn.L1Loss()),
        ("huber", {"delta": 0.7}, torch.nn.HuberLoss(delta=0.7)),
        ("smooth_l1", {"beta": 0.7}, torch.nn.SmoothL1Loss(beta=0.7)),
    ],
)
def test_losses_of_numbers_are_torchs(name: str, options: dict[str, float], torchs: torch.nn.Module) -> None:
    loss = build(name, NUMBERS, **options)
    assert loss(LOGITS, SOFT).item() == pytest.approx(torchs(LOGITS, SOFT).item(), abs=1e-12)
    holes = SOFT.clone()
    holes[3:7] = float("nan")
    known = ~holes.isnan()
    assert loss(LOGITS, holes).item() == pytest.approx(torchs(LOGITS[known], SOFT[known]).item(), abs=1e-12)
