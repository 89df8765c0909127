"""The loss of a fold: the facts about its training rows that it needs, and your own functions as losses."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mlpipe.config import calling
from mlpipe.config.components import ALSO_KNOWN, SLOTS, Component
from mlpipe.config.schema import Recipe
from mlpipe.data import sources
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, in_short, listing, problem
from mlpipe.learn import kind
from mlpipe.learn.kind import Loss
from mlpipe.learn.losses import class_weights
from mlpipe.learn.losses.class_weights import BALANCED, Balance
from mlpipe.learn.losses.labels import Labels


class OwnFunction(nn.Module):
    """The user's own function as a loss.

    Args:
        function: Maps outputs and targets, as described in `mlpipe.learn.losses`, to one number.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch."""
        return self._function(outputs, target)


class OwnWeighedFunction(OwnFunction):
    """The user's own function with a parameter `weight`, the weight of each image, as a loss."""

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the loss of a batch."""
        return self._function(outputs, target, weight=weight)


def build_loss(recipe: Recipe, task: Task, rows: Rows) -> nn.Module:
    """Build the recipe's loss for some training rows of a task.

    Raises:
        ConfigError: When it does not fit the task's kind, or does not accept image weights although the task has them.
    """
    loss = built(recipe.loss, labels_of(task, rows))
    if not isinstance(loss, nn.Module):
        fix = "give one, or name a function of outputs and targets"
        raise ConfigError(problem("loss._target_", "must give a torch.nn.Module", got=type(loss).__name__, fix=fix))
    if task.samples.weights is not None and "weight" not in inspect.signature(loss.forward).parameters:
        names = listing(getattr(loss, "unweighing", ()) or [recipe.loss.target.rpartition(".")[2]])
        key = "loss.expression" if getattr(loss, "unweighing", ()) else "loss"
        fix = "use a loss that does, such as loss=auto, or leave the column of weights out"
        raise ConfigError(problem(key, f"{names} takes no weights of images, the task has them", fix=fix))
    return loss


def try_own(recipe: Recipe, loss: Loss, outputs: Tensor, target: Tensor, weight: Tensor | None) -> None:
    """Check that the user's own loss can be trained with, before anything is written; other losses are not checked.

    Args:
        recipe: The recipe.
        loss: Its loss.
        outputs: The network's outputs for a batch.
        target: The batch's targets.
        weight: The weights of its images, if there are any.

    Raises:
        ConfigError: When it fails, or does not return one number that depends on the outputs.
    """
    if not recipe.loss.is_users:
        return
    tried, name = outputs.detach().clone().requires_grad_(), recipe.loss.target
    try:
        value = loss(tried, target) if weight is None else loss(tried, target, weight)
    except Exception as error:
        # The user's own code may raise anything.
        fix = f"it is called with outputs {list(outputs.shape)} and targets {list(target.shape)} of {target.dtype}"
        raise ConfigError(problem("loss", f"{name} fails ({in_short(error)})", fix=fix)) from error
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        fix = "return a tensor of one number, computed from the outputs with functions of torch"
        raise ConfigError(problem("loss", f"{name} gives nothing to learn from", got=got, fix=fix))


def built(loss: Component, labels: Labels) -> Any:
    """Build a loss component for the facts about training rows; the user's own function may be a loss itself.

    Args:
        loss: The component.
        labels: Facts about the training rows.

    Raises:
        ConfigError: When it does not fit them.
    """
    if not loss.is_users:
        return loss.build(labels)
    function = loss.load()
    if _is_loss_itself(function, loss):
        takes_weight = "weight" in inspect.signature(function).parameters
        return (OwnWeighedFunction if takes_weight else OwnFunction)(partial(function, **loss.params))
    result = loss.build(labels, class_counts=labels.counts)
    return OwnFunction(result) if inspect.isfunction(result) else result


def _is_loss_itself(function: Any, loss: Component) -> bool:
    """Whether the function takes outputs and targets, not the facts known before training."""
    if isinstance(function, type):
        return False
    parameters = calling.parameters_of(inspect.signature(function))
    needed = [
        parameter.name
        for parameter in parameters
        if parameter.required and parameter.by_position and parameter.name not in loss.params
    ]
    return len(needed) >= 2 and needed[0] not in (*SLOTS["loss"].names, *ALSO_KNOWN["loss"])


def balances(recipe: Recipe, task: Task, rows: Rows) -> dict[str, Balance]:
    """Return the class weights that the recipe's losses compute from training rows, by key, including losses of stages.

    Args:
        recipe: The recipe.
        task: The task.
        rows: The training rows of a fold.
    """
    labels, weights = labels_of(task, rows), dict[str, Balance]()
    of_stages = {f"stages.list[{number}].loss": stage.loss for number, stage in enumerate(recipe.stages) if stage.loss}
    for section, loss in {"loss": recipe.loss, **of_stages}.items():
        if loss.params.get("class_weights") == BALANCED:
            smoothing = float(loss.params.get("label_smoothing") or 0.0)
            weights[f"{section}.class_weights"] = class_weights.of_classes(labels.counts, smoothing)
        if loss.params.get("pos_weight") == BALANCED:
            weights[f"{section}.pos_weight"] = class_weights.of_positives(labels.counts, labels.known_counts)
    return weights


def labels_of(task: Task, rows: Rows) -> Labels:
    """Return the facts about training rows that a loss needs.

    Args:
        task: The task.
        rows: The rows.
    """
    part = kind.of(task.kind)
    known = part.known_counts(task, rows)
    return Labels(
        task.kind,
        torch.from_numpy(part.class_counts(task, rows)),
        len(rows),
        _widths(task),
        None if known is None else torch.from_numpy(known),
        in_units=compares_in_units(task),
    )


def compares_in_units(task: Task) -> bool:
    """Return whether a loss compares a task's numbers as they are, without a scale.

    Networks for records return numbers without a head that could scale them, and activations have bounds.
    """
    return bool(heads_of(task) or task.source.get("own_unit")) or sources.open(task).layout is not None


def _widths(task: Task) -> tuple[int, ...]:
    """Return the number of columns of each of several outputs; empty for one output."""
    if parts := heads_of(task):
        return tuple(width for _, width in parts)
    layout = sources.open(task).layout
    return () if layout is None or layout.is_single else tuple(output.width for output in layout.outputs)


def heads_of(task: Task) -> tuple[tuple[str, int], ...]:
    """Return activation and size of each output of a task; empty for a task without named outputs."""
    entries = (task.bases or (task,))[0].source.get("heads") or ()
    return tuple((str(entry["activation"]), int(entry["outputs"])) for entry in entries)
