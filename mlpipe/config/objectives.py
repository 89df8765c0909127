"""The objective of a recipe: which loss its validation loss is; values of different losses cannot be compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Metrics that the recipe's own loss measures, beside `OUTPUT_loss` of a loss of several outputs.
_BY_THE_LOSS = ("loss", "equation_loss")
_OF_LOSS = ("loss", "stages")


def loss_of(tree: Mapping[str, Any]) -> Any:
    """The loss, or the losses of stages one after the other, that `val/loss` is a value of.

    Args:
        tree: A resolved configuration, or what is stored of one.
    """
    stages = tree.get("stages")
    entries = (stages.get("list") if isinstance(stages, Mapping) else None) or [{}]
    losses: list[Any] = []
    for entry in entries:
        loss = (entry.get("loss") if isinstance(entry, Mapping) else None) or tree.get("loss")
        own = {key: value for key, value in loss.items() if key != "trust"} if isinstance(loss, Mapping) else loss
        if isinstance(own, Mapping) and "balanced" in map(str, own.values()):
            # The weights of the classes are counted in what the split leaves for training.
            own = {"loss": own, "split": tree.get("split")}
        losses += [own] if own not in losses[-1:] else []
    return losses


def have_different_losses(trees: Sequence[Mapping[str, Any]]) -> bool:
    """Whether configurations have different losses."""
    losses = [loss_of(tree) for tree in trees]
    return any(loss != losses[0] for loss in losses[1:])


def is_by_the_loss(name: str, tree: Mapping[str, Any] | None = None) -> bool:
    """Whether a metric, such as `val/loss`, is a value of the recipe's own loss.

    Args:
        name: The metric.
        tree: A configuration, whose loss may have several outputs with values of their own.
    """
    metric = name.rpartition("/")[2]
    loss = (tree or {}).get("loss")
    parts = loss.get("parts") if isinstance(loss, Mapping) else None
    outputs = [part.get("name") for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    return metric in (*_BY_THE_LOSS, *(f"{output}_loss" for output in outputs))


def of_loss(keys: Iterable[str]) -> list[str]:
    """The keys that say by themselves that the loss is another one."""
    return [key for key in keys if key.split(".")[0] in _OF_LOSS]
