"""Learning rates that fall steadily: exponential, polynomial, inverse time."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mlpipe.learn.lr_schedulers.clock import Clock, closed_form


def exponential(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step", "epoch"] = "epoch",
    gamma: Annotated[float, ">= 0"] = 0.95,
    decay_epochs: Annotated[float, "> 0"] = 1.0,
    staircase: bool = False,
    warmup_epochs: Annotated[float, ">= 0"] = 0.0,
    decay_steps: Annotated[float, "> 0"] | None = None,
) -> LRScheduler:
    """The rate times `gamma` for every `decay_epochs`: torch's ExponentialLR, Keras' ExponentialDecay.

    Args:
        optimizer: The optimizer.
        clock: The length of the training.
        interval: Whether the rate changes at every step or epoch.
        gamma: The factor; above 1 the rate grows.
        decay_epochs: Epochs for one factor.
        staircase: Multiply only after whole `decay_epochs`.
        warmup_epochs: Length of the warm-up.
        decay_steps: Optimizer steps instead of `decay_epochs`.

    Raises:
        ConfigError: When the length is given both in steps and in epochs.
    """
    length = clock.length("decay", decay_epochs, decay_steps, 1.0)

    def factor(epoch: float) -> float:
        power = epoch / length
        return float(gamma ** (math.floor(power + 1e-9) if staircase else power))

    return closed_form(optimizer, clock, interval, warmup_epochs, factor)


def polynomial(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step", "epoch"] = "step",
    power: Annotated[float, ">= 0"] = 1.0,
    end_ratio: Annotated[float, ">= 0"] = 0.0,
    decay_epochs: Annotated[float, "> 0"] | None = None,
    cycle: bool = False,
    warmup_epochs: Annotated[float, ">= 0"] = 0.0,
    decay_steps: Annotated[float, "> 0"] | None = None,
) -> LRScheduler:
    """Down, or up, to `end_ratio` along (1 - t)^power: torch's PolynomialLR, Keras' PolynomialDecay.

    Args:
        optimizer: The optimizer.
        clock: The length of the training.
        interval: Whether the rate changes at every step or epoch.
        power: The exponent; 1 is a straight line.
        end_ratio: The last rate as a share of the first.
        decay_epochs: Length of the decay, counted from the end of the warm-up; None: to the end of the training.
        cycle: At the end start again, each time over one more length, instead of keeping the last rate.
        warmup_epochs: Length of the warm-up.
        decay_steps: Optimizer steps instead of `decay_epochs`.

    Raises:
        ConfigError: When the length is given both in steps and in epochs.
    """
    to_the_end = max(clock.epochs - warmup_epochs, 1 / clock.steps_per_epoch)
    length = clock.length("decay", decay_epochs or to_the_end, decay_steps, to_the_end)

    def factor(epoch: float) -> float:
        since = max(epoch - warmup_epochs, 0.0)
        whole = length * max(1, math.ceil(since / length - 1e-9)) if cycle else length
        return float(end_ratio + (1 - end_ratio) * (1 - min(since / whole, 1.0)) ** power)

    return closed_form(optimizer, clock, interval, warmup_epochs, factor)


def inverse_time(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step", "epoch"] = "step",
    decay_rate: Annotated[float, ">= 0"] = 1.0,
    decay_epochs: Annotated[float, "> 0"] = 1.0,
    staircase: bool = False,
    warmup_epochs: Annotated[float, ">= 0"] = 0.0,
    decay_steps: Annotated[float, "> 0"] | None = None,
) -> LRScheduler:
    """The rate over 1 + decay_rate * t, t in `decay_epochs`: Keras' InverseTimeDecay.

    Args:
        optimizer: The optimizer.
        clock: The length of the training.
        interval: Whether the rate changes at every step or epoch.
        decay_rate: How quickly it falls.
        decay_epochs: The unit of time.
        staircase: Decay only after whole units.
        warmup_epochs: Length of the warm-up.
        decay_steps: Optimizer steps instead of `decay_epochs`.

    Raises:
        ConfigError: When the length is given both in steps and in epochs.
    """
    length = clock.length("decay", decay_epochs, decay_steps, 1.0)

    def factor(epoch: float) -> float:
        time = epoch / length
        return 1 / (1 + decay_rate * (math.floor(time + 1e-9) if staircase else time))

    return closed_form(optimizer, clock, interval, warmup_epochs, factor)
