"""The length of a training in steps, and schedules in closed form after a linear warm-up."""

from __future__ import annotations

import math
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


def check_period(key: str, epochs: float, clock: Clock, interval: str, *, got: float | None = None) -> None:
    """Refuse what begins again and again more often than the learning rate changes.

    Args:
        key: The key that says how long a period is.
        epochs: How long it is.
        clock: How long the training is.
        interval: Whether the learning rate changes at every step or epoch.
        got: What the key says, where that is not in epochs.

    Raises:
        ConfigError: When it is shorter than a step, or an epoch.
    """
    ticks = epochs * clock.ticks(interval)
    # A step that was divided by the steps of an epoch is one again.
    if ticks < 1 - 1e-9:
        value = epochs if got is None else got
        fix = f"at least {value / ticks:.3g}, after which the learning rate changes"
        raise ConfigError(problem(key, f"is shorter than one {interval}", got=value, fix=fix))


def closed_form(
    optimizer: Optimizer, clock: Clock, interval: str, warmup_epochs: float, factor: Callable[[float], float]
) -> LRScheduler:
    """A schedule in closed form: warm-up from the first tick on, then `factor` of the epoch, which may be a fraction.

    Raises:
        ConfigError: When the warm-up is longer than the training, or the learning rate grows beyond all numbers.
    """
    if warmup_epochs > clock.epochs:
        fix = f"at most {clock.epochs:g}, the epochs of the training"
        raise ConfigError(
            problem("lr_scheduler.warmup_epochs", "is longer than the training", got=warmup_epochs, fix=fix)
        )
    if not _is_finite(factor, clock.epochs):
        fix = "let it grow more slowly"
        raise ConfigError(problem("lr_scheduler", "gives no finite learning rate at the end of the training", fix=fix))
    ticks = clock.ticks(interval)
    warmup_ticks = round(warmup_epochs * ticks)

    def at(tick: int) -> float:
        if tick < warmup_ticks:
            return (tick + 1) / (warmup_ticks + 1)
        return factor(tick / ticks)

    return LambdaLR(optimizer, at)


def _is_finite(factor: Callable[[float], float], epoch: float) -> bool:
    try:
        return math.isfinite(factor(epoch))
    except OverflowError:
        return False
