"""Learning rates that change at given epochs and are constant between them."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.lr_schedulers.clock import Clock, closed_form


def step(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step", "epoch"] = "epoch",
    step_epochs: Annotated[int, ">= 1"] = 10,
    gamma: Annotated[float, "> 0", "<= 1"] = 0.1,
    warmup_epochs: Annotated[float, ">= 0"] = 0.0,
) -> LRScheduler:
    """The rate times `gamma` after every `step_epochs` epochs, as torch's StepLR, after a linear warm-up.

    Args:
        optimizer: The optimizer.
        clock: The length of the training.
        interval: Whether the rate changes at every step or epoch during the warm-up.
        step_epochs: Epochs between two drops.
        gamma: The factor of each drop.
        warmup_epochs: Length of the warm-up.
    """
    return closed_form(
        optimizer, clock, interval, warmup_epochs, lambda epoch: gamma ** (int(epoch + 1e-9) // step_epochs)
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
    """The rate times `gamma` at each milestone, as torch's MultiStepLR, after a linear warm-up.

    Args:
        optimizer: The optimizer.
        clock: The length of the training.
        milestones: Epochs after which the rate drops; fractions of epochs require interval=step.
        interval: Whether the rate changes at every step or epoch.
        gamma: The factor of each drop.
        warmup_epochs: Length of the warm-up.
    """
    return closed_form(
        optimizer, clock, interval, warmup_epochs, lambda epoch: gamma ** sum(epoch + 1e-9 >= at for at in milestones)
    )


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
    """Constant rates between given epochs: Keras' PiecewiseConstantDecay.

    Args:
        optimizer: The optimizer.
        clock: The length of the training.
        boundaries: Increasing epochs up to which (inclusive) each rate is used.
        ratios: The rates as shares of optimizer.lr, one more than there are boundaries.
        interval: Whether the rate changes at every step or epoch.
        warmup_epochs: Length of the warm-up.
        unit: The unit of the boundaries.

    Raises:
        ConfigError: When the numbers of boundaries and ratios do not match, or boundaries do not increase.
    """
    if len(ratios) != len(boundaries) + 1 or any(
        boundary >= other for boundary, other in itertools.pairwise(boundaries)
    ):
        fix = f"give growing boundaries, and {len(boundaries) + 1} ratios for {len(boundaries)} boundaries"
        raise ConfigError(problem("lr_scheduler.ratios", "do not fit the boundaries", got=ratios, fix=fix))
    ends = [at / clock.steps_per_epoch for at in boundaries] if unit == "step" else boundaries
    return closed_form(
        optimizer, clock, interval, warmup_epochs, lambda epoch: ratios[sum(epoch > at + 1e-9 for at in ends)]
    )
