"""Learning rates that go up and down, once or repeatedly."""

from __future__ import annotations

from typing import Annotated, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.lr_schedulers.clock import Clock, check_period, closed_form


def one_cycle(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step"] = "step",
    pct_start: Annotated[float, "> 0", "< 1"] = 0.3,
    anneal: Literal["cos", "linear"] = "cos",
    div_factor: Annotated[float, "> 0"] = 25.0,
    final_div_factor: Annotated[float, "> 0"] = 1e4,
    cycle_momentum: bool = True,
) -> LRScheduler:
    """Up to the optimizer's rate and down once (Smith & Topin 2018), torch's OneCycleLR, changing at every step.

    The momentum is not cycled for optimizers that have none.

    Args:
        optimizer: The optimizer; its rate is the peak.
        clock: The length of the training.
        interval: Always step.
        pct_start: The share of the steps in which the rate goes up.
        anneal: The form of the curve.
        div_factor: Peak rate over first rate.
        final_div_factor: First rate over last rate.
        cycle_momentum: Move the momentum (the first of betas) from 0.95 down to 0.85 and back, whatever the optimizer's
            own value, as torch does by default; false: the momentum is constant.
    """
    has_momentum = not {"momentum", "betas"}.isdisjoint(optimizer.defaults)
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=max(clock.steps, 2),
        pct_start=pct_start,
        anneal_strategy=anneal,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        cycle_momentum=cycle_momentum and has_momentum,
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
    """Repeatedly up and down between two rates (Smith 2017), as torch's CyclicLR.

    Args:
        optimizer: The optimizer; its rate is the largest.
        clock: The length of the training.
        interval: Always step.
        min_ratio: The smallest rate as a share of the largest.
        up_epochs: Epochs from the smallest to the largest rate.
        down_epochs: Epochs from the largest to the smallest rate; None: as many as up.
        policy: `triangular` keeps the height, `triangular2` halves it with every cycle, `exp_range` multiplies it by
            gamma at every step.
        gamma: The factor per step of `exp_range`; 1 for the others.
        up_steps: Optimizer steps instead of `up_epochs`.

    Raises:
        ConfigError: When a cycle is shorter than a step, the policy has no gamma, or the way up has two lengths.
    """
    if gamma != 1 and policy != "exp_range":
        fix = "add lr_scheduler.policy=exp_range, or leave it out"
        raise ConfigError(problem("lr_scheduler.gamma", f"is not of the policy {policy}", got=gamma, fix=fix))
    up_epochs = clock.length("up", up_epochs, up_steps, 2.0)
    down = down_epochs if down_epochs is not None else up_epochs
    steps_per_epoch = clock.steps_per_epoch
    check_period("lr_scheduler.up_epochs", up_epochs + down, clock, interval, got=up_epochs)

    def factor(epoch: float) -> float:
        cycle, at = divmod(epoch + 1e-12, up_epochs + down)
        height = at / up_epochs if at <= up_epochs else max(0.0, (up_epochs + down - at) / down)
        if policy == "triangular2":
            height /= 2.0**cycle
        elif policy == "exp_range":
            height *= gamma ** round(epoch * steps_per_epoch)
        return min_ratio + (1 - min_ratio) * height

    return closed_form(optimizer, clock, interval, 0.0, factor)
