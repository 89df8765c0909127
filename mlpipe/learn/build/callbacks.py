"""The callbacks that a recipe names."""

from __future__ import annotations

from typing import Any

from mlpipe.config.schema import Recipe
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.callbacks import own as own_callbacks
from mlpipe.learn.directions import Direction


def build_callbacks(recipe: Recipe, direction: Direction) -> list[Any]:
    """The recipe's own callbacks.

    Args:
        recipe: How to learn.
        direction: Whether less or more of its monitor is better.

    Raises:
        ConfigError: When one is no callback of Lightning.
    """
    found = {name: one.build(recipe.metrics.monitor, direction) for name, one in recipe.callbacks.items()}
    for name, callback in found.items():
        if not hasattr(callback, "on_train_epoch_end") or not hasattr(callback, "state_key"):
            fix = "name a class derived from pytorch_lightning.Callback, or a function that gives its instance"
            wrong = f"{recipe.callbacks[name].target} gives no callback"
            raise ConfigError(problem(f"callbacks.{name}", wrong, got=type(callback).__name__, fix=fix))
    if misfits := [one for name, callback in found.items() for one in own_callbacks.misfitting(name, callback)]:
        raise ConfigError(misfits)
    return list(found.values())
