"""Classes of your own, named as MODULE.NAME, each made once with its parameters; metrics that are such classes, or Keras's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlpipe.data import imports
from mlpipe.errors import ConfigError, counted, problem
from mlpipe.learn.losses.means import probabilities
from mlpipe.learn.own_parts.own_code import called
from mlpipe.post.measures import keras_metrics
from mlpipe.post.measures.class_metrics import one_hot


def instance(key: str, path: str, params: Mapping[str, Any] | None, trust: Sequence[str] | None, *given: Any) -> Any:
    """An instance of a class of the user's own, made with its parameters.

    Args:
        key: The configuration's key, for sentences.
        path: MODULE.NAME.
        params: Its parameters.
        trust: Modules outside the current folder whose code may run.
        given: What it is given before them.

    Raises:
        ConfigError: When it is no class, or fails.
        DataError: When it is not the user's own code, or not there.
    """
    own_class = imports.resolve(key, path, {}, trust or ())
    if not isinstance(own_class, type):
        got = type(own_class).__name__
        raise ConfigError(problem(key, f"{path} is no class", got=got, fix="name a class, whose instances are used"))
    return called(key, path, own_class, *given, **(params or {}))


def names(blocks: Iterable[Any] | None) -> list[str]:
    """The names of metrics: those that are names, and those that blocks `{import, params, name}` have.

    Args:
        blocks: The metrics.
    """
    return [str(block["name"]) if isinstance(block, Mapping) else str(block) for block in blocks or ()]


def measure(key: str, block: Any, kind: str, trust: Sequence[str] | None) -> Callable[[Any, Any], float]:
    """A metric of the user's own, or of Keras by its name in snake case, of logits and targets as mlpipe's are.

    The class's instances are called as a loss's are; or they have `update_state(y_true, y_pred)` and `result()`, and a new
    one is made for each measurement. One of Keras is given probabilities and targets that are one-hot.

    Args:
        key: The configuration's key, for sentences.
        block: `{import: MODULE.NAME, params: {...}, name: NAME}`; a name without a dot is Keras's, such as precision.
        kind: What is predicted.
        trust: Modules outside the current folder whose code may run.

    Raises:
        ConfigError: When it is no such block, or the class fails.
        DataError: When it is not the user's own code.
    """
    known = {"import", "params", "name"}
    if not isinstance(block, Mapping) or not {"import", "name"} <= set(block) <= known or not block["name"]:
        fix = "write {import: MODULE.NAME, params: {...}, name: NAME}"
        raise ConfigError(problem(key, "is no metric of your own", got=block, fix=fix))
    if "." not in str(block["import"]):
        name, params = str(block["import"]), dict(block.get("params") or {})
        if problems := keras_metrics.problems(key, name, params):
            raise ConfigError(problems)
        return partial(_keras_metric, key, name, params, kind)
    make = partial(instance, key, str(block["import"]), block.get("params"), trust)
    make()
    return partial(_own_metric, key, str(block["import"]), make, kind)


def _keras_metric(key: str, name: str, params: Mapping[str, Any], kind: str, logits: Any, targets: Any) -> float:
    truth = one_hot(targets, logits.shape[1]) if targets.ndim == 1 else targets.astype(np.float64)
    known = ~np.isnan(truth).any(axis=1)
    predictions = probabilities(torch.from_numpy(np.asarray(logits, np.float64)), kind).numpy()
    if not known.any():
        return float("nan")
    try:
        return keras_metrics.METRICS[name](predictions[known], truth[known], **params)
    except (ValueError, IndexError) as error:
        fix = f"the outputs have {counted(predictions.shape[1], 'column')}"
        raise ConfigError(
            problem(f"{key}.params", f"{name} cannot be computed ({error})", got=dict(params), fix=fix)
        ) from error


def _own_metric(key: str, path: str, make: Callable[[], Any], kind: str, logits: Any, targets: Any) -> float:
    truth = one_hot(targets, logits.shape[1], np.float32) if targets.ndim == 1 else targets.astype(np.float32)
    true, predictions = torch.from_numpy(truth), probabilities(torch.from_numpy(np.asarray(logits, np.float32)), kind)
    metric = make()
    with torch.no_grad():
        if hasattr(metric, "update_state"):
            called(key, path, metric.update_state, true, predictions)
            values = called(key, path, metric.result)
        else:
            values = called(key, path, getattr(metric, "call", metric), true, predictions)
    try:
        numbers = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if not numbers.size:
        fix = "return one number, or one for each sample"
        raise ConfigError(problem(key, f"{path} gives no number", got=type(values).__name__, fix=fix))
    return float(numbers.mean())
