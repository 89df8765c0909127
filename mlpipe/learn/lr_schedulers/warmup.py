"""A constant learning rate after a warm-up."""

from __future__ import annotations

from typing import Annotated, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mlpipe.learn.lr_schedulers.clock import Clock, closed_form


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
        clock: The length of the training.
        interval: Whether the rate changes at every step or epoch during the warm-up.
        warmup_epochs: Length of the warm-up.
    """
    return closed_form(optimizer, clock, interval, warmup_epochs, lambda epoch: 1.0)


def warmup(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["step", "epoch"] = "step",
    warmup_epochs: Annotated[float, "> 0"] = 5.0,
    start_ratio: Annotated[float, "> 0", "<= 1"] = 0.1,
) -> LRScheduler:
    """A linear rise from a share of the rate to all of it, then constant, as torch's LinearLR.

    Args:
        optimizer: The optimizer.
        clock: The length of the training.
        interval: Whether the rate changes at every step or epoch.
        warmup_epochs: Length of the warm-up.
        start_ratio: The first rate as a share of optimizer.lr.
    """
    return closed_form(
        optimizer, clock, interval, 0.0, lambda epoch: start_ratio + (1 - start_ratio) * min(epoch / warmup_epochs, 1.0)
    )
