"""Learning rates that fall when a metric stops improving, on their own or after ramps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from mlpipe.learn import monitoring
from mlpipe.learn.lr_schedulers.clock import Clock


class Plateau(TypedDict, total=False):
    """The keys of `mlpipe.learn.lr_schedulers.plateau.plateau`, for a schedule that ends in one."""

    factor: Annotated[float, "> 0", "< 1"]
    patience: Annotated[int, ">= 0"]
    threshold: Annotated[float, ">= 0"]
    min_lr: Annotated[float, ">= 0"]
    threshold_mode: Literal["rel", "abs"]
    cooldown: Annotated[int, ">= 0"]
    watch: str | None
    watch_direction: Literal["min", "max"] | None


def plateau(
    optimizer: Optimizer,
    clock: Clock,
    *,
    interval: Literal["epoch"] = "epoch",
    factor: Annotated[float, "> 0", "< 1"] = 0.1,
    patience: Annotated[int, ">= 0"] = 5,
    threshold: Annotated[float, ">= 0"] = 1e-4,
    min_lr: Annotated[float, ">= 0"] = 0.0,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: Annotated[int, ">= 0"] = 0,
    watch: str | None = None,
    watch_direction: Literal["min", "max"] | None = None,
) -> ReduceLROnPlateau:
    """The rate times `factor` when metrics.monitor stops improving, torch's ReduceLROnPlateau.

    Args:
        optimizer: The optimizer.
        clock: Gives the monitor's direction.
        interval: Always epoch.
        factor: The factor of each drop.
        patience: Epochs without an improvement before a drop.
        threshold: The smallest change that counts as an improvement.
        min_lr: Lower bound of the rate.
        threshold_mode: Whether the threshold is a share of the best value (`rel`) or a difference (`abs`).
        cooldown: Epochs after a drop that do not count towards `patience`.
        watch: Another metric instead of metrics.monitor, as for `mlpipe.learn.callbacks.early.early`; or `lr`, the rate.
        watch_direction: Whether lower (min) or higher (max) values are better; None: the usual direction of that metric.
    """
    return ReduceLROnPlateau(
        optimizer,
        mode=monitoring.direction_of(watch, watch_direction, clock.direction),
        factor=factor,
        patience=patience,
        threshold=threshold,
        threshold_mode=threshold_mode,
        cooldown=cooldown,
        min_lr=min_lr,
    )


class RampsAndPlateau(LRScheduler):
    """Rates set by ramps at every step, and lowered from their current value when a metric stops improving.

    Args:
        optimizer: The optimizer.
        rate: Maps a step to the rate after it, as a share of the optimizer's first rate; None outside of ramps.
        lowered: The plateau, on the same optimizer.
        is_over: Whether the plateau uses an epoch with this last step.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        rate: Callable[[int], float | None],
        lowered: ReduceLROnPlateau,
        is_over: Callable[[int], bool],
    ) -> None:
        self._rate, self.lowered, self._is_over = rate, lowered, is_over
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """Return the rates of the next step."""
        share = self._rate(self.last_epoch - 1) if self.last_epoch > 0 else None
        if share is None:
            return [group["lr"] for group in self.optimizer.param_groups]
        return [first * share for first in self.base_lrs]

    def look(self, value: float) -> None:
        """Pass the plateau an epoch's value, after the epoch's last step."""
        if self._is_over(self.last_epoch - 1):
            self.lowered.step(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the ramps and the plateau."""
        own = ("optimizer", "lowered", "_rate", "_is_over")
        state = {name: value for name, value in self.__dict__.items() if name not in own}
        return {**state, "lowered": self.lowered.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of the ramps and the plateau."""
        state = dict(state_dict)
        self.lowered.load_state_dict(state.pop("lowered"))
        self.__dict__.update(state)


def watches(schedule: object) -> bool:
    """Whether a schedule depends on a metric after every epoch."""
    return isinstance(schedule, ReduceLROnPlateau | RampsAndPlateau)


def look(schedule: object, value: float) -> None:
    """Pass an epoch's value to a schedule that depends on a metric."""
    if isinstance(schedule, RampsAndPlateau):
        schedule.look(value)
    elif isinstance(schedule, ReduceLROnPlateau):
        schedule.step(value)
