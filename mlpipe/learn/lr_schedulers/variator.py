"""Ramps of the learning rate from one value to another, in sequence and repeated, with a rate for every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from mlpipe.errors import ConfigError, did_you_mean, listing, problem
from mlpipe.learn.lr_schedulers.clock import Clock
from mlpipe.learn.lr_schedulers.plateau import Plateau, RampsAndPlateau
from mlpipe.learn.lr_schedulers.plateau import plateau as the_plateau

_CURVES: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "const": lambda x: 0.0,
    "sin+": lambda x: math.sin(math.pi * x / 2),
    "sin-": lambda x: 1 - math.sin(math.pi * x / 2),
    "cos+": lambda x: 1 - math.cos(math.pi * x / 2),
    "cos-": lambda x: math.cos(math.pi * x / 2),
}


_SHORT = {"sin": "sin+", "cos": "cos-"}


class Following(TypedDict, total=False):
    """The keys of a ramp that follows another one, the same as those of `variator`."""

    to_lr: Annotated[float, ">= 0"]
    from_lr: Annotated[float, ">= 0"] | None
    style: Literal["linear", "const", "sin", "sin+", "sin-", "cos", "cos+", "cos-"] | Annotated[float, "> 0"]
    steps: Annotated[int, ">= 1"] | None
    epochs: Annotated[float, "> 0"] | None
    period_steps: Annotated[int, ">= 1"] | None
    period_epochs: Annotated[float, "> 0"] | None
    then: Following | None


@dataclass(frozen=True)
class _Ramp:
    """One ramp, which begins at step `start` and takes `steps` steps, in every `period` steps."""

    start: int
    steps: int
    period: int | None
    low: float
    high: float
    curve: Callable[[float], float]

    def rate(self, x: float) -> float:
        """Return the rate at a position from 0 to 1."""
        return max(0.0, self.low + self.curve(x) * (self.high - self.low))

    def position(self, step: int) -> float | None:
        """Return the position of a step on the ramp, from 0 to 1; None outside."""
        place = (step % self.period if self.period else step) - self.start
        if not 0 <= place < self.steps:
            return None
        return place / (self.steps - 1) if self.steps > 1 else 0.0


def variator(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step"] = "step",
    to_lr: Annotated[float, ">= 0"] = 0.006,
    from_lr: Annotated[float, ">= 0"] | None = None,
    style: Literal["linear", "const", "sin", "sin+", "sin-", "cos", "cos+", "cos-"]
    | Annotated[float, "> 0"] = "linear",
    steps: Annotated[int, ">= 1"] | None = None,
    epochs: Annotated[float, "> 0"] | None = None,
    period_steps: Annotated[int, ">= 1"] | None = None,
    period_epochs: Annotated[float, "> 0"] | None = None,
    then: Following | None = None,
    plateau: Plateau | None = None,
    plateau_from: Literal["end", "start"] = "end",
) -> LRScheduler:
    """From one rate to another along a curve, once or repeatedly, optionally followed by further ramps.

    The first step has the optimizer's rate; the rate of step k + 1 is computed from step k. Outside ramps the last rate is
    kept.

    Args:
        optimizer: The optimizer.
        clock: The length of the training.
        interval: Always step.
        to_lr: The rate at the end of the ramp (at its beginning for `sin-` and `cos-`, which fall from 1 to 0).
        from_lr: The rate at the beginning; None: optimizer.lr, or for a following ramp the end of the previous one.
        style: The curve, see `curve`; a number is the power of x.
        steps: Optimizer steps of the ramp.
        epochs: Its length in epochs, instead of `steps`; neither: the whole training.
        period_steps: Repeat the ramp after this number of steps.
        period_epochs: Repeat the ramp after this number of epochs.
        then: A ramp that follows this one, with the same keys.
        plateau: Lower the rate when a metric stops improving, with the keys of `lr_scheduler=plateau`; a running ramp sets
            the rate anew at every step.
        plateau_from: Whether epochs count from the `end` of the last ramp (of each period), or from the `start`.

    Raises:
        ConfigError: When a length is given both in steps and in epochs, or `plateau_from` without a plateau.
    """
    if plateau is None and plateau_from != "end":
        fix = "add for example lr_scheduler.plateau={patience: 3}, or leave it out"
        raise ConfigError(problem("lr_scheduler.plateau_from", "there is no plateau", got=plateau_from, fix=fix))
    options: dict[str, Any] = {"to_lr": to_lr, "from_lr": from_lr, "style": style, "steps": steps, "epochs": epochs}
    options |= {"period_steps": period_steps, "period_epochs": period_epochs, "then": then}
    base = float(optimizer.param_groups[0]["lr"])
    total = clock.steps
    if plateau is None:
        rate = rates(options, base, clock.steps_per_epoch, total)
        return LambdaLR(optimizer, lambda tick: rate(tick) / base)
    ramps = _ramps(options, base, clock.steps_per_epoch, total)
    last = ramps[-1]

    def share(step: int) -> float | None:
        new_rate = _next_rate(ramps, step)
        return None if new_rate is None else new_rate / base

    def is_over(step: int) -> bool:
        place = step % last.period if last.period else step
        return plateau_from == "start" or place >= last.start + last.steps

    return RampsAndPlateau(optimizer, share, the_plateau(optimizer, clock, **plateau), is_over)


def curve(style: str | float) -> Callable[[float], float]:
    """Return the share of the way from one rate to the other, as a function of x from 0 to 1.

    Args:
        style: `linear` x, `const` 0, `sin+` (or `sin`) sin(pi x / 2), `sin-` 1 minus `sin+`, `cos-` (or `cos`)
            cos(pi x / 2), `cos+` 1 minus `cos-`; a number a is x^a.

    Raises:
        ConfigError: For any other style.
    """
    if isinstance(style, int | float) and not isinstance(style, bool) and style > 0:
        power = float(style)
        return lambda x: float(x**power)
    name = _SHORT.get(str(style), str(style))
    if name not in _CURVES:
        fix = did_you_mean(name, _CURVES, otherwise=f"use {listing([*_CURVES, *_SHORT])} or a positive number")
        raise ConfigError(problem("lr_scheduler.style", "unknown style", got=style, fix=fix))
    return _CURVES[name]


def rates(given: Mapping[str, Any], base: float, steps_per_epoch: int, total: int) -> Callable[[int], float]:
    """Return the rate of every step of a ramp and the ramps that follow it.

    Args:
        given: The keys of `mlpipe.learn.lr_schedulers.variator.variator`.
        base: The optimizer's rate, used by the first step.
        steps_per_epoch: Optimizer steps in an epoch.
        total: Optimizer steps in the training.

    Raises:
        ConfigError: When a key is wrong.
    """
    ramps, known_rates = _ramps(given, base, steps_per_epoch, total), [base]

    def rate(tick: int) -> float:
        while len(known_rates) <= tick:
            after = _next_rate(ramps, len(known_rates) - 1)
            known_rates.append(known_rates[-1] if after is None else after)
        return known_rates[tick]

    return rate


def _next_rate(ramps: list[_Ramp], step: int) -> float | None:
    """Return the rate that a ramp sets after a step, for the next one; None if no ramp is running."""
    for ramp in ramps:
        place = ramp.position(step)
        if place is not None:
            return ramp.rate(place)
    return None


def _ramps(given: Mapping[str, Any], base: float, steps_per_epoch: int, total: int) -> list[_Ramp]:
    """Return a ramp and those that follow it, each starting at the end of the previous one unless `from_lr` is given."""
    ramps: list[_Ramp] = []
    start, period, at = 0, None, base
    following: Mapping[str, Any] | None = given
    while following is not None:
        ramp = _ramp(following, start, period, at, steps_per_epoch, total)
        ramps.append(ramp)
        start, period, following = start + ramp.steps, ramp.period, following.get("then")
        at = ramp.rate(1.0 if ramp.steps > 1 else 0.0)
    return ramps


def _ramp(
    given: Mapping[str, Any], start: int, period: int | None, at: float, steps_per_epoch: int, total: int
) -> _Ramp:
    for key, other in (("steps", "epochs"), ("period_steps", "period_epochs")):
        if given.get(key) is not None and given.get(other) is not None:
            wrong = f"lr_scheduler.{other} says how long it is too"
            raise ConfigError(problem(f"lr_scheduler.{key}", wrong, fix="leave one of the two out"))
    length = given.get("steps")
    if length is None:
        epochs = given.get("epochs")
        length = max(total - start, 1) if epochs is None else max(int(epochs * steps_per_epoch + 0.5), 1)
    if given.get("period_steps") is not None:
        period = int(given["period_steps"])
    elif given.get("period_epochs") is not None:
        period = max(int(given["period_epochs"] * steps_per_epoch + 0.5), 1)
    low = given.get("from_lr")
    high, style = float(given.get("to_lr", 0.006)), given.get("style", "linear")
    return _Ramp(start, int(length), period, at if low is None else float(low), high, curve(style))
