"""What happens to every image once, before the cache: the same for all folds and runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image

from mlpipe.data import images
from mlpipe.data.images import Pixels

Resize = Literal["squash", "short_side", "pad"]


@dataclass(frozen=True)
class Preprocessing:
    """A deterministic change of one image to a fixed size.

    Attributes:
        id: The name that the cache's folder begins with.
        channels: How many channels the images have.
        size: Height and width in pixels; None keeps what the image has.
        resize: How the shape is met.
        keep: `fixed` caches the result; `original` caches the image as it is, and it is resized when it is loaded, after
            augmentations that want the whole of it.
        max_side: With `original`, larger images are reduced so that their longer side has this length; None: never.
    """

    id: str
    channels: int
    size: int | None
    resize: Resize
    keep: Literal["fixed", "original"] = "fixed"
    max_side: int | None = None

    @property
    def is_ragged(self) -> bool:
        """Whether cached images have sizes of their own."""
        return self.keep == "original"

    def __call__(self, pixels: Pixels) -> Pixels:
        """What is cached of an image of shape (height, width, channels)."""
        if not self.is_ragged:
            return self.fixed(pixels)
        height, width = pixels.shape[:2]
        share = (self.max_side or max(height, width)) / max(height, width)
        return pixels if share >= 1 else _resized(pixels, max(round(height * share), 1), max(round(width * share), 1))

    def fixed(self, pixels: Pixels) -> Pixels:
        """An image of shape (height, width, channels) as one of (size, size, channels)."""
        size = self.size
        height, width = pixels.shape[:2]
        if size is None or (height, width) == (size, size):
            return pixels
        if self.resize == "squash":
            return _resized(pixels, size, size)
        share = size / (min if self.resize == "short_side" else max)(height, width)
        changed = _resized(pixels, max(round(height * share), 1), max(round(width * share), 1))
        height, width = changed.shape[:2]
        if self.resize == "short_side":
            top, left = (height - size) // 2, (width - size) // 2
            return np.ascontiguousarray(changed[top : top + size, left : left + size])
        padded = np.zeros((size, size, pixels.shape[2]), pixels.dtype)
        top, left = (size - height) // 2, (size - width) // 2
        padded[top : top + height, left : left + width] = changed
        return padded

    def key(self) -> dict[str, Any]:
        """What decides the result, for the cache's hash."""
        return {
            "target": "standard",
            "channels": self.channels,
            "size": None if self.is_ragged else self.size,
            "resize": None if self.is_ragged else self.resize,
            "keep": self.keep,
            "max_side": self.max_side,
            "libraries": images.decoders(),
        }


def standard(
    channels: int,
    *,
    id: str,
    size: Annotated[int, ">= 1", "<= 8192"] | None,
    resize: Literal["squash", "short_side", "pad"] = "squash",
    keep: Literal["fixed", "original"] = "fixed",
    max_side: Annotated[int, ">= 1"] | None = None,
) -> Preprocessing:
    """Resize to a square by bilinear interpolation with antialiasing (Pillow).

    Args:
        channels: How many channels the images have; the program gives it.
        id: The name that the cache's folder begins with.
        size: Height and width in pixels; None keeps the pixels as they are.
        resize: `squash` changes the shape to a square; `short_side` resizes the shorter side and cuts out the middle; `pad`
            resizes the longer side and fills up with zeros.
        keep: `fixed` caches the resized image; `original` caches it as it is, for augmentations that want the whole.
        max_side: With `original`: the longest side that is kept; larger images are reduced.
    """
    return Preprocessing(id, channels, size, resize, keep, max_side)


def _resized(pixels: Pixels, height: int, width: int) -> Pixels:
    if pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, -1)
    # Pillow knows no other kinds with several channels, and would weigh colours by a fourth one.
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
        for plane in np.moveaxis(pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32), 2, 0)
    ]
    changed = np.stack(planes, axis=2)
    return changed if pixels.dtype.kind == "f" else np.rint(changed).astype(pixels.dtype)
