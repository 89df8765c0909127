"""Axis order: channels are last in Keras and second in torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def with_channels_last(x: Tensor) -> Tensor:
    """Move the channels of a tensor to the end, as in Keras."""
    return x.movedim(1, -1) if x.ndim > 2 else x


def first(x: Tensor) -> Tensor:
    """Move the channels of a Keras tensor to the second axis, as in torch."""
    return x.movedim(-1, 1) if x.ndim > 2 else x


def stored(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Convert a Keras shape, without the batch, to torch's order."""
    return (shape[-1], *shape[:-1])


def keras_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Convert a torch shape, without the batch, to Keras's order."""
    return (*shape[1:], shape[0])


def torch_axis(number: int, rank: int) -> int:
    """Return the torch axis for a Keras axis; both count the batch.

    Raises:
        IndexError: When there is no such axis, or it is the batch.
    """
    counted = number + rank if number < 0 else number
    if not 1 <= counted < rank:
        raise IndexError(f"there is no axis {number}")
    return 1 if counted == rank - 1 else counted + 1


def same_padding(length: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return the padding before and after an axis for TensorFlow's `same`: an odd remainder goes after it."""
    total = max((-(-length // stride) - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)
    return total // 2, total - total // 2


def padded(x: Tensor, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """Pad the spatial axes of a tensor with a value; negative amounts crop."""
    if not any(amount for pair in pads for amount in pair):
        return x
    return F.pad(x, [amount for pair in reversed(pads) for amount in pair], value=value)
