"""Learning-rate schedules by name. The program gives the optimizer and the clock; `interval` is when they move on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.lr_schedulers.plateaus import plateau as plateau
from mlpipe.learn.lr_schedulers.ramps import variator as variator


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

    def epochs_of(self, steps: float | None, otherwise: float) -> float:
        """So many optimizer steps in epochs; None: the other length."""
        return otherwise if steps is None else steps / self.steps_per_epoch


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


def multistep(
    optimizer: Optimizer,
    clock: Clock,
    *,
    milestones: list[float],
    interval: Literal["step", "epoch"] = "epoch",
    gamma: Annotated[float, "> 0", "<= 1"] = 0.1,
    warmup_epochs: Annotated[float, ">= 0"] = 0.0,
) -> LRScheduler:
    """The rate times `gamma` at each milestone, as torch's MultiStepLR, with a linear warm-up before.

    Args:
        optimizer: The optimizer.
        clock: How long the training is.
        milestones: Epochs after which the rate drops; parts of epochs count with interval=step.
        interval: Whether it moves on at every step or epoch.
        gamma: The factor of each drop.
        warmup_epochs: Length of the warm-up.
    """
    return _lambda(
        optimizer, clock, interval, warmup_epochs, lambda epoch: gamma ** sum(epoch + 1e-9 >= at for at in milestones)
    )


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
        clock: How long the training is.
        interval: Whether it moves on at every step or epoch.
        gamma: The factor; above 1 the rate grows.
        decay_epochs: Epochs for one factor.
        staircase: Only whole factors.
        warmup_epochs: Length of the warm-up.
        decay_steps: Optimizer steps in place of `decay_epochs`.
    """
    length = clock.epochs_of(decay_steps, decay_epochs)

    def factor(epoch: float) -> float:
        power = epoch / length
        return float(gamma ** (math.floor(power + 1e-9) if staircase else power))

    return _lambda(optimizer, clock, interval, warmup_epochs, factor)


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
    """Half cosines one after another (SGDR, Loshchilov & Hutter 2017), torch's CosineAnnealingWarmRestarts.

    Args:
        optimizer: The optimizer.
        clock: How long the training is.
        interval: Whether it moves on at every step or epoch.
        period_epochs: Length of the first half cosine, counted from the end of the warm-up.
        period_factor: How much longer each one is than the one before.
        min_ratio: The smallest rate as a share of the largest.
        warmup_epochs: Length of the warm-up.
    """

    def factor(epoch: float) -> float:
        since, period = epoch - warmup_epochs, period_epochs
        while since >= period - 1e-9:
            since, period = since - period, period * period_factor
        return min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * max(since, 0.0) / period)) / 2

    return _lambda(optimizer, clock, interval, warmup_epochs, factor)


def warmup(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step", "epoch"] = "step",
    warmup_epochs: Annotated[float, "> 0"] = 5.0,
    start_ratio: Annotated[float, "> 0", "<= 1"] = 0.1,
) -> LRScheduler:
    """From a share of the rate up to all of it in a straight line, then constant, as torch's LinearLR.

    Args:
        optimizer: The optimizer.
        clock: How long the training is.
        interval: Whether it moves on at every step or epoch.
        warmup_epochs: Length of the warm-up.
        start_ratio: The first rate as a share of optimizer.lr.
    """
    return _lambda(
        optimizer, clock, interval, 0.0, lambda epoch: start_ratio + (1 - start_ratio) * min(epoch / warmup_epochs, 1.0)
    )


def cyclic(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step"] = "step",
    min_ratio: Annotated[float, ">= 0", "<= 1"] = 0.1,
    up_epochs: Annotated[float, "> 0"] = 2.0,
    down_epochs: Annotated[float, "> 0"] | None = None,
    policy: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: Annotated[float, "> 0", "<= 1"] = 1.0,
    up_steps: Annotated[int, ">= 1"] | None = None,
) -> LRScheduler:
    """Up and down between two rates again and again (Smith 2017), as torch's CyclicLR.

    Args:
        optimizer: The optimizer; its rate is the largest.
        clock: How long the training is.
        interval: Always step.
        min_ratio: The smallest rate as a share of the largest.
        up_epochs: Epochs from the smallest to the largest rate.
        down_epochs: Epochs back; None: as many.
        policy: `triangular` keeps the height, `triangular2` halves it with every cycle, `exp_range` multiplies it with
            gamma at every step.
        gamma: For `exp_range`.
        up_steps: Optimizer steps in place of `up_epochs`.
    """
    up_epochs = up_epochs if up_steps is None else up_steps / clock.steps_per_epoch
    down = down_epochs if down_epochs is not None else up_epochs
    steps_per_epoch = clock.steps_per_epoch

    def factor(epoch: float) -> float:
        cycle, at = divmod(epoch + 1e-12, up_epochs + down)
        height = at / up_epochs if at <= up_epochs else max(0.0, (up_epochs + down - at) / down)
        if policy == "triangular2":
            height /= 2.0**cycle
        elif policy == "exp_range":
            height *= gamma ** round(epoch * steps_per_epoch)
        return min_ratio + (1 - min_ratio) * height

    return _lambda(optimizer, clock, interval, 0.0, factor)


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
        clock: How long the training is.
        interval: Whether it moves on at every step or epoch.
        power: 1 is a straight line.
        end_ratio: The last rate as a share of the first.
        decay_epochs: Length of the way down, counted from the end of the warm-up; None: to the end of the training.
        cycle: Start again, each time over one more length, instead of staying at the end.
        warmup_epochs: Length of the warm-up.
        decay_steps: Optimizer steps in place of `decay_epochs`.
    """
    to_the_end = decay_epochs or max(clock.epochs - warmup_epochs, 1 / clock.steps_per_epoch)
    length = clock.epochs_of(decay_steps, to_the_end)

    def factor(epoch: float) -> float:
        since = max(epoch - warmup_epochs, 0.0)
        whole = length * max(1, math.ceil(since / length - 1e-9)) if cycle else length
        return float(end_ratio + (1 - end_ratio) * (1 - min(since / whole, 1.0)) ** power)

    return _lambda(optimizer, clock, interval, warmup_epochs, factor)


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
        clock: How long the training is.
        interval: Whether it moves on at every step or epoch.
        decay_rate: How quickly it falls.
        decay_epochs: The unit of time.
        staircase: Only whole units.
        warmup_epochs: Length of the warm-up.
        decay_steps: Optimizer steps in place of `decay_epochs`.
    """
    length = clock.epochs_of(decay_steps, decay_epochs)

    def factor(epoch: float) -> float:
        time = epoch / length
        return 1 / (1 + decay_rate * (math.floor(time + 1e-9) if staircase else time))

    return _lambda(optimizer, clock, interval, warmup_epochs, factor)


def piecewise(
    optimizer: Optimizer,
    clock: Clock,
    *,
    boundaries: list[float],
    ratios: list[float],
    interval: Literal["step", "epoch"] = "step",
    warmup_epochs: Annotated[float, ">= 0"] = 0.0,
    unit: Literal["epoch", "step"] = "epoch",
) -> LRScheduler:
    """Rates that hold up to given epochs: Keras' PiecewiseConstantDecay.

    Args:
        optimizer: The optimizer.
        clock: How long the training is.
        boundaries: Epochs up to which (inclusive) each rate holds, growing.
        ratios: The rates as shares of optimizer.lr, one more than there are boundaries.
        interval: Whether it moves on at every step or epoch.
        warmup_epochs: Length of the warm-up.
        unit: What boundaries are counted in.

    Raises:
        ConfigError: When the numbers of boundaries and ratios do not fit, or boundaries do not grow.
    """
    if len(ratios) != len(boundaries) + 1 or any(one >= other for one, other in itertools.pairwise(boundaries)):
        fix = f"give growing boundaries, and {len(boundaries) + 1} ratios for {len(boundaries)} boundaries"
        raise ConfigError(problem("lr_scheduler.ratios", "do not fit the boundaries", got=ratios, fix=fix))
    ends = [at / clock.steps_per_epoch for at in boundaries] if unit == "step" else boundaries
    return _lambda(
        optimizer, clock, interval, warmup_epochs, lambda epoch: ratios[sum(epoch > at + 1e-9 for at in ends)]
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
