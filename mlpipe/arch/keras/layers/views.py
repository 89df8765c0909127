"""Keras's image layers: resizing, and random augmentations, which are drawn for each image in training only.

Source: the documentation of `keras.layers`; new pixels are interpolated, and pixels outside the image follow `fill_mode`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.arch.keras.layers.reading import Keys, Shape

Range = tuple[float, float]
# Fill modes outside the image: Keras's names to torch's.
_FILLS = {"reflect": "reflection", "constant": "zeros", "nearest": "border"}


class Resize(nn.Module):
    """Resizes images with interpolation.

    Args:
        size: Height and width.
        mode: `bilinear` or `nearest-exact`.
    """

    def __init__(self, size: Shape, mode: str) -> None:
        super().__init__()
        self.size, self.mode = size, mode

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (n, channels, height, width)."""
        return F.interpolate(x, self.size, mode=self.mode)


class RandomFlip(nn.Module):
    """Flips each image at random.

    Args:
        axes: The torch axes, each drawn independently.
    """

    def __init__(self, axes: Sequence[int]) -> None:
        super().__init__()
        self.axes = tuple(axes)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        for axis in self.axes if self.training else ():
            drawn = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
            x = torch.where(drawn, x.flip(axis), x)
        return x


class RandomMove(nn.Module):
    """Rotates, zooms and shifts each image around its centre.

    Args:
        turn: Bounds of the rotation as a share of a full turn, counterclockwise.
        zoom: Bounds of the relative increase of the visible height and width; None for the width: as the height.
        shift: Bounds of the shift down and to the right, as a share of height and width.
        mode: `bilinear` or `nearest`.
        fill: Fill mode outside the image, in torch's names.
        value: Fill value for `zeros`.
    """

    def __init__(
        self,
        *,
        turn: Range = (0.0, 0.0),
        zoom: tuple[Range, Range | None] = ((0.0, 0.0), None),
        shift: tuple[Range, Range] = ((0.0, 0.0), (0.0, 0.0)),
        mode: str,
        fill: str,
        value: float,
    ) -> None:
        super().__init__()
        self.turn, self.zoom, self.shift, self.mode, self.fill, self.value = turn, zoom, shift, mode, fill, value

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        if not self.training:
            return x
        angle, high = 2 * math.pi * _drawn(self.turn, x), 1 + _drawn(self.zoom[0], x)
        wide = high if self.zoom[1] is None else 1 + _drawn(self.zoom[1], x)
        down, across = (_drawn(bounds, x) for bounds in self.shift)
        cos, sin, shape = angle.cos(), angle.sin(), x.shape[3] / x.shape[2]
        # Map output pixels to positions in the image, both in coordinates from -1 to 1.
        rows = [[wide * cos, -sin / shape, -2 * across], [sin * shape, high * cos, -2 * down]]
        places = torch.stack([torch.stack(row, 1) for row in rows], 1)
        grid = F.affine_grid(places, list(x.shape), align_corners=False)
        moved = F.grid_sample(x - self.value, grid, self.mode, self.fill, align_corners=False)
        return moved + self.value


class RandomContrast(nn.Module):
    """Multiplies each image's difference from its channel means by a random factor.

    Args:
        factor: Bounds of the factor.
        values: Bounds that values are clipped to.
    """

    def __init__(self, factor: Range, values: Range) -> None:
        super().__init__()
        self.factor, self.values = factor, values

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        if not self.training:
            return x
        mean = x.mean((2, 3), keepdim=True)
        factor = _drawn(self.factor, x)[:, None, None, None]
        return ((x - mean) * factor + mean).clamp(*self.values)


def _drawn(bounds: Range, x: Tensor) -> Tensor:
    """Return a random number between two bounds for each image, shape (n,)."""
    return bounds[0] + (bounds[1] - bounds[0]) * torch.rand(len(x), dtype=x.dtype, device=x.device)


def resize(keys: Keys, shape: Shape) -> nn.Module:
    """Resizing, of the whole image."""
    keys.rank(shape, 2)
    keys.channels_last()
    for key in ("crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"):
        keys.only(key, False)
    for key in ("fill_mode", "fill_value"):
        keys.value(key, "")
    mode = keys.choice("interpolation", ("bilinear", "nearest"), "bilinear")
    return Resize((keys.count("height"), keys.count("width")), {"nearest": "nearest-exact"}.get(mode, mode))


def flip(keys: Keys, shape: Shape) -> nn.Module:
    """RandomFlip."""
    keys.rank(shape, 2)
    keys.channels_last()
    axes = {"horizontal": [3], "vertical": [2], "horizontal_and_vertical": [3, 2]}
    return RandomFlip(axes[keys.choice("mode", tuple(axes), "horizontal_and_vertical")])


def rotation(keys: Keys, shape: Shape) -> nn.Module:
    """RandomRotation."""
    return _move(keys, shape, turn=_bounds(keys, "factor"))


def zoom(keys: Keys, shape: Shape) -> nn.Module:
    """RandomZoom."""
    high = _bounds(keys, "height_factor")
    wide = None if keys.value("width_factor", None) is None else _bounds(keys, "width_factor")
    return _move(keys, shape, zoom=(high, wide))


def translation(keys: Keys, shape: Shape) -> nn.Module:
    """RandomTranslation."""
    return _move(keys, shape, shift=(_bounds(keys, "height_factor"), _bounds(keys, "width_factor")))


def contrast(keys: Keys, shape: Shape) -> nn.Module:
    """RandomContrast; its `factor` is the maximum deviation from 1 in both directions."""
    keys.rank(shape, 2)
    keys.channels_last()
    factor = keys.value("factor")
    less, more = factor if isinstance(factor, list | tuple) and len(factor) == 2 else (factor, factor)
    low, high = _pair(keys, "value_range", keys.value("value_range", (0, 255)))
    _pair(keys, "factor", (less, more))
    return RandomContrast((1 - less, 1 + more), (low, high))


def _move(keys: Keys, shape: Shape, **moves: Any) -> RandomMove:
    """Build a random move; `moves` are arguments of `RandomMove`."""
    keys.rank(shape, 2)
    keys.channels_last()
    fill = _FILLS[keys.choice("fill_mode", tuple(_FILLS), "reflect")]
    mode = keys.choice("interpolation", ("bilinear", "nearest"), "bilinear")
    value = keys.number("fill_value", 0.0)
    return RandomMove(**moves, mode=mode, fill=fill, value=value if fill == "zeros" else 0.0)


def _bounds(keys: Keys, key: str) -> Range:
    """Return two bounds, or symmetric bounds from one number."""
    setting = keys.value(key)
    if isinstance(setting, int | float) and not isinstance(setting, bool):
        return -abs(float(setting)), abs(float(setting))
    return _pair(keys, key, setting)


def _pair(keys: Keys, key: str, given: Any) -> Range:
    listed = list(given) if isinstance(given, list | tuple) else []
    if len(listed) != 2 or not all(isinstance(bound, int | float) and not isinstance(bound, bool) for bound in listed):
        keys.wrong(key, "must be a number or two bounds", got=given)
    return float(listed[0]), float(listed[1])
