"""Decode image files the same way everywhere: upright, 8 or 16 bit, grey or colour, or refused with a reason."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import PIL
import simplejpeg
from PIL import Image, UnidentifiedImageError

Pixels = npt.NDArray[Any]

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
    cv2.error,
)


class UnreadableImageError(Exception):
    """An image that cannot be used; the message says why."""


@dataclass(frozen=True)
class Header:
    """What an encoded image says of itself.

    Attributes:
        width: In pixels, before its orientation is applied.
        height: Alike.
        channels: 1 grey, 3 colour, 4 colour and transparency.
        bits: 8 or 16 for each channel.
        decoder: The library that `decode` uses for it.
        orientation: The EXIF orientation, 1 to 8.
    """

    width: int
    height: int
    channels: int
    bits: int
    decoder: Literal["simplejpeg", "pillow", "opencv"]
    orientation: int


def decoders() -> dict[str, str]:
    """The libraries that decode, with their versions: different ones may give different pixels."""
    return {"pillow": PIL.__version__, "simplejpeg": version("simplejpeg"), "opencv": cv2.__version__}


def look(content: bytes) -> Header:
    """The header of an encoded image, without decoding it.

    Raises:
        UnreadableImageError: When it is no image, or is larger than `MOST_PIXELS`.
    """
    with _opened(content) as image:
        return _header(image, content)


def header(content: bytes) -> tuple[int, int, int]:
    """Width, height and channels (1 or 3) of an encoded image, without decoding it.

    Raises:
        UnreadableImageError: When it is no image, or is larger than `MOST_PIXELS`.
    """
    seen = look(content)
    return seen.width, seen.height, min(seen.channels, 3)


def decode(content: bytes, channels: int, bits: Literal[8, 16] = 8) -> Pixels:
    """The pixels of an encoded image, turned upright as its EXIF orientation says.

    Of an animation the first picture is used. Grey and colour JPEG go through simplejpeg, colour PNG of 16 bit that are
    wanted in 16 bit through OpenCV, everything else through Pillow; `scripts/bench_data.py` compares them.

    Args:
        content: The bytes of the file.
        channels: 1 for grey, 3 for colour, 4 for colour and transparency.
        bits: 8 scales 16-bit images down; 16 scales 8-bit images up.

    Returns:
        Shape (height, width, channels), uint8 or uint16.

    Raises:
        UnreadableImageError: When it is no image, truncated, or larger than `MOST_PIXELS`.
    """
    with _opened(content) as image:
        try:
            seen = _header(image, content)
            if seen.decoder == "simplejpeg" and channels in (1, 3):
                colours = "GRAY" if channels == 1 else "RGB"
                pixels = simplejpeg.decode_jpeg(content, colours, fastdct=False, fastupsample=False)
            elif seen.decoder == "opencv" and bits == 16:
                pixels = _by_opencv(content, channels)
            else:
                pixels = _by_pillow(image, channels, bits)
        except _DAMAGED as error:
            raise UnreadableImageError(_reason(error)) from error
    if bits == 16 and pixels.dtype == np.uint8:
        pixels = pixels.astype(np.uint16) * 257
    return _upright(pixels.reshape(*pixels.shape[:2], -1), seen.orientation)


def _header(image: Image.Image, content: bytes) -> Header:
    grey = image.mode in GREY_MODES
    channels = 1 if grey else 4 if image.mode in ("RGBA", "RGBa", "PA") or "transparency" in image.info else 3
    # A PNG's header chunk holds bit depth and colour type (2 and 6 are colour) in bytes 24 and 25.
    deep_png = image.format == "PNG" and len(content) > 25 and content[24] == 16 and content[25] in (2, 6)
    deep = deep_png or image.mode.startswith("I;16") or image.mode == "I"
    jpeg = image.format == "JPEG" and image.mode in ("L", "RGB")
    orientation = image.getexif().get(0x0112, 1)
    return Header(
        image.width,
        image.height,
        channels,
        16 if deep else 8,
        "simplejpeg" if jpeg else "opencv" if deep_png else "pillow",
        orientation if orientation in range(1, 9) else 1,
    )


def _by_pillow(image: Image.Image, channels: int, bits: int) -> Pixels:
    image.load()
    deep = image.mode.startswith("I;16") or image.mode == "I"
    if bits == 16 and deep:
        grey = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)[:, :, np.newaxis]
        return np.repeat(grey, channels, axis=2)
    return np.asarray(_eight_bit(image).convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))


def _by_opencv(content: bytes, channels: int) -> Pixels:
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("damaged or truncated")
    kind = {1: cv2.COLOR_BGR2GRAY, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGR2RGBA}
    if pixels.shape[2] == 4:
        kind = {1: cv2.COLOR_BGRA2GRAY, 3: cv2.COLOR_BGRA2RGB, 4: cv2.COLOR_BGRA2RGBA}
    return np.asarray(cv2.cvtColor(pixels, kind[channels]))


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation: 5 to 8 exchange height and width."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


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
