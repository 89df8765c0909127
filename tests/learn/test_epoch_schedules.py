"""Schedules that move on once in an epoch, against torch's StepLR, MultiStepLR, ExponentialLR and LinearLR."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, lr_scheduler

from mlpipe.learn.lr_schedulers import schedules
from mlpipe.learn.lr_schedulers.schedules import Clock


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (lambda o, c: schedules.step(o, c, step_epochs=2, gamma=0.1), lambda o: lr_scheduler.StepLR(o, 2, 0.1)),
        (
            lambda o, c: schedules.multistep(o, c, milestones=[2, 5], gamma=0.3),
            lambda o: lr_scheduler.MultiStepLR(o, [2, 5], 0.3),
        ),
        (lambda o, c: schedules.exponential(o, c, gamma=0.8), lambda o: lr_scheduler.ExponentialLR(o, 0.8)),
        (
            lambda o, c: schedules.warmup(o, c, interval="epoch", warmup_epochs=5, start_ratio=0.2),
            lambda o: lr_scheduler.LinearLR(o, 0.2, 1.0, 5),
        ),
    ],
    ids=["step", "multistep", "exponential", "warmup"],
)
def test_the_rates_of_ten_epochs(ours: Callable[..., Any], torchs: Callable[..., Any]) -> None:
    rates = []
    for make in (lambda o: ours(o, Clock(7, 10)), torchs):
        optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
        schedule = make(optimizer)
        rates.append([])
        for _ in range(10):
            rates[-1].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    assert rates[0] == pytest.approx(rates[1], rel=1e-9)
