"""Functions of your own, and losses, as metrics: measured after every epoch, at the end, and able to choose the epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mlpipe.config.schema import Metrics
from mlpipe.data.items import PredictionItem, is_marked
from mlpipe.errors import ConfigError, problem
from mlpipe.learn import import_blocks, probability_losses
from mlpipe.learn.composite import OnProbabilities
from mlpipe.learn.own_code import Code, called
from mlpipe.post import metrics
from mlpipe.post.metrics import Measure, log_softmax
from mlpipe.runs import maps

Floats = npt.NDArray[np.float32]


def measures(section: Metrics, kind: str, outputs: int) -> dict[str, Measure]:
    """The functions that `metrics.functions` names, and the classes of `metrics.blocks`, as metrics of logits and targets.

    A function `f(y_true, y_pred)` is given tensors (n, outputs), targets (one-hot for classes) and probabilities (numbers
    for regression), and gives one number, or one for each image, whose mean counts, or a mapping from names to such. One
    that is marked with `final_metric` is `f(model, items)`: None, and a list of `PredictionItem` with `y` and
    `prediction`, numbered. Images with an unknown target are left out. Each function is tried once with random values.

    Losses that `train`, `final` or `monitor` name (`loss_dice`) are among them, see `of_losses`.

    Args:
        section: The configuration's section.
        kind: What is predicted.
        outputs: How many outputs there are.

    Raises:
        ConfigError: When a function fails, or gives no number; for masks and target images.
        DataError: When the code is not trusted, cannot be imported, or has no such function.
    """
    named = {*_named(section.train), *_named(section.final), section.monitor.removeprefix("val/")}
    losses = {name: measure for name, measure in of_losses(kind).items() if name in named}
    if not section.functions and not section.blocks:
        return losses
    if kind in maps.KINDS:
        wrong = "of your own measure no " + ("masks" if kind == "segmentation" else "target images")
        raise ConfigError(problem("metrics", wrong, got=section.functions or section.blocks, fix="leave them out"))
    code = Code(section.modules, section.imports or (), section.stand_ins or (), section.trust or ())
    found = {name: _measure(name, code.function("metrics", name), kind) for name in section.functions or ()}
    for block in section.blocks or ():
        measure = import_blocks.measure("metrics.blocks", block, kind, section.trust)
        found[str(block["name"])] = measure
    _try(found, kind, outputs)
    return {**losses, **found}


def of_losses(kind: str) -> dict[str, Measure]:
    """The losses of `mlpipe.learn.probability_losses` as metrics: `loss_dice`, `loss_focal_sum` and so on.

    Args:
        kind: What is predicted; for numbers those that mean something for them, for masks and images none.
    """
    if kind in maps.KINDS:
        return {}
    names = [*probability_losses.EACH, *probability_losses.TOGETHER]
    fit = [name for name in names if kind != "regression" or name in probability_losses.OF_NUMBERS]
    return {f"{metrics.OF_LOSS}{name}": partial(_lost, OnProbabilities(name, kind)) for name in fit}


def _lost(loss: OnProbabilities, logits: npt.NDArray[Any], targets: npt.NDArray[Any]) -> float:
    with torch.no_grad():
        return float(loss(torch.from_numpy(np.asarray(logits)).float(), torch.from_numpy(np.asarray(targets))))


def _named(given: Any) -> list[str]:
    return list(given) if isinstance(given, list) else []


def _measure(name: str, function: Callable[..., Any], kind: str) -> Measure:
    return partial(_measured, name, function, kind)


def _measured(
    name: str, function: Callable[..., Any], kind: str, logits: npt.NDArray[Any], targets: npt.NDArray[Any]
) -> float | dict[str, float]:
    """What a user's function gives for logits and targets; NaN where no image has a known target."""
    wanted = np.eye(logits.shape[1], dtype=np.float32)[targets] if targets.ndim == 1 else targets.astype(np.float32)
    known = ~np.isnan(wanted).any(axis=1)
    if not known.any():
        return float("nan")
    true, said = wanted[known], _probabilities(logits[known], kind)
    if is_marked(function, "final_metric"):
        listed = [PredictionItem(row, None, y, p) for row, (y, p) in enumerate(zip(true, said, strict=True))]
        given = called("metrics", name, function, None, listed)
    else:
        with torch.no_grad():
            given = called("metrics", name, function, torch.from_numpy(true), torch.from_numpy(said))
    if isinstance(given, Mapping) and given:
        return {str(key): _number(f"{name}: {key}", value, len(true)) for key, value in given.items()}
    return _number(name, given, len(true))


def _number(name: str, given: Any, images: int) -> float:
    """One number, or the mean of one for each image."""
    try:
        values = np.asarray(given.detach().cpu() if isinstance(given, torch.Tensor) else given, np.float64)
    except (TypeError, ValueError):
        values = np.empty((0, 0))
    if values.ndim > 1 or values.size == 0 or (values.ndim and len(values) != images):
        fix = "return one number, or one for each image"
        raise ConfigError(problem("metrics", f"{name} gives no number", got=_shown(given), fix=fix))
    return float(values.mean())


def _shown(given: Any) -> Any:
    return list(given.shape) if hasattr(given, "shape") else type(given).__name__


def _probabilities(logits: npt.NDArray[Any], kind: str) -> Floats:
    if kind == "regression":
        return logits.astype(np.float32)
    if kind == "classification":
        return np.exp(log_softmax(logits)).astype(np.float32)
    return (0.5 * (1 + np.tanh(logits.astype(np.float64) / 2))).astype(np.float32)


def _try(found: Mapping[str, Measure], kind: str, outputs: int) -> None:
    """Call each function once, so that one that cannot work is known before anything is trained."""
    drawn = np.random.default_rng(0)
    logits = drawn.normal(size=(8, outputs))
    targets: npt.NDArray[Any] = np.arange(8) % max(outputs, 1)
    if kind != "classification":
        targets = drawn.integers(0, 2, (8, outputs)).astype(np.float32)
    for measure in found.values():
        measure(logits, targets)
