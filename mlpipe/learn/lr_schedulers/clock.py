"""The length of a training in steps, and closed-form schedules after a linear warm-up."""

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
    """The length of a training.

    Attributes:
        steps_per_epoch: Optimizer steps in an epoch.
        epochs: Number of epochs; a fraction if the training ends within an epoch.
        direction: Whether lower (min) or higher (max) values of metrics.monitor are better.
    """

    steps_per_epoch: int
    epochs: float
    direction: Literal["min", "max"] = "min"

    @property
    def steps(self) -> int:
        """The number of optimizer steps of the training."""
        return round(self.steps_per_epoch * self.epochs)

    def ticks(self, interval: str) -> int:
        """Return how often a schedule of this interval changes the rate per epoch."""
        return self.steps_per_epoch if interval == "step" else 1

    def length(self, name: str, epochs: float, steps: float | None, default: float) -> float:
        """Return a length in epochs that may be given in optimizer steps instead.

        Args:
            name: The keys of `lr_scheduler` without `_epochs` and `_steps`.
            epochs: The length in epochs.
            steps: The length in steps; None: in epochs.
            default: The value of `epochs` if none is given.

        Raises:
            ConfigError: When both are given.
        """
        if steps is None:
            return epochs
        if epochs != default:
            wrong = f"lr_scheduler.{name}_epochs says how long it is too"
            raise ConfigError(problem(f"lr_scheduler.{name}_steps", wrong, got=steps, fix="leave one of the two out"))
        return steps / self.steps_per_epoch


def check_period(key: str, epochs: float, clock: Clock, interval: str, *, got: float | None = None) -> None:
    """Refuse a period that is shorter than the interval at which the learning rate changes.

    Args:
        key: The key of the period's length.
        epochs: The period in epochs.
        clock: The length of the training.
        interval: Whether the learning rate changes at every step or epoch.
        got: The value of the key, if it is not in epochs.

    Raises:
        ConfigError: When the period is shorter than a step or an epoch.
    """
    ticks = epochs * clock.ticks(interval)
    # The tolerance absorbs the rounding error of steps that were divided by the steps per epoch.
    if ticks < 1 - 1e-9:
        value = epochs if got is None else got
        fix = f"at least {value / ticks:.3g}, after which the learning rate changes"
        raise ConfigError(problem(key, f"is shorter than one {interval}", got=value, fix=fix))


def closed_form(
    optimizer: Optimizer, clock: Clock, interval: str, warmup_epochs: float, factor: Callable[[float], float]
) -> LRScheduler:
    """Build a closed-form schedule: a warm-up from the first tick on, then `factor` of the (fractional) epoch.

    Raises:
        ConfigError: When the warm-up is longer than the training, or the learning rate overflows.
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
