"""What happens to every image once, before the cache: the same for all folds and runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import PIL
from PIL import Image

from mlpipe.data.images import Pixels


@dataclass(frozen=True)
class Preprocessing:
    """A deterministic change of one image to a fixed size.

    Attributes:
        id: The name that the cache's folder begins with.
        channels: 1 for grey, 3 for colour.
        size: Height and width in pixels; None keeps what the image has.
        resize: How the shape is met.
    """

    id: str
    channels: int
    size: int | None
    resize: str

    def __call__(self, pixels: Pixels) -> Pixels:
        """Pixels of shape (height, width, channels) to (size, size, channels)."""
        if self.size is None or pixels.shape[:2] == (self.size, self.size):
            return pixels
        image = Image.fromarray(pixels[:, :, 0] if self.channels == 1 else pixels)
        resized = np.asarray(image.resize((self.size, self.size), Image.Resampling.BILINEAR))
        return resized[:, :, np.newaxis] if self.channels == 1 else resized

    def key(self) -> dict[str, Any]:
        """What decides the result, for the cache's hash."""
        return {
            "target": "standard",
            "channels": self.channels,
            "size": self.size,
            "resize": self.resize,
            "pillow": PIL.__version__,
        }


def standard(
    channels: int, *, id: str, size: Annotated[int, ">= 1", "<= 8192"] | None, resize: Literal["squash"] = "squash"
) -> Preprocessing:
    """Resize to a square by bilinear interpolation with antialiasing (Pillow).

    Args:
        channels: 1 for grey, 3 for colour; the program gives it.
        id: The name that the cache's folder begins with.
        size: Height and width in pixels; None keeps the pixels as they are.
        resize: `squash` changes the shape to a square.
    """
    return Preprocessing(id, channels, size, resize)
