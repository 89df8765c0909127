"""The callbacks named by a recipe; your own are checked for methods that Lightning could not call."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from mlpipe.config.schema import Recipe
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.monitoring import Direction


def build_callbacks(recipe: Recipe, direction: Direction) -> list[Any]:
    """Build the recipe's callbacks.

    Args:
        recipe: The recipe.
        direction: Whether lower (min) or higher (max) values of its monitor are better.

    Raises:
        ConfigError: When one is not a Lightning callback, or two of them have the same key in a saved state.
    """
    built = {name: component.build(recipe.metrics.monitor, direction) for name, component in recipe.callbacks.items()}
    for name, callback in built.items():
        if not hasattr(callback, "on_train_epoch_end") or not hasattr(callback, "state_key"):
            fix = "name a class derived from pytorch_lightning.Callback, or a function that gives its instance"
            wrong = f"{recipe.callbacks[name].target} gives no callback"
            raise ConfigError(problem(f"callbacks.{name}", wrong, got=type(callback).__name__, fix=fix))
    misfits = [sentence for name, callback in built.items() for sentence in misfitting(name, callback)]
    if misfits := [*misfits, *_alike(built)]:
        raise ConfigError(misfits)
    return list(built.values())


def _alike(built: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each callback whose state Lightning would store under the key of another one.

    Lightning refuses both when a training begins. Two weight averages would also take each other's weights for the trained
    ones.
    """
    first, problems = dict[str, str](), list[str]()
    for name, callback in built.items():
        if getattr(type(callback), "state_dict", None) is pl.Callback.state_dict:
            continue
        other = first.setdefault(callback.state_key, name)
        if other != name:
            wrong = f"does what callbacks.{other} does already (both are {type(callback).__name__} of the same metric)"
            wrong = wrong if "monitor" in vars(callback) else wrong.replace(" of the same metric", "")
            problems.append(problem(f"callbacks.{name}", wrong, fix="leave one of the two out"))
    return problems


def misfitting(name: str, callback: Any) -> list[str]:
    """Return a sentence for each callback method that Lightning could not call, so that training does not fail midway.

    Args:
        name: The callback's name in the configuration.
        callback: The callback.
    """
    problems = []
    for hook, theirs in vars(pl.Callback).items():
        own = getattr(callback, hook, None)
        if hook.startswith("_") or not inspect.isfunction(theirs) or not callable(own):
            continue
        # Without `self`.
        expected = list(inspect.signature(theirs).parameters.values())[1:]
        try:
            inspect.signature(own).bind(*(parameter for parameter in expected if parameter.default is parameter.empty))
        except TypeError as error:
            takes = ", ".join(["self", *(parameter.name for parameter in expected)])
            cannot = f"{type(callback).__name__}.{hook} cannot be called ({error})"
            problems.append(problem(f"callbacks.{name}", cannot, fix=f"begin it with def {hook}({takes})"))
    return problems
