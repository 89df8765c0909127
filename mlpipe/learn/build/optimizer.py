"""The optimizer of a recipe and its schedule."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.lr_schedulers import plateau
from mlpipe.learn.lr_schedulers.clock import Clock
from mlpipe.learn.monitoring import Direction
from mlpipe.learn.optimizers.parameter_groups import parameter_groups, scale_rates


def build_optimizers(
    recipe: Recipe, batches: int, direction: Direction, take_up: Callable[[nn.Module, Optimizer], None] | None = None
) -> Callable[[nn.Module], tuple[Optimizer, dict[str, Any]]]:
    """Return a function from the network to its optimizer and Lightning's description of the schedule.

    Args:
        recipe: The recipe.
        batches: Batches in an epoch.
        direction: Whether lower (min) or higher (max) values of the monitor are better.
        take_up: Loads the state of an earlier optimizer before the schedule is built.
    """
    steps = steps_per_epoch(recipe, batches)
    clock = Clock(steps, epochs_of(recipe, steps), direction)
    component = shortened(recipe.lr_scheduler, clock.epochs / int(recipe.trainer["max_epochs"]))

    def build(network: nn.Module) -> tuple[Optimizer, dict[str, Any]]:
        optimizer = build_optimizer(recipe, network)
        if take_up is not None:
            take_up(network, optimizer)
        schedule = component.build(optimizer, clock)
        _require_kind(LRScheduler, "lr_scheduler", recipe.lr_scheduler, schedule)
        description = {"scheduler": schedule, "interval": _interval(component)}
        if plateau.watches(schedule):
            params = recipe.lr_scheduler.params
            # The module passes it the value from the epoch's row; Lightning would require a logged value.
            description["reduce_on_plateau"] = False
            description["monitor"] = (params.get("plateau") or params).get("watch") or recipe.metrics.monitor
        return optimizer, description

    return build


def _interval(schedule: Component) -> str:
    """Return the interval of a schedule: the given one, the default of its function, or torch's `epoch`."""
    own = inspect.signature(schedule.load()).parameters.get("interval")
    default = "epoch" if own is None or own.default is own.empty else str(own.default)
    return str(schedule.params.get("interval", default))


def steps_per_epoch(recipe: Recipe, batches: int) -> int:
    """Return the optimizer steps in an epoch of `batches` batches."""
    return -(-batches // int(recipe.trainer.get("accumulate_grad_batches") or 1))


def epochs_of(recipe: Recipe, steps: int) -> float:
    """Return the epochs of a training with `steps` steps per epoch: `max_epochs`, or a fraction if `max_steps` is reached."""
    epochs, most = int(recipe.trainer["max_epochs"]), most_steps(recipe)
    return epochs if most is None else min(epochs, most / steps)


def most_steps(recipe: Recipe) -> int | None:
    """Return `trainer.max_steps`; None: no limit."""
    most = int(recipe.trainer.get("max_steps", -1))
    return None if most < 0 else most


def shortened(schedule: Component, share: float) -> Component:
    """Return a schedule for a training cut to a share of its epochs, with a warm-up of the same share of the training."""
    warmup = schedule.params.get("warmup_epochs")
    if share >= 1 or not warmup:
        return schedule
    return replace(schedule, params={**schedule.params, "warmup_epochs": warmup * share})


def build_optimizer(recipe: Recipe, network: nn.Module) -> Optimizer:
    """Build the recipe's optimizer, with the learning rate of each layer."""
    optimizer: Optimizer = recipe.optimizer.build(parameter_groups(network, recipe.layer_decay))
    _require_kind(Optimizer, "optimizer", recipe.optimizer, optimizer)
    scale_rates(optimizer)
    return optimizer


def with_rate(recipe: Recipe, lr: float) -> Recipe:
    """Return the recipe with another learning rate."""
    optimizer = recipe.optimizer
    return replace(recipe, optimizer=Component(optimizer.slot, optimizer.target, {**optimizer.params, "lr": lr}))


def _require_kind(kind: type, section: str, component: Component, built: Any) -> None:
    """Refuse an object of the wrong type built by the user's own code."""
    if not isinstance(built, kind):
        wrong, fix = f"{component.target} must give a {kind.__name__} of torch", "return one"
        raise ConfigError(problem(f"{section}._target_", wrong, got=type(built).__name__, fix=fix))
