"""The callbacks that a recipe names; those of your own are checked for methods that Lightning could not call."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from mlpipe.config.schema import Recipe
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.monitoring import Direction


def build_callbacks(recipe: Recipe, direction: Direction) -> list[Any]:
    """The recipe's own callbacks.

    Args:
        recipe: How to learn.
        direction: Whether less or more of its monitor is better.

    Raises:
        ConfigError: When one is no callback of Lightning, or two of them cannot be told apart in a saved state.
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
    """A sentence for each callback whose state Lightning would keep under the key of another one's.

    It refuses both once a training begins. Two averages of the weights would also take each other's for the optimizer's.
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
    """A sentence for each method of a callback that Lightning could not call, before it would in the middle of a training.

    Args:
        name: What the configuration calls it.
        callback: The callback.
    """
    problems = []
    for hook, theirs in vars(pl.Callback).items():
        own = getattr(callback, hook, None)
        if hook.startswith("_") or not inspect.isfunction(theirs) or not callable(own):
            continue
        # Without the instance.
        expected = list(inspect.signature(theirs).parameters.values())[1:]
        try:
            inspect.signature(own).bind(*(parameter for parameter in expected if parameter.default is parameter.empty))
        except TypeError as error:
            takes = ", ".join(["self", *(parameter.name for parameter in expected)])
            cannot = f"{type(callback).__name__}.{hook} cannot be called ({error})"
            problems.append(problem(f"callbacks.{name}", cannot, fix=f"begin it with def {hook}({takes})"))
    return problems
