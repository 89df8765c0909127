"""Your own classes, given as MODULE.NAME and instantiated with their parameters; metrics that are such classes, or Keras's."""

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
    """Create an instance of the user's own class.

    Args:
        key: The configuration key, for messages.
        path: MODULE.NAME.
        params: Keyword arguments of the class.
        trust: Modules outside the current folder whose code may run.
        given: Positional arguments of the class.

    Raises:
        ConfigError: When it is not a class, or fails.
        DataError: When the code is missing, or not the user's own and not trusted.
    """
    own_class = imports.resolve(key, path, {}, trust or ())
    if not isinstance(own_class, type):
        got = type(own_class).__name__
        raise ConfigError(problem(key, f"{path} is no class", got=got, fix="name a class, whose instances are used"))
    return called(key, path, own_class, *given, **(params or {}))


def names(blocks: Iterable[Any] | None) -> list[str]:
    """Return the names of metrics, given as names or as blocks `{import, params, name}`.

    Args:
        blocks: The metrics.
    """
    return [str(block["name"]) if isinstance(block, Mapping) else str(block) for block in blocks or ()]


def measure(key: str, block: Any, kind: str, trust: Sequence[str] | None) -> Callable[[Any, Any], float]:
    """Return the user's own metric, or a Keras metric by its name in snake case, as a function of logits and targets.

    Instances of the class are called like a loss; or they have `update_state(y_true, y_pred)` and `result()`, and a new
    instance is created for each measurement. A Keras metric gets probabilities and one-hot targets.

    Args:
        key: The configuration key, for messages.
        block: `{import: MODULE.NAME, params: {...}, name: NAME}`; a name without a dot is Keras's, such as precision.
        kind: The kind of predictions.
        trust: Modules outside the current folder whose code may run.

    Raises:
        ConfigError: When it is not such a block, or the class fails.
        DataError: When the code is not the user's own and not trusted.
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
