"""Transparent images over white or black, exactly as they look, without the colours hidden in transparent pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpipe.data.decoding.value_rules import Background

Pixels = npt.NDArray[Any]


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
    share = opacity.astype(np.uint64)
    mixed = colours.astype(np.uint64) * share + behind * (most - share)
    return np.asarray((mixed + most // 2) // most, colours.dtype)


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
