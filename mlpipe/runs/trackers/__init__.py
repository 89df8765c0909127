"""Tracked runs on MLflow and Weights & Biases servers."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mlpipe.errors import not_installed
from mlpipe.runs.trackers.mlflow import MlflowRun
from mlpipe.runs.trackers.tracker import Guarded, Place, Tracked
from mlpipe.runs.trackers.wandb import WandbRun

# The class opened for each option of `logging`; its parameters are the option's keys.
_RUNS: dict[str, Callable[..., Tracked]] = {"mlflow": MlflowRun, "wandb": WandbRun}
_PACKAGES = ("tensorboard", *_RUNS)


def run_of(name: str, params: Mapping[str, Any], place: Place) -> Guarded:
    """Return a tracked run for an option of `logging`, opened at the first write.

    Args:
        name: The option, `mlflow` or `wandb`.
        params: Its keys; those that the tracked run does not have are dropped.
        place: The fold or run that it tracks.
    """
    opens = _RUNS[name]
    arguments = {key: params[key] for key in inspect.signature(opens).parameters if key in params}
    return Guarded(f"logging={name}", partial(opens, **arguments), place)


def missing(name: str) -> list[str]:
    """Return a sentence if an option of `logging` needs a missing package, before anything is read.

    Args:
        name: The option's name.
    """
    is_missing = name in _PACKAGES and importlib.util.find_spec(name) is None
    return [not_installed(f"logging={name}", name)] if is_missing else []
