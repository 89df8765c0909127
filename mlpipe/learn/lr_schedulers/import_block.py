"""Your own schedule, given as MODULE.NAME."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.lr_schedulers.clock import Clock
from mlpipe.learn.own_parts.own_classes import instance
from mlpipe.learn.own_parts.own_code import called


def schedule(
    optimizer: Optimizer,
    clock: Clock,
    *,
    name: str,
    interval: Literal["step", "epoch"] = "step",
    params: dict[str, Any] | None = None,
    trust: list[str] | None = None,
) -> LRScheduler:
    """Your own schedule: a class whose instances return the rate for a step, counted from 0, as a number.

    Args:
        optimizer: The optimizer; its rate, optimizer.lr, multiplies the schedule's values: use 1.
        clock: The length of the training.
        name: MODULE.NAME of the class.
        interval: Whether steps or epochs are counted.
        params: The parameters of the class.
        trust: Modules outside the current folder whose code may run.

    Raises:
        ConfigError: When it fails, or returns no rate.
        DataError: When the code is not the user's own and not trusted.
    """
    own_schedule = instance("lr_scheduler", name, params, trust)
    rate = getattr(own_schedule, "call", own_schedule)

    def at(step: int) -> float:
        value = called("lr_scheduler", name, lambda: float(rate(step)))
        if not np.isfinite(value) or value < 0:
            wrong = f"{name} gives no rate for step {step}"
            raise ConfigError(problem("lr_scheduler", wrong, got=value, fix="let it give a number >= 0"))
        return float(value)

    return LambdaLR(optimizer, at)
