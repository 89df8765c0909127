"""The rates that a schedule gives, of an optimizer of its own."""

from __future__ import annotations

from typing import Any

import torch

from mlpipe.learn.lr_schedulers.clock import Clock

CLOCK = Clock(steps_per_epoch=5, epochs=8)


STEPS = range(40)


def fresh() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)


def rates(schedule: Any, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return found
