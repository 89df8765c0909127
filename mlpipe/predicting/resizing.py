"""Pillow's antialiased resize, and OpenCV's linear one, as tensor operations, for files that take images of any size.

A resize is two passes, across and down, each a product with a matrix of weights (see Pillow's
`src/libImaging/Resample.c`). For 8 bits a weight is a whole number of 2^-22, so that sums are exact in double precision, and
each pass returns whole numbers again; for floats each pass returns single precision. OpenCV weighs the four nearest pixels with
whole numbers of 2^-11 (its `modules/imgproc/src/resize.cpp`). Both are bit-exact for 8-bit images. Only operations that ONNX
has are used, and none depends on the size of an image while a graph is exported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import PIL
import torch
from torch import Tensor

# Fractional bits of the weights for 8-bit images.
_ONE = 2.0**22
# From version 13 on, Pillow resizes the height first if that reduces the data much more.
_PILLOW, _DOWN_FIRST = int(PIL.__version__.partition(".")[0]), 13


def _box(places: Tensor) -> Tensor:
    return ((places > -0.5) & (places <= 0.5)).double()


def _triangle(places: Tensor) -> Tensor:
    return (1 - places.abs()).clamp(min=0)


def _cubic(places: Tensor) -> Tensor:
    """Keys 1981, with the parameter -0.5."""
    far = places.abs()
    inner = (1.5 * far - 2.5) * far * far + 1
    outer = (((far - 5) * far + 8) * far - 4) * -0.5
    return torch.where(far < 1, inner, torch.where(far < 2, outer, 0.0))


def _lanczos(places: Tensor) -> Tensor:
    return torch.where((places >= -3) & (places < 3), _sinc(places) * _sinc(places / 3), 0.0)


def _sinc(places: Tensor) -> Tensor:
    turned = torch.where(places == 0, 1.0, places * math.pi)
    return torch.where(places == 0, 1.0, turned.sin() / turned)


# Each filter, and its support in pixels of the larger of both images.
FILTERS: Mapping[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}


# OpenCV's filter, whose support does not grow with the reduction.
LINEAR = "linear"
# Fractional bits of its weights for 8-bit images, and the bits that are dropped after summing across.
_OF_LINEAR, _LOST = 2.0**11, 2.0**4


def weights(before: Any, after: Any, name: str) -> Tensor:
    """Return the weight of each old pixel in each new one, along one side.

    Args:
        before: The number of old pixels.
        after: The number of new pixels.
        name: One of `FILTERS`.

    Returns:
        Shape (after, before), float64; rows sum to one.
    """
    shape, support = FILTERS[name]
    old, new = (torch.arange(count, dtype=torch.float64) for count in (before, after))
    scale = (old[-1] + 1) / (new[-1] + 1)
    reduction = scale.clamp(min=1)
    centre, reach = (new[:, None] + 0.5) * scale, support * reduction
    inside = (old >= torch.floor(centre - reach + 0.5)) & (old < torch.floor(centre + reach + 0.5))
    matrix = torch.where(inside, shape((old - centre + 0.5) * (1 / reduction)), 0.0)
    # Summed from the first to the last, as in Pillow.
    return matrix / matrix.cumsum(1)[:, -1:]


def resized(images: Tensor, high: Any, wide: Any, name: str = "bilinear") -> Tensor:
    """Return images as Pillow resizes them: whole numbers for 8-bit images, floats for others.

    Args:
        images: Shape (n, channels, height, width), uint8, or else numbers of any type.
        high: The wanted height.
        wide: The wanted width.
        name: One of `FILTERS`, or `LINEAR`.

    Returns:
        Shape (n, channels, high, wide), float32.
    """
    height, width = images.shape[2:]
    if name == LINEAR:
        return _linear(images, _neighbours(height, high), _neighbours(width, wide))
    across, down = weights(width, wide, name), weights(height, high, name)
    ended = _as_float
    if images.dtype == torch.uint8:
        across, down, ended = _as_whole(across), _as_whole(down), _as_byte

    # Values are in double precision only while they are summed, because large images take much memory.
    def across_first(values: Tensor, across: Tensor, down: Tensor) -> Tensor:
        return ended(torch.matmul(down, ended(torch.matmul(values.double(), across.mT)).double()))

    def down_first(values: Tensor, across: Tensor, down: Tensor) -> Tensor:
        return ended(torch.matmul(ended(torch.matmul(down, values.double())).double(), across.mT))

    is_first: Any = False
    if _PILLOW >= _DOWN_FIRST:
        is_first = height - high > torch.sym_max(0, 2 * (width - wide))
    if isinstance(is_first, bool):
        return (down_first if is_first else across_first)(images, across, down)
    # An exported graph must work for images of all sizes.
    chosen: Tensor = torch.cond(is_first, down_first, across_first, (images, across, down))
    return chosen


def _as_whole(weights: Tensor) -> Tensor:
    """Round weights to whole numbers of 2^-22, halves away from zero."""
    parts = weights * _ONE
    return torch.where(parts < 0, torch.ceil(parts - 0.5), torch.floor(parts + 0.5))


def _as_byte(sums: Tensor) -> Tensor:
    return torch.floor((sums + _ONE / 2) / _ONE).clamp(0, 255).float()


def _as_float(sums: Tensor) -> Tensor:
    return sums.float()


class _Neighbours(NamedTuple):
    """The two old pixels whose centres enclose a new one, along one side, and their weights; shape (after,) each."""

    first: Tensor
    second: Tensor
    of_first: Tensor
    of_second: Tensor


def _neighbours(before: Any, after: Any) -> _Neighbours:
    old, new = (torch.arange(size, dtype=torch.float64) for size in (before, after))
    scale = 1 / ((new[-1] + 1) / (old[-1] + 1))
    places = ((new + 0.5) * scale - 0.5).float()
    low = torch.floor(places)
    share = places - low
    first, second = ((low + step).long().clamp(min=0).minimum(old[-1].long()) for step in (0, 1))
    return _Neighbours(first, second, 1 - share, share)


def _linear(images: Tensor, down: _Neighbours, across: _Neighbours) -> Tensor:
    """OpenCV's linear resize: 8-bit sums are whole numbers whose last bits are dropped twice, other sums single precision."""
    is_byte = images.dtype == torch.uint8
    values = images.double() if is_byte else images.float()
    if is_byte:
        down, across = (
            neighbours._replace(of_first=_as_weight(neighbours.of_first), of_second=_as_weight(neighbours.of_second))
            for neighbours in (down, across)
        )
    parts = [
        values.index_select(3, place) * share
        for place, share in ((across.first, across.of_first), (across.second, across.of_second))
    ]
    rows = parts[0] + parts[1]
    rows = torch.floor(rows / _LOST) if is_byte else rows
    parts = [
        rows.index_select(2, place) * share[:, None]
        for place, share in ((down.first, down.of_first), (down.second, down.of_second))
    ]
    if not is_byte:
        return parts[0] + parts[1]
    both = torch.floor(parts[0] / 2.0**16) + torch.floor(parts[1] / 2.0**16)
    return torch.floor((both + 2) / 4).clamp(0, 255).float()


def _as_weight(share: Tensor) -> Tensor:
    return torch.round(share * _OF_LINEAR).double()
