"""Masks of a blend of two images: gradients, cells of a grid, colours.

All values are from 0 to 1, the share of the first image. Names in brackets are those of imgaug 0.4, whose documentation the
formulas follow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from mlpipe.data.augment.samples import Batch

# Steps of a hue, in OpenCV's scale of 8 bits.
_HUES = 256


def gradient(
    sides: tuple[int, int], axis: Literal["x", "y"], ends: tuple[float, float], places: tuple[float, float]
) -> Batch:
    """Return a mask that rises along one axis (LinearGradientMaskGen).

    Args:
        sides: Height and width in pixels.
        axis: Along the width, or along the height.
        ends: The value before and the value after the gradient.
        places: Where it starts and where it ends, as shares of the side; with the end before the start, the
            gradient lies between both and its values are 1 minus these.

    Returns:
        Shape (height, width).
    """
    side = sides[axis == "x"]
    first, last = (min(max(int(place * side), 0), side) for place in places)
    start, end = sorted((first, last))
    line = np.concatenate([np.full(start, ends[0]), np.linspace(*ends, end - start), np.full(side - end, ends[1])])
    values = 1 - line if last < first else line
    mask: Batch = np.broadcast_to(values[np.newaxis] if axis == "x" else values[:, np.newaxis], sides).copy()
    return mask


def cells(sides: tuple[int, int], values: npt.NDArray[np.floating]) -> Batch:
    """Return a mask of rectangular cells of one size (RegularGridMaskGen).

    Pixels that are left over at the borders mirror their neighbours.

    Args:
        sides: Height and width in pixels.
        values: The value of each cell, shape (rows, columns), at most one for each pixel of a side.

    Returns:
        Shape (height, width).
    """
    inner = np.repeat(np.repeat(values, sides[0] // values.shape[0], 0), sides[1] // values.shape[1], 1)
    missing = [side - length for side, length in zip(sides, inner.shape, strict=True)]
    mask: Batch = np.pad(inner, [(gap // 2, gap - gap // 2) for gap in missing], mode="reflect")
    return mask


def checkerboard(rows: int, columns: int) -> npt.NDArray[np.float64]:
    """Return the values of a checkerboard's cells, shape (rows, columns); the first is 1 (CheckerboardMaskGen)."""
    values: npt.NDArray[np.float64] = (np.add.outer(np.arange(rows), np.arange(columns)) % 2 == 0).astype(np.float64)
    return values


def hues(hue: npt.NDArray[np.uint8], shares: Sequence[float], first: int, smoothness: float) -> Batch:
    """Return a mask by the hue of each pixel (SomeColorsMaskGen).

    Args:
        hue: Hues in OpenCV's 180 steps, shape (height, width).
        shares: Values of neighbouring ranges of hues, which are equally wide on a scale of 256.
        first: The hue at which the first range starts, on that scale.
        smoothness: How far values of neighbouring ranges mix, from 0 to 1; at 1 over a standard deviation of 10 hues.

    Returns:
        Shape (height, width).
    """
    import cv2

    table: Batch = np.roll(np.repeat(np.asarray(shares, np.float64), math.ceil(_HUES / len(shares)))[:_HUES], -first)
    deviation = 10 * smoothness
    if deviation > 0.01:
        width = max(int(deviation * 2.5), 3) | 1
        # A hue is an angle, so that the filter goes round; OpenCV has no border for it.
        around = np.concatenate([table[-width:], table, table[:width]])[np.newaxis]
        table = cv2.GaussianBlur(around, (width, 1), deviation, borderType=cv2.BORDER_REPLICATE)[0, width:-width]
    mask: Batch = np.rint(table * 255)[hue] / 255
    return mask
