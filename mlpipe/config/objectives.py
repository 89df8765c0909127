"""The objective of a recipe: the loss behind its validation loss; values of different losses are not comparable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Metrics computed by the recipe's own loss, beside `OUTPUT_loss` of a loss of several outputs.
_BY_THE_LOSS = ("loss", "equation_loss")
_OF_LOSS = ("loss", "stages")


def loss_of(tree: Mapping[str, Any]) -> Any:
    """Return the loss, or the losses of consecutive stages, that `val/loss` measures.

    Args:
        tree: A resolved configuration, or its stored part.
    """
    stages = tree.get("stages")
    entries = (stages.get("list") if isinstance(stages, Mapping) else None) or [{}]
    losses: list[Any] = []
    for entry in entries:
        loss = (entry.get("loss") if isinstance(entry, Mapping) else None) or tree.get("loss")
        own = {key: value for key, value in loss.items() if key != "trust"} if isinstance(loss, Mapping) else loss
        if isinstance(own, Mapping) and "balanced" in map(str, own.values()):
            # The class weights depend on the training images of the split.
            own = {"loss": own, "split": tree.get("split")}
        losses += [own] if own not in losses[-1:] else []
    return losses


def have_different_losses(trees: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether configurations have different losses."""
    losses = [loss_of(tree) for tree in trees]
    return any(loss != losses[0] for loss in losses[1:])


def is_by_the_loss(name: str, tree: Mapping[str, Any] | None = None) -> bool:
    """Return whether a metric, such as `val/loss`, is computed by the recipe's own loss.

    Args:
        name: The metric.
        tree: A configuration, whose loss may have several outputs with their own values.
    """
    metric = name.rpartition("/")[2]
    loss = (tree or {}).get("loss")
    parts = loss.get("parts") if isinstance(loss, Mapping) else None
    outputs = [part.get("name") for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    return metric in (*_BY_THE_LOSS, *(f"{output}_loss" for output in outputs))


def of_loss(keys: Iterable[str]) -> list[str]:
    """Return the keys of which each by itself changes the loss."""
    return [key for key in keys if key.split(".")[0] in _OF_LOSS]
