"""Slicing: a network sees an image in cells, and the outputs of an image are computed from those of its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from mlpipe import kinds as kinds_of_tasks
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.tta import mean_of

Over = Literal["mean", "max"]


@dataclass(frozen=True)
class Cells:
    """A grid of cells.

    Attributes:
        side: Cells in a row and in a column.
        over: How the cells' probabilities (or numbers) are combined for an image.
    """

    side: int
    over: Over

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of a cell for images of a height and width.

        Raises:
            ConfigError: When they are not divisible by the number of cells.
        """
        if height % self.side or width % self.side:
            fix = f"use multiples of {self.side}, for example {max(height - height % self.side, self.side)}"
            wrong = f"cannot be cut into {self.side} x {self.side} equal cells"
            raise ConfigError(problem("preprocessing.size", wrong, got=[height, width], fix=fix))
        return height // self.side, width // self.side

    def cut(self, images: Tensor) -> Tensor:
        """Cut images of shape (n, channels, height, width) into cells, row by row: shape (n * side ** 2, channels, ...)."""
        number, channels, height, width = images.shape
        high, wide = self.size(height, width)
        rows = images.reshape(number, channels, self.side, high, self.side, wide)
        return rows.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, high, wide)

    def joined(self, outputs: Tensor, kind: str) -> Tensor:
        """Join logits (or numbers) of cells to those of images, shape (n * side ** 2, outputs) to (n, outputs)."""
        parts = outputs.float().reshape(-1, self.side**2, outputs.shape[1])
        if self.over == "mean":
            return mean_of(list(parts.unbind(1)), kind)
        if kinds_of_tasks.of(kind).has_classes:
            # The largest probability of each class; a softmax of its logarithm normalises the sum to one.
            return parts.log_softmax(-1).amax(1)
        return parts.amax(1)


def none() -> None:
    """Use images as they are."""


def crops(*, cells: Annotated[int, ">= 2", "<= 64"], over: Literal["mean", "max"] = "mean") -> Cells:
    """Cut images into a grid of equal cells, each trained with its image's target.

    Folds, batches and augmentations use whole images, so that cells of one image are never both in training and validation.

    Args:
        cells: Cells in a row and in a column.
        over: Whether an image's probabilities are the mean or the largest of its cells'.
    """
    return Cells(cells, over)


def attach(network: nn.Module, cells: Cells, kinds: Mapping[str, str]) -> None:
    """Make a network cut its input images into cells, and, except in training, join its outputs for the cells.

    The network's weights keep their names. In training it returns outputs of cells; see `per_cell` for their targets.

    Args:
        network: Maps images to outputs by target; changed in place.
        cells: The grid.
        kinds: The kind of predictions for each target.
    """
    network.register_forward_pre_hook(partial(_cut, cells))
    network.register_forward_hook(partial(_join_hook, cells, dict(kinds)))


def per_cell(values: Tensor, outputs: Tensor) -> Tensor:
    """Repeat targets or weights of images to match the outputs of a network in training.

    Args:
        values: Shape (n, ...).
        outputs: Shape (n * k, ...), k consecutive rows for each image; k is 1 for images that are not cut.
    """
    return values if len(values) == len(outputs) else values.repeat_interleave(len(outputs) // len(values), 0)


def _cut(cells: Cells, network: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return (cells.cut(given[0]), *given[1:])


def _join_hook(
    cells: Cells, kinds: dict[str, str], network: nn.Module, given: tuple[Any, ...], outputs: dict[str, Tensor]
) -> dict[str, Tensor]:
    if network.training and torch.is_grad_enabled():
        return outputs
    return {name: cells.joined(part, kinds[name]) if name in kinds else part for name, part in outputs.items()}
