"""Transparent images on white or black, exactly as they look, without the colours hidden in transparent pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpipe.data.decoding.value_rules import Background

Pixels = npt.NDArray[Any]
# Values that are processed at a time, because intermediate results take several times the bytes of the pixels.
_STRIP = 1 << 22


def in_strips(change: Callable[..., Pixels], *sources: Pixels | Image.Image) -> Pixels:
    """Apply a pixel-wise function to some rows at a time, so that large images take little more memory than their pixels.

    Args:
        change: Maps rows of each array to the same number of rows.
        sources: Arrays, shape (height, width, ...), and loaded images, of one height; images are also copied in strips,
            because Pillow would copy a whole image twice.
    """
    sizes = [
        (source.height, source.width) if isinstance(source, Image.Image) else (len(source), source[:1].size)
        for source in sources
    ]
    height = sizes[0][0]
    rows = max(1, _STRIP // max(1, *(size for _, size in sizes)))
    if height <= rows:
        return change(*(np.asarray(source) for source in sources))

    def strip(first: int) -> Pixels:
        last = min(first + rows, height)
        return change(
            *(
                np.asarray(source.crop((0, first, source.width, last)))
                if isinstance(source, Image.Image)
                else source[first:last]
                for source in sources
            )
        )

    begin = strip(0)
    pixels = np.empty((height, *begin.shape[1:]), begin.dtype)
    pixels[:rows] = begin
    for first in range(rows, height, rows):
        pixels[first : first + rows] = strip(first)
    return pixels


def array_of(image: Image.Image) -> Pixels:
    """Return the values of a loaded image, as `np.asarray` does."""
    return in_strips(lambda strip: strip, image)


def over(colours: Pixels, opacity: Pixels, background: Background) -> Pixels:
    """Blend colours with a background (Porter & Duff 1984, `over`), rounded to the nearest integer.

    Args:
        colours: Shape (height, width, channels), uint8 or uint16; not premultiplied by the opacity.
        opacity: Shape (height, width, 1), of the same dtype; 0 is transparent.
        background: The colour of the background.

    Returns:
        Shape (height, width, channels), of the same dtype.
    """
    most = int(np.iinfo(colours.dtype).max)
    behind = most if background == "white" else 0

    def laid(strip: Pixels, opacity_strip: Pixels) -> Pixels:
        share = opacity_strip.astype(np.uint64)
        mixed = strip.astype(np.uint64) * share + behind * (most - share)
        return np.asarray((mixed + most // 2) // most, colours.dtype)

    return in_strips(laid, colours, opacity)


def in_channels(colours: Pixels, opacity: Pixels, channels: int, background: Background) -> Pixels:
    """Return a transparent image with 1, 3 or 4 channels; the fourth one is the opacity.

    Args:
        colours: Shape (height, width, 1 or 3), uint8 or uint16.
        opacity: Shape (height, width, 1), of the same dtype.
        channels: The wanted number of channels.
        background: The colour of the background, for 1 or 3 channels.
    """
    if channels == 4:
        return np.concatenate([np.broadcast_to(colours, (*colours.shape[:2], 3)), opacity], axis=2)
    flat = over(colours, opacity, background)
    if channels == 1 and flat.shape[2] == 3:
        return luma(flat)
    return np.repeat(flat, channels, axis=2) if flat.shape[2] < channels else flat


def luma(colours: Pixels) -> Pixels:
    """Return the luma of colours (ITU-R BT.601), shape (height, width, 1), computed as for opaque images."""
    if colours.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(colours)).convert("L"))[:, :, np.newaxis]
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_RGB2GRAY))[:, :, np.newaxis]
