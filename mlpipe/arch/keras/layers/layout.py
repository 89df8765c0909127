"""Axis order: channels, last in Keras, are the second axis in torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def with_channels_last(x: Tensor) -> Tensor:
    """A tensor with its channels last, as Keras has it."""
    return x.movedim(1, -1) if x.ndim > 2 else x


def first(x: Tensor) -> Tensor:
    """A tensor of Keras with its channels second, as torch has it."""
    return x.movedim(-1, 1) if x.ndim > 2 else x


def stored(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape of Keras, without the batch, as torch has it."""
    return (shape[-1], *shape[:-1])


def keras_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape of torch, without the batch, as Keras has it."""
    return (*shape[1:], shape[0])


def torch_axis(number: int, rank: int) -> int:
    """The axis of a torch tensor that is one of Keras's; both count the batch.

    Raises:
        IndexError: When there is no such axis, or it is the batch.
    """
    counted = number + rank if number < 0 else number
    if not 1 <= counted < rank:
        raise IndexError(f"there is no axis {number}")
    return 1 if counted == rank - 1 else counted + 1


def same_padding(length: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Padding before and after an axis by TensorFlow's `same`: the odd one comes after it."""
    total = max((-(-length // stride) - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)
    return total // 2, total - total // 2


def padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """A tensor with its spatial axes padded by a value; negative amounts crop."""
    if not any(amount for pair in pads for amount in pair):
        return x
    return F.pad(x, [amount for pair in reversed(pads) for amount in pair], value=value)
