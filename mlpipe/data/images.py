"""Decode image files the same way everywhere: upright, 8 bit, grey or colour, or refused with a reason."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

Pixels = npt.NDArray[np.uint8]

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".jp2"}
)
# Pillow opens MPO files as JPEG, and knows no format of that name.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000")
# What Pillow refuses by itself, so that the limit is the same for every format.
MOST_PIXELS = 2 * 89_478_485
GREY_MODES = frozenset({"1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N", "F", "LA", "La"})


# What Pillow raises for damaged files, its documented errors and those that slip through its plugins.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    ArithmeticError,
    LookupError,
    TypeError,
    struct.error,
    Image.DecompressionBombError,
)


class UnreadableImageError(Exception):
    """An image that cannot be used; the message says why."""


def header(content: bytes) -> tuple[int, int, int]:
    """Width, height and channels (1 or 3) of an encoded image, without decoding it.

    Raises:
        UnreadableImageError: When it is no image, or is larger than `MOST_PIXELS`.
    """
    with _opened(content) as image:
        return image.width, image.height, 1 if image.mode in GREY_MODES else 3


def decode(content: bytes, channels: int) -> Pixels:
    """The pixels of an encoded image, turned upright as its EXIF orientation says.

    16-bit grey is scaled to 8 bit; transparency is dropped; of an animation the first picture is used.

    Args:
        content: The bytes of the file.
        channels: 1 for grey, 3 for colour.

    Returns:
        Shape (height, width, channels).

    Raises:
        UnreadableImageError: When it is no image, truncated, or larger than `MOST_PIXELS`.
    """
    with _opened(content) as image:
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
            pixels = np.asarray(_eight_bit(upright).convert("L" if channels == 1 else "RGB"))
        except _DAMAGED as error:
            raise UnreadableImageError(_reason(error)) from error
    return pixels[:, :, np.newaxis] if channels == 1 else pixels


def _opened(content: bytes) -> Image.Image:
    if not content:
        raise UnreadableImageError("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not an image in a known format") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"more than {MOST_PIXELS:,} pixels") from error
    except _DAMAGED as error:
        raise UnreadableImageError(_reason(error)) from error
    if image.width * image.height > MOST_PIXELS:
        raise UnreadableImageError(f"{image.width} x {image.height} is more than {MOST_PIXELS:,} pixels")
    return image


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        most = 255.0 if image.mode == "F" and values.max(initial=0) <= 255 else 65535.0
        return Image.fromarray(np.clip(values * (255.0 / most) + 0.5, 0, 255).astype(np.uint8))
    return image


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
