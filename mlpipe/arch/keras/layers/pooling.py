"""Keras's pooling layers: `same` pads with minus infinity for maxima and excludes the padding from means."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.arch.keras.layers.layout import padded, same_padding
from mlpipe.arch.keras.layers.reading import Keys, Shape

_MAX: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_ADAPTIVE: dict[tuple[str, int], Callable[..., Tensor]] = {
    ("max", 1): F.adaptive_max_pool1d,
    ("max", 2): F.adaptive_max_pool2d,
    ("max", 3): F.adaptive_max_pool3d,
    ("mean", 1): F.adaptive_avg_pool1d,
    ("mean", 2): F.adaptive_avg_pool2d,
    ("mean", 3): F.adaptive_avg_pool3d,
}
_MEAN: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class Pool(nn.Module):
    """Maximum or mean over windows.

    Args:
        way: `max` or `mean`.
        size: Window size of each axis.
        strides: Stride of each axis.
        pads: `valid`, `same`, or the padding on both sides of each axis.
    """

    def __init__(self, way: str, size: Shape, strides: Shape, pads: str | Shape) -> None:
        super().__init__()
        self.way, self.size, self.strides, self.pads = way, size, strides, pads

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (n, channels, ...)."""
        pairs = self._amounts(x.shape[2:])
        if all(before == after and 2 * before <= size for (before, after), size in zip(pairs, self.size, strict=True)):
            sides = [before for before, _ in pairs]
            if self.way == "max":
                return _MAX[len(sides)](x, self.size, self.strides, sides)
            return _MEAN[len(sides)](x, self.size, self.strides, sides, count_include_pad=False)
        if self.way == "max":
            return _MAX[len(pairs)](padded(x, pairs, -math.inf), self.size, self.strides)
        pool = _MEAN[len(pairs)]
        share = pool(padded(x.new_ones(1, 1, *x.shape[2:]), pairs), self.size, self.strides)
        return pool(padded(x, pairs), self.size, self.strides) / share

    def _amounts(self, lengths: tuple[int, ...]) -> list[tuple[int, int]]:
        if self.pads == "valid":
            return [(0, 0)] * len(lengths)
        if self.pads == "same":
            return [same_padding(*axis) for axis in zip(lengths, self.size, self.strides, strict=True)]
        return [(int(amount), int(amount)) for amount in self.pads]


class AdaptivePool(nn.Module):
    """Maximum or mean over windows, for a fixed output size.

    Args:
        way: `max` or `mean`.
        size: Output size of each axis.
    """

    def __init__(self, way: str, size: Shape) -> None:
        super().__init__()
        self.size, self._pool = size, _ADAPTIVE[way, len(size)]

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (n, channels, ...)."""
        return self._pool(x, self.size)


class GlobalPool(nn.Module):
    """Maximum or mean of each channel.

    Args:
        way: `max` or `mean`.
        keep: Keep the spatial axes with size 1.
    """

    def __init__(self, way: str, keep: bool) -> None:
        super().__init__()
        self.way, self.keep = way, keep

    def forward(self, x: Tensor, *, masks: Sequence[Tensor | None] = ()) -> Tensor:
        """Return shape (n, channels), or (n, channels, 1, ...).

        Args:
            x: Shape (n, channels, ...).
            masks: For a mean over steps, the mask, True for steps that count, (n, steps).
        """
        axes = tuple(range(2, x.ndim))
        if masks and masks[0] is not None:
            counts = masks[0].unsqueeze(1).to(x.dtype)
            return (x * counts).sum(axes, self.keep) / counts.sum(axes, self.keep)
        return x.amax(axes, self.keep) if self.way == "max" else x.mean(axes, self.keep)


def pool(keys: Keys, shape: Shape, dims: int, way: str) -> nn.Module:
    """MaxPooling1D to 3D, AveragePooling1D to 3D."""
    keys.rank(shape, dims)
    keys.channels_last()
    size = keys.sizes("pool_size", dims, 2)
    strides = keys.sizes("strides", dims, size)
    if isinstance(keys.value("padding", "valid"), str):
        return Pool(way, size, strides, keys.choice("padding", ("valid", "same"), "valid"))
    return Pool(way, size, strides, keys.sizes("padding", dims, least=0))


def adaptive_pool(keys: Keys, shape: Shape, dims: int, way: str) -> nn.Module:
    """AdaptiveMaxPooling1D to 3D, AdaptiveAveragePooling1D to 3D."""
    keys.rank(shape, dims)
    keys.channels_last()
    return AdaptivePool(way, keys.sizes("output_size", dims))


def global_pool(keys: Keys, shape: Shape, dims: int, way: str) -> nn.Module:
    """GlobalMaxPooling1D to 3D, GlobalAveragePooling1D to 3D."""
    keys.rank(shape, dims)
    keys.channels_last()
    return GlobalPool(way, keys.flag("keepdims", False))
