"""Callbacks of your own: check that Lightning can call the methods that they define."""

from __future__ import annotations

import inspect
from typing import Any

import pytorch_lightning as pl

from mlpipe.errors import problem


def misfitting(name: str, callback: Any) -> list[str]:
    """A sentence for each method of a callback that Lightning could not call, before it would in the middle of a training.

    Args:
        name: What the configuration calls it.
        callback: The callback.
    """
    wrong = []
    for hook, theirs in vars(pl.Callback).items():
        own = getattr(callback, hook, None)
        if hook.startswith("_") or not inspect.isfunction(theirs) or not callable(own):
            continue
        # Without the instance.
        expected = list(inspect.signature(theirs).parameters.values())[1:]
        try:
            inspect.signature(own).bind(*(one for one in expected if one.default is one.empty))
        except TypeError as error:
            takes = ", ".join(["self", *(one.name for one in expected)])
            cannot = f"{type(callback).__name__}.{hook} cannot be called ({error})"
            wrong.append(problem(f"callbacks.{name}", cannot, fix=f"begin it with def {hook}({takes})"))
    return wrong
