"""Your own functions, and losses, as metrics: computed after every epoch and at the end, and able to choose the epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mlpipe import kinds
from mlpipe.config.schema import Metrics
from mlpipe.data.items import PredictionItem, is_marked
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.losses import probabilities
from mlpipe.learn.losses.composite import OnProbabilities
from mlpipe.learn.own_parts import own_classes
from mlpipe.learn.own_parts.own_code import Code, called
from mlpipe.post import metrics
from mlpipe.post.measures.class_metrics import log_softmax, one_hot
from mlpipe.post.metrics import Measure

Floats = npt.NDArray[np.float32]


def measures(section: Metrics, kind: str, outputs: int) -> dict[str, Measure]:
    """Return the functions of `metrics.functions` and the classes of `metrics.blocks` as metrics of logits and targets.

    A function `f(y_true, y_pred)` gets tensors (n, outputs), targets (one-hot for classes) and probabilities (numbers for
    regression), and returns one number, or one for each image, which are averaged, or a mapping from names to such values. A
    function marked with `final_metric` is `f(model, items)`: it gets None and a list of numbered `PredictionItem` with `y` and
    `prediction`. Images with an unknown target are left out. Each function is tried once with random values.

    With several heads (`metrics.heads`) `y` and `prediction` of an item are lists with an array for each head. A function of
    tensors is called for each head separately: `NAME` is the mean over heads, `HEAD_NAME` the value of one.

    Losses named by `train`, `final` or `monitor` (`loss_dice`) are included, see `loss_metrics`.

    Args:
        section: The `metrics` section of the configuration.
        kind: The kind of predictions.
        outputs: The number of outputs.

    Raises:
        ConfigError: When a function fails, or returns no number; when heads do not fit; for masks and target images.
        DataError: When the code is not trusted, cannot be imported, or has no such function.
    """
    metric_names = {*_name_list(section.train), *_name_list(section.final), section.monitor.removeprefix("val/")}
    losses = {name: measure for name, measure in loss_metrics(kind).items() if name in metric_names}
    if not section.functions and not section.blocks:
        return losses
    if kinds.of(kind).is_dense:
        wrong = "of your own measure no " + ("masks" if kinds.of(kind).has_classes else "target images")
        raise ConfigError(problem("metrics", wrong, got=section.functions or section.blocks, fix="leave them out"))
    code = Code(section.modules, section.imports or (), section.stand_ins or (), section.trust or ())
    heads, measures_by_name = _heads(section, outputs), dict[str, Measure]()
    for name in section.functions or ():
        measures_by_name |= _function_metrics(name, code.function("metrics", name), kind, heads)
    for block in section.blocks or ():
        measure = own_classes.measure("metrics.blocks", block, kind, section.trust)
        measures_by_name[str(block["name"])] = measure
    _try([measures_by_name[name] for name in names_of(section, of_heads=False)], kind, outputs, heads)
    return {**losses, **measures_by_name}


def names_of(section: Metrics, *, of_heads: bool = True) -> list[str]:
    """Return the user's own metrics that a section's `train`, `final` and `monitor` may name.

    Args:
        section: The `metrics` section of the configuration.
        of_heads: Include those of single heads, `HEAD_NAME`.
    """
    functions, heads = list(section.functions or ()), section.heads or [] if of_heads else []
    of_one = [f"{_name_of(number, head)}_{name}" for number, head in enumerate(heads) for name in functions]
    return [*functions, *of_one, *own_classes.names(section.blocks)]


def loss_metrics(kind: str) -> dict[str, Measure]:
    """Return the losses of `mlpipe.learn.losses.probabilities` as metrics: `loss_dice`, `loss_focal_sum` and so on.

    Args:
        kind: The kind of predictions; numbers have only the losses meaningful for them, masks and images have none.
    """
    if kinds.of(kind).is_dense:
        return {}
    names = probabilities.ALL
    of_numbers = probabilities.OF_NUMBERS | probabilities.OF_UNITS
    fit = [name for name in names if kinds.of(kind).has_probabilities or name in of_numbers]
    return {f"{metrics.OF_LOSS}{name}": partial(_loss_value, OnProbabilities(name, kind)) for name in fit}


def _loss_value(loss: OnProbabilities, logits: npt.NDArray[Any], targets: npt.NDArray[Any]) -> float:
    with torch.no_grad():
        return float(loss(torch.from_numpy(np.asarray(logits)).float(), torch.from_numpy(np.asarray(targets))))


def _name_list(given: Any) -> list[str]:
    return list(given) if isinstance(given, list) else []


@dataclass(frozen=True)
class _Head:
    """One of several heads: its name, number of outputs, and activation."""

    name: str
    outputs: int
    activation: str


def _name_of(number: int, head: Any) -> str:
    return str(head.get("name", f"out{number}")) if isinstance(head, Mapping) else f"out{number}"


def _heads(section: Metrics, outputs: int) -> list[_Head]:
    """Return the heads named by a section; empty if all outputs form one head."""
    heads = []
    for number, head in enumerate(section.heads or ()):
        key, width = f"metrics.heads[{number}]", head.get("outputs")
        if unknown := sorted(set(head) - {"name", "outputs", "activation"}):
            fix = "a head has name, outputs and activation"
            raise ConfigError(problem(f"{key}.{unknown[0]}", "unknown key", fix=fix))
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise ConfigError(problem(f"{key}.outputs", "must be a whole number >= 1", got=width))
        heads.append(_Head(_name_of(number, head), width, str(head.get("activation", "linear"))))
    if heads and sum(head.outputs for head in heads) != outputs:
        wrong = f"have {sum(head.outputs for head in heads)} outputs, the task has {outputs}"
        raise ConfigError(problem("metrics.heads", wrong, fix="give each head as many as it has"))
    return heads


def _function_metrics(name: str, function: Callable[..., Any], kind: str, heads: Sequence[_Head]) -> dict[str, Measure]:
    """Return a function's metric, and with several heads also that of each."""
    measure = partial(_function_value, name, function, kind, heads)
    of_one = {f"{head.name}_{name}": partial(_head_metric, measure, f"{head.name}_{name}") for head in heads}
    return {name: measure, **of_one}


def _head_metric(measure: Measure, name: str, logits: npt.NDArray[Any], targets: npt.NDArray[Any]) -> float:
    """Return the value of one head from a function's values for several heads."""
    result = measure(logits, targets)
    if isinstance(result, Mapping) and name in result:
        return float(result[name])
    if not isinstance(result, Mapping) and np.isnan(result):
        return float(result)
    raise ConfigError(
        problem("metrics", f"there is no {name}: it is measured of all heads together", fix="leave it out")
    )


def _function_value(
    name: str,
    function: Callable[..., Any],
    kind: str,
    heads: Sequence[_Head],
    logits: npt.NDArray[Any],
    targets: npt.NDArray[Any],
) -> float | dict[str, float]:
    """Return a user function's value for logits and targets; NaN if no image has a known target."""
    truth = one_hot(targets, logits.shape[1], np.float32) if targets.ndim == 1 else targets.astype(np.float32)
    known = ~np.isnan(truth).any(axis=1)
    if not known.any():
        return float("nan")
    true, predictions = truth[known], _probabilities(logits[known], kind)
    if is_marked(function, "final_metric"):
        parts = zip(_rows(true, heads), _rows(predictions, heads), strict=True)
        listed = [PredictionItem(row, None, y, p) for row, (y, p) in enumerate(parts)]
        return _numbers(name, called("metrics", name, function, None, listed), len(true))
    if not heads:
        return _numbers(name, _call_on_tensors(name, function, true, predictions), len(true))
    values_by_name: dict[str, list[float]] = {}
    values_by_head: dict[str, float] = {}
    for head, y, p in zip(heads, _split(true, heads), _split(predictions, heads), strict=True):
        result = _numbers(name, _call_on_tensors(name, function, y, p), len(true))
        for key, value in (result if isinstance(result, dict) else {name: result}).items():
            values_by_name.setdefault(key, []).append(value)
            values_by_head[f"{head.name}_{key}"] = value
    return {**{key: float(np.mean(values)) for key, values in values_by_name.items()}, **values_by_head}


def _split(rows: npt.NDArray[Any], heads: Sequence[_Head]) -> list[npt.NDArray[Any]]:
    """Return the columns of each head."""
    return np.split(rows, np.cumsum([head.outputs for head in heads])[:-1], axis=1)


def _rows(rows: npt.NDArray[Any], heads: Sequence[_Head]) -> list[Any]:
    """Return the value of each item: its row, or with several heads a list with the row's part for each."""
    return [list(parts) for parts in zip(*_split(rows, heads), strict=True)] if heads else list(rows)


def _call_on_tensors(name: str, function: Callable[..., Any], true: Floats, predictions: Floats) -> Any:
    with torch.no_grad():
        return called("metrics", name, function, torch.from_numpy(true), torch.from_numpy(predictions))


def _numbers(name: str, given: Any, images: int) -> float | dict[str, float]:
    if isinstance(given, Mapping) and given:
        return {str(key): _number(f"{name}: {key}", value, images) for key, value in given.items()}
    return _number(name, given, images)


def _number(name: str, given: Any, images: int) -> float:
    """Return a number, or the mean of one number for each image."""
    try:
        values = np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given, np.float64)
    except (TypeError, ValueError):
        values = np.empty((0, 0))
    if values.ndim > 1 or values.size == 0 or (values.ndim and len(values) != images):
        fix = "return one number, or one for each image"
        raise ConfigError(problem("metrics", f"{name} gives no number", got=_shape_or_type(given), fix=fix))
    return float(values.mean())


def _shape_or_type(given: Any) -> Any:
    return list(given.shape) if hasattr(given, "shape") else type(given).__name__


def _probabilities(logits: npt.NDArray[Any], kind: str) -> Floats:
    if not kinds.of(kind).has_probabilities:
        return logits.astype(np.float32)
    if kinds.of(kind).has_classes:
        return np.exp(log_softmax(logits)).astype(np.float32)
    return (0.5 * (1 + np.tanh(logits.astype(np.float64) / 2))).astype(np.float32)


def _try(measures: Sequence[Measure], kind: str, outputs: int, heads: Sequence[_Head]) -> None:
    """Call each function once, so that errors are found before anything is trained."""
    drawn, facts = np.random.default_rng(0), kinds.of(kind)
    logits = drawn.normal(size=(8, outputs))
    targets: npt.NDArray[Any] = np.arange(8) % max(outputs, 1)
    if heads:
        parts = [_random_examples(drawn, head) for head in heads]
        targets = np.concatenate([true for true, _ in parts], axis=1)
        logits = (
            np.concatenate([prediction for _, prediction in parts], axis=1) if not facts.has_probabilities else logits
        )
    elif not facts.has_classes:
        targets = drawn.integers(0, 2, (8, outputs)).astype(np.float32)
    for measure in measures:
        measure(logits, targets)


def _random_examples(drawn: np.random.Generator, head: _Head) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return random targets and predictions of 8 images for a head."""
    values = drawn.normal(size=(8, head.outputs))
    if head.activation == "softmax":
        return np.eye(head.outputs, dtype=np.float32)[np.arange(8) % head.outputs], np.exp(log_softmax(values))
    if head.activation in ("sigmoid", "hard_sigmoid"):
        return drawn.integers(0, 2, values.shape).astype(np.float32), drawn.uniform(size=values.shape)
    return drawn.normal(size=values.shape).astype(np.float32), values
