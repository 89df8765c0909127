"""Learning-rate schedules by name. The program gives the optimizer and the clock; `interval` is when they move on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from mlpipe.errors import ConfigError, problem


@dataclass(frozen=True)
class Clock:
    """How long a training is.

    Attributes:
        steps_per_epoch: Optimizer steps in an epoch.
        epochs: How many epochs.
        direction: Whether less or more of metrics.monitor is better.
    """

    steps_per_epoch: int
    epochs: int
    direction: Literal["min", "max"] = "min"

    def ticks(self, interval: str) -> int:
        """How often a schedule of this interval moves on in one epoch."""
        return self.steps_per_epoch if interval == "step" else 1


def none(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step", "epoch"] = "step",
    warmup_epochs: Annotated[float, ">= 0"] = 0.0,
) -> LRScheduler:
    """A constant rate after a linear warm-up.

    Args:
        optimizer: The optimizer.
        clock: How long the training is.
        interval: Whether the warm-up moves on at every step or epoch.
        warmup_epochs: Length of the warm-up.
    """
    return _lambda(optimizer, clock, interval, warmup_epochs, lambda epoch: 1.0)


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
        clock: How long the training is.
        interval: Whether it moves on at every step or epoch.
        warmup_epochs: Length of the warm-up.
        min_ratio: The last rate as a share of the first.
    """
    length = max(clock.epochs - warmup_epochs, 1 / clock.steps_per_epoch)

    def factor(epoch: float) -> float:
        done = min(max((epoch - warmup_epochs) / length, 0.0), 1.0)
        return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * done)) / 2

    return _lambda(optimizer, clock, interval, warmup_epochs, factor)


def step(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step", "epoch"] = "epoch",
    step_epochs: Annotated[int, ">= 1"] = 10,
    gamma: Annotated[float, "> 0", "<= 1"] = 0.1,
    warmup_epochs: Annotated[float, ">= 0"] = 0.0,
) -> LRScheduler:
    """The rate times `gamma` after every `step_epochs` epochs, as torch's StepLR, with a linear warm-up before.

    Args:
        optimizer: The optimizer.
        clock: How long the training is.
        interval: Whether the warm-up moves on at every step or epoch.
        step_epochs: Epochs between two drops.
        gamma: The factor of each drop.
        warmup_epochs: Length of the warm-up.
    """
    return _lambda(optimizer, clock, interval, warmup_epochs, lambda epoch: gamma ** (int(epoch + 1e-9) // step_epochs))


def plateau(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["epoch"] = "epoch",
    factor: Annotated[float, "> 0", "< 1"] = 0.1,
    patience: Annotated[int, ">= 0"] = 5,
    threshold: Annotated[float, ">= 0"] = 1e-4,
    min_lr: Annotated[float, ">= 0"] = 0.0,
) -> ReduceLROnPlateau:
    """The rate times `factor` when metrics.monitor stands still, torch's ReduceLROnPlateau.

    Args:
        optimizer: The optimizer.
        clock: Gives the monitor's direction.
        interval: Always epoch.
        factor: The factor of each drop.
        patience: Epochs without an improvement before a drop.
        threshold: The least relative change that is an improvement.
        min_lr: The rate never falls below it.
    """
    return ReduceLROnPlateau(
        optimizer, mode=clock.direction, factor=factor, patience=patience, threshold=threshold, min_lr=min_lr
    )


def one_cycle(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step"] = "step",
    pct_start: Annotated[float, "> 0", "< 1"] = 0.3,
    anneal: Literal["cos", "linear"] = "cos",
    div_factor: Annotated[float, "> 0"] = 25.0,
    final_div_factor: Annotated[float, "> 0"] = 1e4,
) -> LRScheduler:
    """Up to the optimizer's rate and down once (Smith & Topin 2018), torch's OneCycleLR, moving on at every step.

    Args:
        optimizer: The optimizer; its rate is the peak.
        clock: How long the training is.
        interval: Always step.
        pct_start: The share of the steps that go up.
        anneal: The curve's form.
        div_factor: Peak over first rate.
        final_div_factor: First rate over last rate.
    """
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=max(clock.steps_per_epoch * clock.epochs, 2),
        pct_start=pct_start,
        anneal_strategy=anneal,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
    )


def _lambda(
    optimizer: Optimizer, clock: Clock, interval: str, warmup_epochs: float, factor: Callable[[float], float]
) -> LRScheduler:
    """A schedule in closed form: warm-up from the first tick on, then `factor` of the epoch, which may be a fraction."""
    if warmup_epochs > clock.epochs:
        fix = f"at most trainer.max_epochs={clock.epochs}"
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
