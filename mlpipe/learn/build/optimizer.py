"""The optimizer of a recipe with its schedule."""

from __future__ import annotations

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
    """A function from the network to its optimizer and Lightning's description of the schedule.

    Args:
        recipe: How to learn.
        batches: Batches in an epoch.
        direction: Whether less or more of the monitor is better.
        take_up: Gives the optimizer what an earlier one knew, before the schedule is made.
    """
    steps = -(-batches // int(recipe.trainer.get("accumulate_grad_batches") or 1))
    clock = Clock(steps, int(recipe.trainer["max_epochs"]), direction)

    def build(network: nn.Module) -> tuple[Optimizer, dict[str, Any]]:
        optimizer = build_optimizer(recipe, network)
        if take_up is not None:
            take_up(network, optimizer)
        schedule = recipe.lr_scheduler.build(optimizer, clock)
        _must_be(LRScheduler, "lr_scheduler", recipe.lr_scheduler, schedule)
        described = {"scheduler": schedule, "interval": recipe.lr_scheduler.params.get("interval", "epoch")}
        if plateau.watches(schedule):
            params = recipe.lr_scheduler.params
            described["monitor"] = (params.get("plateau") or params).get("watch") or recipe.metrics.monitor
        return optimizer, described

    return build


def build_optimizer(recipe: Recipe, network: nn.Module) -> Optimizer:
    """The recipe's optimizer, each layer with its rate."""
    optimizer: Optimizer = recipe.optimizer.build(parameter_groups(network, recipe.layer_decay))
    _must_be(Optimizer, "optimizer", recipe.optimizer, optimizer)
    scale_rates(optimizer)
    return optimizer


def with_rate(recipe: Recipe, lr: float) -> Recipe:
    """The recipe with another learning rate."""
    optimizer = recipe.optimizer
    return replace(recipe, optimizer=Component(optimizer.slot, optimizer.target, {**optimizer.params, "lr": lr}))


def _must_be(kind: type, section: str, component: Component, built: Any) -> None:
    """Refuse what code of the user's own made, where it is something else."""
    if not isinstance(built, kind):
        wrong, fix = f"{component.target} must give a {kind.__name__} of torch", "return one"
        raise ConfigError(problem(f"{section}._target_", wrong, got=type(built).__name__, fix=fix))
