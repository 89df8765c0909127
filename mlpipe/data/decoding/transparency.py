"""Transparent images over white or black, exactly as they look, without the colours hidden in transparent pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpipe.data.decoding.value_rules import Background

Pixels = npt.NDArray[Any]
# Numbers of an image that are computed with at a time: in between they take several times the bytes of the pixels.
_STRIP = 1 << 22


def in_strips(change: Callable[..., Pixels], *sources: Pixels | Image.Image) -> Pixels:
    """What a function makes of each pixel by itself, some rows at a time: large images take little more than their pixels.

    Args:
        change: From rows of each array to as many rows.
        sources: Arrays, shape (height, width, ...), and loaded images, of one height; of an image a copy is made in strips too,
            of the whole of which Pillow makes two.
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
    """The numbers of a loaded image, as `np.asarray` gives them."""
    return in_strips(lambda strip: strip, image)


def over(colours: Pixels, opacity: Pixels, background: Background) -> Pixels:
    """Colours laid over a background (Porter & Duff 1984, `over`), rounded to the nearest number.

    Args:
        colours: Shape (height, width, channels), uint8 or uint16; not multiplied by the opacity yet.
        opacity: Shape (height, width, 1), of the same type; 0 is transparent.
        background: What shows through.

    Returns:
        Shape (height, width, channels), of the same type.
    """
    most = int(np.iinfo(colours.dtype).max)
    behind = most if background == "white" else 0

    def laid(strip: Pixels, opacity_strip: Pixels) -> Pixels:
        share = opacity_strip.astype(np.uint64)
        mixed = strip.astype(np.uint64) * share + behind * (most - share)
        return np.asarray((mixed + most // 2) // most, colours.dtype)

    return in_strips(laid, colours, opacity)


def in_channels(colours: Pixels, opacity: Pixels, channels: int, background: Background) -> Pixels:
    """A transparent image in 1, 3 or 4 channels; the fourth one is the opacity.

    Args:
        colours: Shape (height, width, 1 or 3), uint8 or uint16.
        opacity: Shape (height, width, 1), of the same type.
        channels: How many channels are wanted.
        background: What shows through with 1 or 3 of them.
    """
    if channels == 4:
        return np.concatenate([np.broadcast_to(colours, (*colours.shape[:2], 3)), opacity], axis=2)
    flat = over(colours, opacity, background)
    if channels == 1 and flat.shape[2] == 3:
        return luma(flat)
    return np.repeat(flat, channels, axis=2) if flat.shape[2] < channels else flat


def luma(colours: Pixels) -> Pixels:
    """The grey of colours (ITU-R BT.601), shape (height, width, 1), as it is computed for opaque images."""
    if colours.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(colours)).convert("L"))[:, :, np.newaxis]
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_RGB2GRAY))[:, :, np.newaxis]
