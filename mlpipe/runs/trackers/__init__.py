"""Runs of tracking servers, MLflow's and Weights & Biases': a project's trainings as these show them."""

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

# What each option of `logging` opens; its keys are the parameters of that.
_RUNS: dict[str, Callable[..., Tracked]] = {"mlflow": MlflowRun, "wandb": WandbRun}
_PACKAGES = ("tensorboard", *_RUNS)


def run_of(name: str, params: Mapping[str, Any], place: Place) -> Guarded:
    """A run of the server that an option of `logging` names, opened when there is something to keep.

    Args:
        name: The option, `mlflow` or `wandb`.
        params: Its keys; those that no run of the server has are left out.
        place: What the run stands for.
    """
    opens = _RUNS[name]
    arguments = {key: params[key] for key in inspect.signature(opens).parameters if key in params}
    return Guarded(f"logging={name}", partial(opens, **arguments), place)


def missing(name: str) -> list[str]:
    """A sentence where an option of `logging` needs a package that is not installed, to be told before anything is read.

    Args:
        name: The option's name.
    """
    is_missing = name in _PACKAGES and importlib.util.find_spec(name) is None
    return [not_installed(f"logging={name}", name)] if is_missing else []
