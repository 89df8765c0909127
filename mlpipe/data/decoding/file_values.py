"""Raw values of an image file before any conversion: colours and opacity separately, in full bit depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from mlpipe.data.decoding import transparency
from mlpipe.data.decoding.tiff import Numbers
from mlpipe.data.decoding.value_rules import PLAIN, Decoding

Pixels = npt.NDArray[Any]
# Offsets of the bit depth and the colour type in a PNG file.
PNG_BITS, PNG_TYPE = 24, 25
_GREY, _COLOUR, _GREY_ALPHA = 0, 2, 4
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Header:
    """Header of an encoded image.

    Attributes:
        width: Width in pixels, before the orientation is applied.
        height: Height in pixels, likewise.
        channels: 1 grey, 3 colour, 4 colour and transparency.
        bits: 8 or 16 per channel; 16 also for deeper files.
        decoder: The library that `decode` uses for it.
        orientation: The EXIF orientation that remains to be undone, 1 to 8.
        has_opacity: Whether pixels may be transparent.
        open_range: The type of its values if that does not define which value is white; empty if it does.
        is_respread: Whether `mlpipe.data.decoding.value_rules.RULE` affects its pixels even without transparency.
    """

    width: int
    height: int
    channels: int
    bits: int
    decoder: Literal["simplejpeg", "pillow", "opencv"]
    orientation: int
    has_opacity: bool = False
    open_range: str = ""
    is_respread: bool = False


@dataclass(frozen=True)
class File:
    """An opened image file.

    Attributes:
        content: Its bytes.
        image: The image opened by Pillow; None: only OpenCV can open it.
        header: Its header.
        numbers: The description of the values in a TIFF.
        white: The value of white in a PGM, if it is not 255; None in other files.
    """

    content: bytes
    image: Image.Image | None
    header: Header
    numbers: Numbers | None
    white: int | None = None

    @property
    def is_deep_grey(self) -> bool:
        """Return whether it has grey values of more than 8 bits."""
        return self.image is not None and (self.image.mode.startswith("I;16") or self.image.mode == "I")


def reduction(width: int, height: int, least: int | None) -> int:
    """Return the factor by which a JPEG is reduced while it is decoded, which takes a third of the time: 8, 4, 2 or 1.

    A reduced image is cropped to a multiple of the factor, and resizing it would shift it; so both sides must be multiples,
    as for cameras, and then a resize by another factor of two or more differs by a grey level or two.

    Args:
        width: The full width in pixels.
        height: The full height.
        least: The minimum length of the shorter side; None: no reduction.
    """
    if least is None:
        return 1
    fitting = (parts for parts in (8, 4, 2) if width % parts == height % parts == 0)
    return next((parts for parts in fitting if min(width, height) // parts >= least), 1)


def png_kind(content: bytes) -> tuple[int, int]:
    """Return the bit depth and colour type of a PNG."""
    return (content[PNG_BITS], content[PNG_TYPE]) if len(content) > PNG_TYPE else (8, 0)


def needs_opencv(file: File) -> bool:
    """Return whether Pillow would read a 16-bit PNG with transparency in 8 bits or with wrong colours."""
    image, (bits, kind) = file.image, png_kind(file.content)
    if image is None or image.format != "PNG" or bits != 16:
        return False
    return kind == _GREY_ALPHA or (kind == _COLOUR and has_key(image))


def is_grey(image: Image.Image, content: bytes) -> bool:
    """Return whether an opened image has no colours, by its mode or because its palette is all grey."""
    if image.format == "PNG" and png_kind(content)[1] == _GREY_ALPHA:
        return True
    if image.mode not in ("P", "PA") or image.palette is None:
        return False
    layout = image.palette.rawmode or image.palette.mode
    listed = np.frombuffer(bytes(image.palette.palette), np.uint8)
    if layout.endswith(";L"):
        # A TIFF palette stores all reds, then all greens, then all blues.
        colours = listed[: len(listed) // 3 * 3].reshape(3, -1).T
    else:
        size = 4 if len(layout) == 4 else 3
        colours = listed[: len(listed) // size * size].reshape(-1, size)[:, :3]
    return bool(len(colours) and (colours == colours[:, :1]).all())


def has_key(image: Image.Image) -> bool:
    """Return whether an opened image marks single colours as transparent."""
    return "transparency" in image.info


def opacity_of(image: Image.Image, content: bytes) -> Pixels | None:
    """Return the opacity of a loaded 8-bit image, shape (height, width, 1), uint8; None: it has none."""
    if image.mode in ("L", "1") and has_key(image):
        key, (bits, kind) = image.info["transparency"], png_kind(content)
        if not isinstance(key, int):
            return None
        # Pillow scales greys of 2 and 4 bits to 0 to 255, but keeps the transparent grey as it is stored.
        spread = 255 // (2**bits - 1) if image.mode == "L" and kind == _GREY and bits in (2, 4) else 1
        greys = transparency.array_of(image.convert("L"))[:, :, np.newaxis]
        return transparency.in_strips(lambda strip: np.where(strip == key * spread, 0, 255).astype(np.uint8), greys)
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or (image.mode in ("P", "RGB") and has_key(image)):
        return np.asarray(transparency.array_of(straight_alpha_image(image).getchannel("A"))[:, :, np.newaxis])
    return None


def straight_alpha_image(image: Image.Image) -> Image.Image:
    """Return a loaded image as RGBA with straight (not premultiplied) alpha."""
    return image if image.mode == "RGBA" else (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def deep_grey(image: Image.Image, numbers: Numbers | None) -> tuple[Pixels, Pixels | None]:
    """Return grey values of more than 8 bits and their opacity, each of shape (height, width, 1), uint16.

    Args:
        image: The loaded image, of mode `I` or `I;16`.
        numbers: The description of the values in a TIFF; None for other files.
    """
    values = transparency.array_of(image)[:, :, np.newaxis]
    values = transparency.in_strips(lambda strip: np.clip(strip, 0, 65535).astype(np.uint16), values)
    key = image.info.get("transparency")
    opacity = np.where(values == key, 0, 65535).astype(np.uint16) if isinstance(key, int) else None
    if numbers is not None and numbers.bits == 12:
        values = ((values.astype(np.uint32) * 65535 + 2047) // 4095).astype(np.uint16)
    # Pillow inverts 8-bit greys, but not deeper ones.
    if numbers is not None and numbers.zero_is_white:
        return np.asarray(65535 - values, np.uint16), opacity
    return values, opacity


def by_opencv(content: bytes) -> Pixels:
    """Decode with OpenCV in full bit depth, shape (height, width, 1, 3 or 4), in RGB order.

    Raises:
        OSError: If it cannot be read.
    """
    import cv2

    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("damaged or truncated")
    if pixels.ndim == 2:
        return np.asarray(pixels[:, :, np.newaxis])
    order = [2, 1, 0, *range(3, pixels.shape[2])]
    # In place, because the image may be large.
    for row in pixels:
        row[:] = row[:, order]
    return np.asarray(pixels)


def unpremultiplied_colours(colours: Pixels, opacity: Pixels) -> Pixels:
    """Convert premultiplied 16-bit colours to straight ones."""

    def divided(strip: Pixels, opacity_strip: Pixels) -> Pixels:
        share = np.maximum(opacity_strip.astype(np.uint64), 1)
        whole = (strip.astype(np.uint64) * 65535 + share // 2) // share
        return np.asarray(np.minimum(whole, 65535), np.uint16)

    return transparency.in_strips(divided, colours, opacity)


def open_numbers(image: Image.Image | None, content: bytes, numbers: Numbers | None) -> tuple[Pixels, Pixels | None]:
    """Return the values of a file whose type does not define white, and their opacity, see `shares`.

    Args:
        image: The image opened by Pillow; None: Pillow cannot open it.
        content: The bytes of the file.
        numbers: The description of the values in a TIFF; None for other files.

    Returns:
        Shapes (height, width, 1 or 3) and (height, width, 1), of the file's dtype, or float64.
    """
    try:
        values = by_opencv(content)
    except OSError:
        if image is None or (numbers is not None and (numbers.type, numbers.bits) == ("unsigned", 32)):
            raise
        image.load()
        values = transparency.array_of(image)[:, :, np.newaxis]
    opacity = values[:, :, 3:] if values.shape[2] == 4 else None
    values = values[:, :, :3]
    if numbers is not None and numbers.type == "unsigned" and numbers.bits in (10, 14):
        # OpenCV scales them to 16 bits.
        values = values / 2.0 ** (16 - numbers.bits)
    return values, opacity


def shares(opacity: Pixels) -> Pixels:
    """Return opacity as float64 from 0 to 1, from integers of its dtype or from shares."""
    most = float(np.iinfo(opacity.dtype).max) if opacity.dtype.kind in "iu" else 1.0
    return np.clip(opacity / most, 0.0, 1.0)


def extent(values: Pixels, opacity: Pixels | None) -> tuple[float, float]:
    """Return the smallest and the largest visible value; NaN if any of them is NaN.

    Args:
        values: Shape (height, width, channels).
        opacity: Shape (height, width, 1); transparent pixels are not visible. None: all are.
    """
    visible_values = values if opacity is None else values[opacity[:, :, 0] > 0]
    if not visible_values.size:
        return 0.0, 0.0
    return (
        (float(visible_values.min()), float(visible_values.max()))
        if np.isfinite(visible_values).all()
        else (float("nan"), float("nan"))
    )


def pixels_in_range(values: Pixels, opacity: Pixels | None, channels: int, bits: int, how: Decoding) -> Pixels:
    """Convert values to pixels by the task's value range: its ends become black and white.

    Args:
        values: Shape (height, width, 1 or 3).
        opacity: As for `shares`, shape (height, width, 1); None: nothing is transparent.
        channels: 1, 3 or 4.
        bits: 8 or 16, of the pixels.
        how: The task's rule, with a range.

    Raises:
        ValueError: If values lie outside of the range or are NaN.
    """
    assert how.value_range is not None
    low, high = how.value_range
    least, most = extent(values, opacity)
    if not (low <= least and most <= high):
        if least != least:
            raise ValueError("has values that are no numbers (NaN or infinite)")
        raise ValueError(f"has values from {least:g} to {most:g}, outside task.value_range [{low:g}, {high:g}]")
    largest = 65535 if bits == 16 else 255

    def of(strip: Pixels, opacity_strip: Pixels | None = None) -> Pixels:
        pixels = (strip.astype(np.float64) - low) / (high - low)
        share = None if opacity_strip is None else shares(opacity_strip)
        if share is not None:
            pixels = np.where(share > 0, pixels, 0.0)
        if channels == 4:
            pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
            pixels = np.concatenate([pixels, np.ones_like(pixels[:, :, :1]) if share is None else share], axis=2)
        elif share is not None:
            pixels = pixels * share + (how.background == "white") * (1.0 - share)
        if channels == 1 and pixels.shape[2] == 3:
            pixels = (pixels @ np.array(_LUMA))[:, :, np.newaxis]
        if pixels.shape[2] < channels:
            pixels = np.repeat(pixels, channels, axis=2)
        return np.rint(np.clip(pixels, 0.0, 1.0) * largest).astype(np.uint16 if bits == 16 else np.uint8)

    return transparency.in_strips(of, values, *(() if opacity is None else (opacity,)))


def eight_bit(pixels: Pixels) -> Pixels:
    """Scale pixels of 16 bits to 8."""
    return transparency.in_strips(
        lambda strip: np.clip(strip * (255.0 / 65535.0) + 0.5, 0, 255).astype(np.uint8), pixels
    )


def deep_colour(file: File, channels: int, how: Decoding) -> Pixels:
    """Decode 16-bit colours, or greys with opacity, to 1, 3 or 4 channels; upright only if OpenCV applies the orientation.

    Args:
        file: The file.
        channels: The wanted number of channels.
        how: The task's rule.
    """
    pixels, is_grey = by_opencv(file.content), file.header.channels == 1
    if pixels.shape[2] == 4 and (int(pixels[:, :, 3].min()) < 65535 or is_grey):
        colours, opacity = pixels[:, :, :3], pixels[:, :, 3:]
        if file.numbers is not None and file.numbers.is_premultiplied:
            colours = unpremultiplied_colours(colours, opacity)
        return transparency.in_channels(colours[:, :, :1] if is_grey else colours, opacity, channels, how.background)
    if channels == 1:
        return transparency.luma(pixels[:, :, :3])
    if channels == 4 and pixels.shape[2] == 3:
        return np.dstack([pixels, np.full_like(pixels[:, :, :1], 65535)])
    return np.ascontiguousarray(pixels[:, :, :channels])


def by_simplejpeg(file: File, channels: int, least: int | None) -> Pixels:
    """Decode a JPEG to 1 or 3 channels, with a shorter side of at least `least` pixels (`reduction`)."""
    header = file.header
    parts = reduction(header.width, header.height, least)
    height, width = header.height // parts, header.width // parts
    colours = "GRAY" if channels == 1 else "RGB"
    return np.asarray(
        simplejpeg.decode_jpeg(
            file.content, colours, fastdct=False, fastupsample=False, min_height=height, min_width=width
        )
    )


def plain(image: Image.Image) -> Image.Image:
    """Return an image in a mode that Pillow can convert to every other mode."""
    return image.convert("LA") if image.mode == "La" else image


def stored(file: File, least: int | None) -> tuple[Pixels, Pixels | None]:
    """Return the stored values of a file, shape (height, width, 1 or 3), and its opacity, see `shares`."""
    header = file.header
    if header.open_range:
        return open_numbers(file.image, file.content, file.numbers)
    if header.decoder == "simplejpeg":
        return by_simplejpeg(file, 1 if header.channels == 1 else 3, least), None
    image = file.image
    assert image is not None
    if header.decoder == "opencv":
        pixels = deep_colour(file, 4, PLAIN)
        return pixels[:, :, : 1 if header.channels == 1 else 3], pixels[:, :, 3:]
    image.load()
    if file.is_deep_grey:
        return deep_grey(image, file.numbers)
    opacity = opacity_of(image, file.content)
    colours = transparency.array_of(plain(image).convert("L" if header.channels == 1 else "RGB"))
    return colours.reshape(*colours.shape[:2], -1), opacity


def mask_values(file: File) -> Pixels:
    """Return the values of a mask, shape (height, width), or with channels."""
    image, bits = file.image, 8
    if file.header.open_range:
        values = open_numbers(image, file.content, file.numbers)[0]
        return values.astype(np.int64) if values.dtype.kind in "iu" else values
    assert image is not None
    if file.header.decoder == "opencv":
        return by_opencv(file.content)
    image.load()
    values = transparency.array_of(image)
    values = values.astype(np.uint8) if image.mode == "1" else values
    if image.mode == "L" and image.format == "PNG":
        bits = png_kind(file.content)[0]
    elif image.mode == "L" and file.numbers is not None:
        bits = file.numbers.bits
    # Pillow scales greys of 2 and 4 bits, and those of a PGM relative to its largest value, to 0 to 255.
    if bits in (2, 4):
        return np.asarray(values // (255 // (2**bits - 1)))
    most = file.white
    return values if most is None else np.rint(values * (most / (255 if most <= 255 else 65535))).astype(np.int32)


def white_value(image: Image.Image) -> int | None:
    """Return the maximum value of a PGM that Pillow scales to 8 or 16 bits; loading the image discards it."""
    tiles = getattr(image, "tile", []) if image.format == "PPM" and image.mode in ("L", "I") else []
    options = tiles[0][3] if tiles else None
    return int(options[1]) if isinstance(options, tuple) and len(options) == 2 and options[1] != 255 else None
