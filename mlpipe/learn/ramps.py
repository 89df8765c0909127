"""Ramps of the learning rate from one value to another, one after the other, repeated: the rate of every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from mlpipe.errors import ConfigError, did_you_mean, listing, problem

if TYPE_CHECKING:
    from mlpipe.learn.lr_schedulers import Clock

_CURVES: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "const": lambda x: 0.0,
    "sin+": lambda x: math.sin(math.pi * x / 2),
    "sin-": lambda x: 1 - math.sin(math.pi * x / 2),
    "cos+": lambda x: 1 - math.cos(math.pi * x / 2),
    "cos-": lambda x: math.cos(math.pi * x / 2),
}
_SHORT = {"sin": "sin+", "cos": "cos-"}
_KEYS = ("to_lr", "from_lr", "style", "steps", "epochs", "period_steps", "period_epochs", "then")


@dataclass(frozen=True)
class _Ramp:
    """One ramp: from step `start` on, `steps` long, in every `period` steps."""

    start: int
    steps: int
    period: int | None
    low: float | None
    high: float
    curve: Callable[[float], float]

    def position(self, step: int) -> float | None:
        """How far along the ramp a step is, from 0 to 1; None outside."""
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
    then: dict[str, Any] | None = None,
) -> LRScheduler:
    """From one rate to another along a curve, once or again and again, then perhaps along another one.

    The first step has the optimizer's rate; the rate of step k + 1 follows from step k. Outside a ramp the last rate stays.

    Args:
        optimizer: The optimizer.
        clock: How long the training is.
        interval: Always step.
        to_lr: The rate at the ramp's end (at its beginning for `sin-` and `cos-`, which fall from 1 to 0).
        from_lr: The rate at its beginning; None: optimizer.lr.
        style: The curve, see `curve`; a number is the power of x.
        steps: Optimizer steps of the ramp.
        epochs: Its length in epochs, in place of `steps`; neither: the whole training.
        period_steps: Start the ramp again after so many steps.
        period_epochs: The same in epochs.
        then: A ramp that follows this one, with the same keys.

    Raises:
        ConfigError: When a length is given in steps and in epochs.
    """
    given: dict[str, Any] = {"to_lr": to_lr, "from_lr": from_lr, "style": style, "steps": steps, "epochs": epochs}
    given |= {"period_steps": period_steps, "period_epochs": period_epochs, "then": then}
    base = float(optimizer.param_groups[0]["lr"])
    rate = rates(given, base, clock.steps_per_epoch, clock.steps_per_epoch * clock.epochs)
    return LambdaLR(optimizer, lambda tick: rate(tick) / base)


def curve(style: str | float) -> Callable[[float], float]:
    """The share of the way from one rate to the other, as a function of x from 0 to 1.

    Args:
        style: `linear` x, `const` 0, `sin+` (or `sin`) sin(pi x / 2), `sin-` 1 - that, `cos-` (or `cos`) cos(pi x / 2),
            `cos+` 1 - that; a number a is x^a.

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
    """The rate of every step of a ramp and those that follow it.

    Args:
        given: The keys of `mlpipe.learn.lr_schedulers.variator`.
        base: The optimizer's rate, which the first step has.
        steps_per_epoch: Optimizer steps in an epoch.
        total: Optimizer steps in the training.

    Raises:
        ConfigError: When a key is wrong.
    """
    ramps: list[_Ramp] = []
    start, period = 0, None
    following: Mapping[str, Any] | None = given
    while following is not None:
        ramp = _ramp(following, start, period, steps_per_epoch, total)
        ramps.append(ramp)
        start, period, following = start + ramp.steps, ramp.period, following.get("then")
    found = [base]

    def rate(tick: int) -> float:
        while len(found) <= tick:
            found.append(_after(ramps, len(found) - 1, found[-1], base))
        return found[tick]

    return rate


def _after(ramps: list[_Ramp], step: int, now: float, base: float) -> float:
    """The rate after a step, which the next one has."""
    for ramp in ramps:
        place = ramp.position(step)
        if place is not None:
            low = ramp.low if ramp.low is not None else base
            return max(0.0, low + ramp.curve(place) * (ramp.high - low))
    return now


def _ramp(given: Mapping[str, Any], start: int, period: int | None, steps_per_epoch: int, total: int) -> _Ramp:
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        fix = did_you_mean(str(unknown[0]), _KEYS, otherwise=f"known keys: {listing(_KEYS)}")
        raise ConfigError(problem(f"lr_scheduler.then.{unknown[0]}", "unknown key", fix=fix))
    for one, other in (("steps", "epochs"), ("period_steps", "period_epochs")):
        if given.get(one) is not None and given.get(other) is not None:
            wrong = f"lr_scheduler.{other} says how long it is too"
            raise ConfigError(problem(f"lr_scheduler.{one}", wrong, fix="leave one of the two out"))
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
    return _Ramp(start, int(length), period, None if low is None else float(low), high, curve(style))
