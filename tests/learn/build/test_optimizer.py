"""The optimizer with its schedule: when the schedule moves on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mlpipe.config.components import Component
from mlpipe.learn.build.optimizer import build_optimizers
from tests.learn.conftest import job

_OWN = "mlpipe.learn.lr_schedulers"


@pytest.mark.parametrize(
    ("target", "params", "interval"),
    [
        (f"{_OWN}.cosine.cosine", {}, "step"),
        (f"{_OWN}.cycle.one_cycle", {}, "step"),
        (f"{_OWN}.step.step", {}, "epoch"),
        (f"{_OWN}.cosine.cosine", {"interval": "epoch"}, "epoch"),
        ("torch.optim.lr_scheduler.StepLR", {"step_size": 2}, "epoch"),
    ],
)
def test_a_schedule_moves_on_as_its_function_does(
    tmp_path: Path, target: str, params: dict[str, Any], interval: str
) -> None:
    """A schedule of steps that a mapping names without its interval would move on once in an epoch."""
    recipe = job(tmp_path).recipe
    schedule = Component("lr_scheduler", target, params)
    recipe = type(recipe)(**{**vars(recipe), "lr_scheduler": schedule})
    optimizer, description = build_optimizers(recipe, 10, "min")(nn.Linear(2, 2))
    assert description["interval"] == interval
    if target == f"{_OWN}.cosine.cosine":
        ticks = {"step": 10, "epoch": 1}[interval] * int(recipe.trainer["max_epochs"])
        first = optimizer.param_groups[0]["lr"]
        for _ in range(ticks):
            optimizer.step()
            description["scheduler"].step()
        assert first > 0
        torch.testing.assert_close(optimizer.param_groups[0]["lr"], 0.0, atol=1e-12, rtol=0)
