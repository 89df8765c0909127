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
from PIL.TiffImagePlugin import TiffImageFile

from mlpipe.errors import first_line

Pixels = npt.NDArray[Any]

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".jp2"}
)
# Pillow opens MPO files as JPEG, and knows no format of that name.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000")
# The number of the rules by which files become pixels, part of every cache's name: raised when the same bytes and
# libraries give other pixels.
RULES = 2
# What Pillow refuses by itself, so that the limit is the same for every format.
MOST_PIXELS = 2 * 89_478_485
GREY_MODES = frozenset({"1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N", "F", "LA", "La"})
# How many channels an image file can be decoded to, and Pillow's name for each.
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Files that begin as an image does, and are of a kind that none of the decoders reads.
_UNSUPPORTED = {
    b"\xff\xd8\xff": "a JPEG that is damaged or of an unsupported kind (12 bit, lossless)",
    b"II*\0": "a TIFF that is damaged or of an unsupported kind (more than 4 bands, 32-bit colour)",
    b"MM\0*": "a TIFF that is damaged or of an unsupported kind (more than 4 bands, 32-bit colour)",
    b"\x89PNG": "a PNG whose beginning is damaged",
}
# The tag of a TIFF that holds the bits of each of its channels.
_BITS_PER_SAMPLE = 258

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
        bits: 8 or 16 for each channel; 16 also for what has more.
        decoder: The library that `decode` uses for it.
        orientation: The EXIF orientation that is still to be undone, 1 to 8.
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
        try:
            return _header(image, content)
        except _DAMAGED as error:
            raise UnreadableImageError(first_line(error)) from error


def header(content: bytes) -> tuple[int, int, int]:
    """Width, height and channels (1 or 3) of an encoded image, without decoding it.

    Raises:
        UnreadableImageError: When it is no image, or is larger than `MOST_PIXELS`.
    """
    seen = look(content)
    return seen.width, seen.height, min(seen.channels, 3)


def decode(content: bytes, channels: int, bits: Literal[8, 16] = 8, least: int | None = None) -> Pixels:
    """The pixels of an encoded image, turned upright as its EXIF orientation says.

    Of an animation the first picture is used. Grey and colour JPEG go through simplejpeg, colour PNG and TIFF of 16 bit
    that are wanted in 16 bit through OpenCV, everything else (CMYK JPEG, PNG, ...) through Pillow;
    `scripts/bench_data.py` compares them. The header alone decides, so that the same file always takes the same way.
    simplejpeg refuses what Pillow passes over: a stream whose compressed data is damaged or that lacks its end. The grey
    of a colour JPEG is the luma that it stores, without the detour over clipped colours.

    Args:
        content: The bytes of the file.
        channels: 1 for grey, 3 for colour, 4 for colour and transparency.
        bits: 8 scales 16-bit images down; 16 scales 8-bit images up (255 becomes 65535).
        least: The shortest side that is still of use; a larger JPEG may come at a half, a quarter or an eighth of its size
            (`reduction`). None: the whole of it.

    Returns:
        Shape (height, width, channels), uint8 or uint16.

    Raises:
        UnreadableImageError: When it is no image, damaged, truncated, or larger than `MOST_PIXELS`; or other channels are
            wanted than image files have.
    """
    if channels not in MODES:
        raise UnreadableImageError(f"image files have 1, 3 or 4 channels, {channels} are wanted")
    with _opened(content) as image:
        try:
            seen = _header(image, content)
            if seen.decoder == "simplejpeg" and channels in (1, 3):
                colours = "GRAY" if channels == 1 else "RGB"
                parts = reduction(seen.width, seen.height, least)
                height, width = seen.height // parts, seen.width // parts
                pixels = simplejpeg.decode_jpeg(
                    content, colours, fastdct=False, fastupsample=False, min_height=height, min_width=width
                )
            elif seen.decoder == "opencv" and bits == 16:
                pixels = _by_opencv(content, channels)
            else:
                pixels = _by_pillow(image, channels, bits)
        except _DAMAGED as error:
            raise UnreadableImageError(first_line(error)) from error
    if bits == 16 and pixels.dtype == np.uint8:
        pixels = pixels.astype(np.uint16) * 257
    return _upright(pixels.reshape(*pixels.shape[:2], -1), seen.orientation)


def stored_values(content: bytes) -> Pixels:
    """The values of an encoded mask as the file holds them: greys, or the numbers of a palette's colours.

    Args:
        content: The bytes of the file.

    Returns:
        Shape (height, width), uint8, uint16 or int32, turned upright.

    Raises:
        UnreadableImageError: When it is no image, damaged, or a picture in colour.
    """
    with _opened(content) as image:
        try:
            orientation = _header(image, content).orientation
            image.load()
            values = np.asarray(image, np.uint8) if image.mode == "1" else np.asarray(image)
        except _DAMAGED as error:
            raise UnreadableImageError(first_line(error)) from error
        if values.ndim == 3 and image.mode not in ("LA", "La", "PA") and (values[:, :, :3] != values[:, :, :1]).any():
            raise UnreadableImageError("is a picture in colour, a mask has one number for each pixel (grey or palette)")
    return _upright(values if values.ndim == 2 else values[:, :, 0], orientation)


def reduction(width: int, height: int, least: int | None) -> int:
    """By how much a JPEG is reduced while it is decoded, which costs a third: 8, 4, 2 or 1.

    A reduced picture is cut off at a multiple of that number, and what is resized from it would be shifted; so both sides
    must be multiples, as those of cameras are, and then a resize by another half or more differs by a grey level or two.

    Args:
        width: The whole width in pixels.
        height: The whole height.
        least: What the shorter side must keep at least; None: all.
    """
    if least is None:
        return 1
    fitting = (parts for parts in (8, 4, 2) if width % parts == height % parts == 0)
    return next((parts for parts in fitting if min(width, height) // parts >= least), 1)


def _header(image: Image.Image, content: bytes) -> Header:
    grey = image.mode in GREY_MODES
    channels = 1 if grey else 4 if image.mode in ("RGBA", "RGBa", "PA") or "transparency" in image.info else 3
    # A PNG's header chunk holds bit depth and colour type (2 and 6 are colour) in bytes 24 and 25.
    deep_png = image.format == "PNG" and len(content) > 25 and content[24] == 16 and content[25] in (2, 6)
    deep_tiff = isinstance(image, TiffImageFile) and image.mode in ("RGB", "RGBA") and _bits_of(image) == 16
    deep = deep_png or deep_tiff or image.mode.startswith("I;16") or image.mode == "I"
    jpeg = image.format == "JPEG" and image.mode in ("L", "RGB")
    # Both Pillow and OpenCV turn a TIFF upright by themselves when they decode it.
    orientation = 1 if isinstance(image, TiffImageFile) else image.getexif().get(0x0112, 1)
    return Header(
        image.width,
        image.height,
        channels,
        16 if deep else 8,
        "simplejpeg" if jpeg else "opencv" if deep_png or deep_tiff else "pillow",
        orientation if orientation in range(1, 9) else 1,
    )


def _bits_of(image: TiffImageFile) -> int:
    """The bits of the shallowest channel of a TIFF; 1 is what a file means that does not say."""
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))
    return int(min(bits)) if bits else 1


def _by_pillow(image: Image.Image, channels: int, bits: int) -> Pixels:
    image.load()
    deep = image.mode.startswith("I;16") or image.mode == "I"
    if bits == 16 and deep:
        grey = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)[:, :, np.newaxis]
        colours = np.repeat(grey, min(channels, 3), axis=2)
        return colours if channels < 4 else np.dstack([colours, np.full_like(grey, 65535)])
    return np.asarray(_eight_bit(image).convert(MODES[channels]))


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
        kinds = (kind for start, kind in _UNSUPPORTED.items() if content.startswith(start))
        raise UnreadableImageError(next(kinds, "not an image in a known format")) from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"more than {MOST_PIXELS:,} pixels") from error
    except _DAMAGED as error:
        raise UnreadableImageError(first_line(error)) from error
    if image.width * image.height > MOST_PIXELS:
        raise UnreadableImageError(f"{image.width} x {image.height} is more than {MOST_PIXELS:,} pixels")
    return image


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        most = 255.0 if image.mode == "F" and values.max(initial=0) <= 255 else 65535.0
        return Image.fromarray(np.clip(values * (255.0 / most) + 0.5, 0, 255).astype(np.uint8))
    return image
