"""Keras's layers that merge several tensors into one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.arch.keras.layers.layout import first, torch_axis, with_channels_last
from mlpipe.arch.keras.layers.reading import Keys, Shape


class Merge(nn.Module):
    """Elementwise merge of tensors; axes of size 1 are broadcast, missing axes are added as in Keras.

    Args:
        join: Function of two tensors.
        mean: Divide by the number of tensors.
        constants: Numbers that are merged, too, each with its position.
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
        """Return the merged tensor."""
        rank = max(x.ndim for x in tensors)
        # Keras adds axes after the batch; its last axis, the channels, is the second here.
        even = [x[(slice(None), slice(None), *[None] * (rank - x.ndim))] for x in tensors]
        for place, number in self.constants:
            even.insert(place, tensors[0].new_tensor(number))
        joined = functools.reduce(self.join, even)
        return joined / len(even) if self.mean else joined


class Concatenate(nn.Module):
    """Concatenation of tensors.

    Args:
        place: The torch axis.
    """

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the concatenated tensor."""
        return torch.cat(tensors, self.place)


class Dot(nn.Module):
    """Batched dot product of two tensors along one axis of each.

    Args:
        axes: The axis of each, in Keras's order.
        normalize: Normalise both to unit length along it first.
    """

    def __init__(self, axes: tuple[int, int], normalize: bool) -> None:
        super().__init__()
        self.axes, self.normalize = axes, normalize

    def forward(self, tensor: Tensor, other: Tensor) -> Tensor:
        """Return the other axes of the first, then those of the second; shape (n, 1) if there are none."""
        both = [with_channels_last(tensor), with_channels_last(other)]
        if self.normalize:
            both = [F.normalize(x, dim=place) for x, place in zip(both, self.axes, strict=True)]
        # Axis 0 is the batch, 1 is summed over; each further axis has a number of its own.
        numbers = [[0, *range(2, both[0].ndim)], [0, *range(both[0].ndim, both[0].ndim + both[1].ndim - 2)]]
        left = [0, *numbers[0][1:], *numbers[1][1:]]
        for own, place in zip(numbers, self.axes, strict=True):
            own.insert(place, 1)
        product = torch.einsum(both[0], numbers[0], both[1], numbers[1], left)
        return first(product) if product.ndim > 1 else product.unsqueeze(1)


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
        demand = "two inputs" if keys.kind == "Subtract" else "two inputs or more"
        keys.wrong("inbound_nodes", f"must name {demand}", got=count)
    return Merge(_JOINS[keys.kind], keys.kind == "Average", constants)


def dot(keys: Keys, shapes: Sequence[Shape]) -> nn.Module:
    """Dot, over the same axis of both, or one axis of each."""
    setting = keys.value("axes")
    listed = [setting, setting] if isinstance(setting, int) else setting
    if len(shapes) != 2:
        keys.wrong("inbound_nodes", "must name two inputs", got=len(shapes))
    if not isinstance(listed, list | tuple) or len(listed) != 2 or not all(type(number) is int for number in listed):
        keys.wrong("axes", "must be a whole number or two", got=setting)
    places = [number + len(shape) + 1 if number < 0 else number for number, shape in zip(listed, shapes, strict=True)]
    fits = all(1 <= place <= len(shape) for place, shape in zip(places, shapes, strict=True))
    if not fits or shapes[0][places[0] - 1] != shapes[1][places[1] - 1]:
        keys.wrong("axes", f"do not fit inputs of shape {shapes[0]} and {shapes[1]}", got=setting)
    return Dot((places[0], places[1]), keys.flag("normalize", False))


def concatenate(keys: Keys, shapes: Sequence[Shape]) -> nn.Module:
    """Concatenate, along Keras's axis."""
    setting = keys.value("axis", -1)
    if not shapes:
        keys.wrong("inbound_nodes", "must name two inputs or more", got=0)
    if len({len(shape) for shape in shapes}) != 1:
        keys.wrong("inbound_nodes", "must name inputs with as many axes each", got=list(shapes))
    try:
        return Concatenate(torch_axis(int(setting), len(shapes[0]) + 1))
    except (IndexError, TypeError, ValueError):
        keys.wrong("axis", f"does not fit inputs of shape {shapes[0]}", got=setting, fix="use -1")
