"""Learning rates that fall along half cosines, once or repeatedly."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.lr_schedulers.clock import Clock, check_period, closed_form


def cosine(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step", "epoch"] = "step",
    warmup_epochs: Annotated[float, ">= 0"] = 0.0,
    min_ratio: Annotated[float, ">= 0", "<= 1"] = 0.0,
) -> LRScheduler:
    """A linear warm-up, then half a cosine (Loshchilov & Hutter 2017) to the end of the training.

    Args:
        optimizer: The optimizer.
        clock: The length of the training.
        interval: Whether the rate changes at every step or epoch.
        warmup_epochs: Length of the warm-up.
        min_ratio: The last rate as a share of the first.
    """
    length = max(clock.epochs - warmup_epochs, 1 / clock.steps_per_epoch)

    def factor(epoch: float) -> float:
        progress = min(max((epoch - warmup_epochs) / length, 0.0), 1.0)
        return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * progress)) / 2

    return closed_form(optimizer, clock, interval, warmup_epochs, factor)


def cosine_restart(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step", "epoch"] = "step",
    period_epochs: Annotated[float, "> 0"] = 10.0,
    period_factor: Annotated[float, ">= 1"] = 1.0,
    min_ratio: Annotated[float, ">= 0", "<= 1"] = 0.0,
    warmup_epochs: Annotated[float, ">= 0"] = 0.0,
) -> LRScheduler:
    """Consecutive half cosines (SGDR, Loshchilov & Hutter 2017), torch's CosineAnnealingWarmRestarts.

    Args:
        optimizer: The optimizer.
        clock: The length of the training.
        interval: Whether the rate changes at every step or epoch.
        period_epochs: Length of the first half cosine, counted from the end of the warm-up.
        period_factor: Length of each half cosine relative to the previous one.
        min_ratio: The smallest rate as a share of the largest.
        warmup_epochs: Length of the warm-up.

    Raises:
        ConfigError: When a half cosine is shorter than the interval.
    """
    check_period("lr_scheduler.period_epochs", period_epochs, clock, interval)

    def factor(epoch: float) -> float:
        since, period = epoch - warmup_epochs, period_epochs
        while since >= period - 1e-9:
            since, period = since - period, period * period_factor
        return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * max(since, 0.0) / period)) / 2

    return closed_form(optimizer, clock, interval, warmup_epochs, factor)


def cosine_decay(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step", "epoch"] = "step",
    decay_steps: Annotated[float, "> 0"] = 1000.0,
    min_ratio: Annotated[float, ">= 0"] = 0.0,
    period_factor: Annotated[float, ">= 1"] | None = None,
    peak_factor: Annotated[float, ">= 0"] = 1.0,
    warmup_epochs: Annotated[float, ">= 0"] = 0.0,
    warmup_steps: Annotated[float, ">= 0"] = 0.0,
    first_ratio: Annotated[float, ">= 0"] = 0.0,
) -> LRScheduler:
    """Half a cosine of a given number of optimizer steps, once or repeatedly: Keras' CosineDecay and CosineDecayRestarts.

    Args:
        optimizer: The optimizer.
        clock: The length of the training.
        interval: Whether the rate changes at every step or epoch.
        decay_steps: Optimizer steps of the (first) half cosine.
        min_ratio: The last rate as a share of the first.
        period_factor: Length of each half cosine relative to the previous one; None: only one half cosine.
        peak_factor: Height of each half cosine relative to the previous one; 1 for only one.
        warmup_epochs: Length of the warm-up.
        warmup_steps: Length in optimizer steps of Keras's warm-up, a line from `first_ratio`, which comes after the other one.
        first_ratio: The rate where that line begins, as a share of the learning rate.

    Raises:
        ConfigError: When repeated half cosines are shorter than the interval, or a single one has a `peak_factor`.
    """
    if period_factor is None and peak_factor != 1:
        fix = "add lr_scheduler.period_factor=1 for more of them, or leave it out"
        wrong = "is of the half cosines after the first, and there is one"
        raise ConfigError(problem("lr_scheduler.peak_factor", wrong, got=peak_factor, fix=fix))
    if period_factor is not None:
        epochs = decay_steps / clock.steps_per_epoch
        check_period("lr_scheduler.decay_steps", epochs, clock, interval, got=decay_steps)

    def factor(epoch: float) -> float:
        # The tolerance below absorbs the rounding error of steps that were divided by the steps per epoch.
        step = max(epoch - warmup_epochs, 0.0) * clock.steps_per_epoch
        if step < warmup_steps - 1e-9:
            return first_ratio + (1 - first_ratio) * step / warmup_steps
        progress, height, length = (step - warmup_steps) / decay_steps, 1.0, 1.0
        while period_factor is not None and progress >= length - 1e-9:
            progress, length, height = progress - length, length * period_factor, height * peak_factor
        half = height * (1 + math.cos(math.pi * min(max(progress, 0.0) / length, 1.0))) / 2
        return min_ratio + (1 - min_ratio) * half

    return closed_form(optimizer, clock, interval, warmup_epochs, factor)


def linear_cosine(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step", "epoch"] = "step",
    decay_steps: Annotated[float, "> 0"] = 1000.0,
    half_waves: Annotated[float, ">= 0"] = 1.0,
    alpha: Annotated[float, ">= 0"] = 0.0,
    beta: Annotated[float, ">= 0"] = 0.001,
) -> LRScheduler:
    """A cosine under a falling line, Keras' LinearCosineDecay (Bello et al. 2017): (alpha + 1 - t) (1 + cos) / 2 + beta.

    t goes from 0 to 1 in `decay_steps` and stays there.

    Args:
        optimizer: The optimizer.
        clock: The length of the training.
        interval: Whether the rate changes at every step or epoch.
        decay_steps: Optimizer steps until the line reaches its end.
        half_waves: Half waves of the cosine until then, twice Keras' `num_periods`.
        alpha: The end of the line, as a share of the first learning rate.
        beta: A constant offset, as a share of the first learning rate.
    """

    def factor(epoch: float) -> float:
        progress = min(epoch * clock.steps_per_epoch / decay_steps, 1.0)
        return (alpha + 1 - progress) * (1 + math.cos(math.pi * half_waves * progress)) / 2 + beta

    return closed_form(optimizer, clock, interval, 0.0, factor)
