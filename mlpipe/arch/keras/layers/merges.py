"""Keras's layers that join several tensors into one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mlpipe.arch.keras.layers.layout import axis
from mlpipe.arch.keras.layers.reading import Keys, Shape


class Merge(nn.Module):
    """Tensors joined number by number; sizes of 1 count for all, missing axes are added as Keras does.

    Args:
        join: Of two tensors.
        mean: Divide by how many there are.
        constants: Numbers that are joined, too, each with its place.
    """

    def __init__(
        self,
        join: Callable[[Tensor, Tensor], Tensor],
        mean: bool = False,
        constants: Sequence[tuple[int, float]] = (),
    ) -> None:
        super().__init__()
        self.join, self.mean, self.constants = join, mean, tuple(constants)

    def forward(self, *tensors: Tensor) -> Tensor:
        """One tensor."""
        rank = max(x.ndim for x in tensors)
        # Keras adds axes after the batch; channels, last there, are second here.
        even = [x[(slice(None), slice(None), *[None] * (rank - x.ndim))] for x in tensors]
        for place, number in self.constants:
            even.insert(place, tensors[0].new_tensor(number))
        joined = functools.reduce(self.join, even)
        return joined / len(even) if self.mean else joined


class Concatenate(nn.Module):
    """Tensors one after the other.

    Args:
        place: The axis of torch's tensors.
    """

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def forward(self, *tensors: Tensor) -> Tensor:
        """One tensor."""
        return torch.cat(tensors, self.place)


_JOINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "Subtract": torch.sub,
    "Multiply": torch.mul,
    "Average": torch.add,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
}


def merge(keys: Keys, shapes: Sequence[Shape]) -> nn.Module:
    """Add, Subtract, Multiply, Average, Maximum, Minimum."""
    constants = keys.value("constants", ())
    count = len(shapes) + len(constants)
    if not shapes or count < 2 or (keys.kind == "Subtract" and count != 2):
        wanted = "two inputs" if keys.kind == "Subtract" else "two inputs or more"
        keys.wrong("inbound_nodes", f"must name {wanted}", got=count)
    return Merge(_JOINS[keys.kind], keys.kind == "Average", constants)


def concatenate(keys: Keys, shapes: Sequence[Shape]) -> nn.Module:
    """Concatenate, over Keras's axis."""
    given = keys.value("axis", -1)
    if not shapes:
        keys.wrong("inbound_nodes", "must name two inputs or more", got=0)
    if len({len(shape) for shape in shapes}) != 1:
        keys.wrong("inbound_nodes", "must name inputs with as many axes each", got=list(shapes))
    try:
        return Concatenate(axis(int(given), len(shapes[0]) + 1))
    except (IndexError, TypeError, ValueError):
        keys.wrong("axis", f"does not fit inputs of shape {shapes[0]}", got=given, fix="use -1")
