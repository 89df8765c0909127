"""The length of a training in steps, and schedules in closed form after a linear warm-up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from mlpipe.errors import ConfigError, problem


@dataclass(frozen=True)
class Clock:
    """How long a training is.

    Attributes:
        steps_per_epoch: Optimizer steps in an epoch.
        epochs: How many epochs, a fraction where the training ends within one.
        direction: Whether less or more of metrics.monitor is better.
    """

    steps_per_epoch: int
    epochs: float
    direction: Literal["min", "max"] = "min"

    @property
    def steps(self) -> int:
        """All optimizer steps of the training."""
        return round(self.steps_per_epoch * self.epochs)

    def ticks(self, interval: str) -> int:
        """How often a schedule of this interval moves on in one epoch."""
        return self.steps_per_epoch if interval == "step" else 1

    def epochs_of(self, steps: float | None, otherwise: float) -> float:
        """So many optimizer steps in epochs; None: the other length."""
        return otherwise if steps is None else steps / self.steps_per_epoch


def closed_form(
    optimizer: Optimizer, clock: Clock, interval: str, warmup_epochs: float, factor: Callable[[float], float]
) -> LRScheduler:
    """A schedule in closed form: warm-up from the first tick on, then `factor` of the epoch, which may be a fraction."""
    if warmup_epochs > clock.epochs:
        fix = f"at most {clock.epochs:g}, the epochs of the training"
        raise ConfigError(
            problem("lr_scheduler.warmup_epochs", "is longer than the training", got=warmup_epochs, fix=fix)
        )
    ticks = clock.ticks(interval)
    warmup_ticks = round(warmup_epochs * ticks)

    def at(tick: int) -> float:
        if tick < warmup_ticks:
            return (tick + 1) / (warmup_ticks + 1)
        return factor(tick / ticks)

    return LambdaLR(optimizer, at)
