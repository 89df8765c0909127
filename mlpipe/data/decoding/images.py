"""Image decoding, the same on every machine: upright, 8 or 16 bit, grey or colour, or refused with a reason.

Transparent pixels are blended with a background, and values whose type does not define white (floating-point, signed,
32 bit) become pixels by the task's value range; `mlpipe.data.decoding.value_rules` combines both in one rule.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from mlpipe import limits
from mlpipe.data.decoding import file_values, tiff, transparency
from mlpipe.data.decoding.file_values import File, Header
from mlpipe.data.decoding.tiff import Numbers
from mlpipe.data.decoding.value_rules import PLAIN, Decoding
from mlpipe.errors import first_line

Pixels = npt.NDArray[Any]

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm", ".jp2"}
)
# Pillow opens MPO files as JPEG and has no separate format of that name.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000")
# The version of the decoding rules, part of every cache's name: raised when the same bytes and libraries give different
# pixels.
RULES = 2
# Pillow's own limit, applied to every format.
MOST_PIXELS = 2 * 89_478_485
GREY_MODES = frozenset({"1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N", "F", "LA", "La"})
# The memory that decoding large images takes, as a multiple of their pixels' bytes: JPEG 2000 uses four bytes per value;
# images with transparency or 16 bits exist twice while they are converted.
_TIMES, _TIMES_OF_MANY = {"JPEG2000": 4, "WEBP": 4}, 2
# The file size from which the header is checked before the file is read, and its largest ratio to the pixels' bytes.
_LARGE, _MOST_STORED = 64 << 20, 2
# The maximum length of a PNM header, and how many numbers are read while Pillow searches for the end of a comment.
_PNM_HEADER, _PER_COMMENT = 1 << 16, 2000
_PNM = re.compile(rb"P[0-6fy]")
_PNM_SIZES = re.compile(
    rb"P(?:[14]|[^\s#]{1,5}(?:\s|#[^\r\n]*[\r\n])+[^\s#]+)(?:(?:\s|#[^\r\n]*[\r\n])+[^\s#]+){2}[\s#]"
)
# The channel counts that an image file can be decoded to, and Pillow's mode for each.
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_ODD_TIFF = (
    "a TIFF that is damaged or of an unsupported kind (2 bands or more than 4, 16-bit floats, complex numbers); "
    "save 32-bit floats in 1, 3 or 4 bands"
)
# Signatures of image formats that no decoder reads.
_UNSUPPORTED = {
    b"\xff\xd8\xff": "a JPEG that is damaged or of an unsupported kind (12 bit, lossless)",
    b"II*\0": _ODD_TIFF,
    b"MM\0*": _ODD_TIFF,
    b"\x89PNG": "a PNG whose beginning is damaged",
}


class UnreadableImageError(Exception):
    """Raised for an image that cannot be used; the message says why."""


def damage_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that decoders raise for damaged files: documented ones, and those that escape Pillow's plugins."""
    import cv2

    return (
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


def decoders() -> dict[str, str]:
    """Return the decoding libraries with their versions, because different versions may give different pixels."""
    import cv2

    return {"pillow": PIL.__version__, "simplejpeg": version("simplejpeg"), "opencv": cv2.__version__}


def picture(source: Path | bytes) -> Image.Image:
    """Open a file with Pillow without reading its pixels; only `FORMATS`, none of which runs an external program.

    Args:
        source: The file, or its bytes.

    Raises:
        OSError: If it cannot be opened, is not a regular file, or not an image in these formats.
        UnreadableImageError: If it has more than `MOST_PIXELS`.
    """
    if isinstance(source, Path):
        limits.require_ordinary(source, limits.IMAGE)
    _require_short_header(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"more than {MOST_PIXELS:,} pixels") from error


def _require_short_header(source: Path | bytes) -> None:
    """Refuse a PNM file with a long header, because Pillow reads comments in the header byte by byte.

    Raises:
        OSError: If it cannot be opened.
        UnreadableImageError: If it is such a file.
    """
    begin = source[:_PNM_HEADER] if isinstance(source, bytes) else limits.beginning(source, _PNM_HEADER)
    if len(begin) == _PNM_HEADER and _PNM.match(begin) and not _PNM_SIZES.match(begin):
        raise UnreadableImageError(f"a PNM file whose header is longer than {_PNM_HEADER:,} bytes")


def content(path: Path) -> bytes:
    """Return the bytes of an image file; a large file is read only if its header declares enough pixels.

    Raises:
        OSError: If it cannot be opened, is not a regular file, or is larger than `limits.IMAGE`.
        UnreadableImageError: If it is not an image, or far larger than its pixels.
    """
    size = limits.require_ordinary(path, limits.IMAGE)
    if size > _LARGE:
        with path.open("rb") as file:
            begin = file.read(32)
        # A TIFF may have many pages, and Pillow does not know all variants.
        if not begin.startswith(tiff.MARKS):
            try:
                image = picture(path)
            except UnidentifiedImageError as error:
                raise UnreadableImageError("not an image in a known format") from error
            except damage_errors() as error:
                raise UnreadableImageError(first_line(error)) from error
            with image:
                pixels = image.width * image.height * _bytes_a_pixel(image, begin)
            if size > _LARGE + _MOST_STORED * pixels:
                wrong = f"{size:,} bytes are more than an image of {image.width} x {image.height} pixels has"
                raise UnreadableImageError(wrong)
    return limits.content(path, limits.IMAGE)


def look(content: bytes) -> Header:
    """Return the header of an encoded image, without decoding it.

    Raises:
        UnreadableImageError: If it is not an image, or is larger than `MOST_PIXELS`.
    """
    return _opened(content).header


def header(content: bytes) -> tuple[int, int, int]:
    """Return width, height and channels (1 or 3) of an encoded image, without decoding it.

    Raises:
        UnreadableImageError: If it is not an image, or is larger than `MOST_PIXELS`.
    """
    facts = look(content)
    return facts.width, facts.height, min(facts.channels, 3)


def decode(
    content: bytes, channels: int, bits: Literal[8, 16] = 8, least: int | None = None, how: Decoding = PLAIN
) -> Pixels:
    """Return the pixels of an encoded image, upright according to its EXIF orientation.

    Only the first frame of an animation is used. simplejpeg decodes grey and colour JPEG; OpenCV decodes 16-bit colour PNG
    and TIFF to 16 bits, 16-bit greys with transparency, and values of an open range; Pillow decodes everything else (CMYK
    JPEG, PNG, ...); `scripts/bench_data.py` compares them. The choice depends only on the header, so that a file is always
    decoded in the same way. simplejpeg refuses what Pillow tolerates: streams with damaged compressed data or without
    an end. The grey of a colour JPEG is its stored luma, without conversion from clipped colours.

    Args:
        content: The bytes of the file.
        channels: 1 for grey, 3 for colour, 4 for colour and transparency.
        bits: 8 scales 16-bit images down; 16 scales 8-bit images up (255 becomes 65535).
        least: The shortest side that is still of use; a larger JPEG may be decoded at a half, a quarter or an eighth of its
            size (`file_values.reduction`). None: the full size.
        how: The task's rule for transparent pixels, and for values that need a range.

    Returns:
        Shape (height, width, channels), uint8 or uint16.

    Raises:
        UnreadableImageError: If it is not an image, damaged, truncated, or larger than `MOST_PIXELS`; if image files cannot
            be decoded to that number of channels; or if values lie outside of the rule's range, or need one.
    """
    if channels not in MODES:
        raise UnreadableImageError(f"image files have 1, 3 or 4 channels, {channels} are wanted")
    file = _opened(content)
    facts = file.header
    if facts.open_range and how.value_range is None:
        wrong = f"has {facts.open_range} values, and the task does not say which of them are black and white"
        raise UnreadableImageError(f"{wrong} (task.value_range)")
    try:
        if how.value_range is not None:
            values, opacity = file_values.stored(file, least)
            pixels = file_values.pixels_in_range(values, opacity, channels, bits, how)
        elif facts.decoder == "simplejpeg" and channels in (1, 3):
            pixels = file_values.by_simplejpeg(file, channels, least)
        elif facts.decoder == "opencv" and (bits == 16 or file_values.needs_opencv(file)):
            pixels = file_values.deep_colour(file, channels, how)
            pixels = pixels if bits == 16 else file_values.eight_bit(pixels)
        else:
            pixels = _by_pillow(file, channels, bits, how)
    except damage_errors() as error:
        raise UnreadableImageError(first_line(error)) from error
    if bits == 16 and pixels.dtype == np.uint8:
        pixels = pixels.astype(np.uint16) * 257
    return _upright(pixels.reshape(*pixels.shape[:2], -1), facts.orientation)


def stored_values(content: bytes) -> Pixels:
    """Return the stored values of an encoded mask: greys of any depth, or the indices of palette colours.

    Args:
        content: The bytes of the file.

    Returns:
        Shape (height, width), an integer dtype, upright.

    Raises:
        UnreadableImageError: If it is not an image, damaged, an image in colour, or has values that are not integers.
    """
    file = _opened(content)
    try:
        values = file_values.mask_values(file)
    except damage_errors() as error:
        raise UnreadableImageError(first_line(error)) from error
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or (values % 1).any():
            raise UnreadableImageError("has values that are no whole numbers, which classes are")
        values = values.astype(np.int64)
    has_opacity = values.ndim == 3 and values.shape[2] in (2, 4)
    if values.ndim == 3 and (values[:, :, : values.shape[2] - has_opacity] != values[:, :, :1]).any():
        raise UnreadableImageError("is a picture in colour, a mask has one number for each pixel (grey or palette)")
    return _upright(values if values.ndim == 2 else values[:, :, 0], file.header.orientation)


def extent(content: bytes) -> tuple[float, float]:
    """Return the smallest and the largest value of an encoded image; NaN if any value is NaN.

    Raises:
        UnreadableImageError: If it is not an image, or damaged.
    """
    file = _opened(content)
    try:
        return file_values.extent(*file_values.stored(file, None))
    except damage_errors() as error:
        raise UnreadableImageError(first_line(error)) from error


def is_transparent(content: bytes) -> bool:
    """Return whether any pixel of an encoded image is fully or partly transparent.

    Raises:
        UnreadableImageError: If it is not an image, or damaged.
    """
    file = _opened(content)
    if not file.header.has_opacity:
        return False
    try:
        _, opacity = file_values.stored(file, None)
    except damage_errors() as error:
        raise UnreadableImageError(first_line(error)) from error
    if opacity is None:
        return False
    return bool((opacity < (np.iinfo(opacity.dtype).max if opacity.dtype.kind in "iu" else 1)).any())


def _header(image: Image.Image, content: bytes, numbers: Numbers | None) -> Header:
    # Pillow's mode is not always that of the file: it opens 16-bit colours as 8-bit ones, and a palette of only greys as
    # colours. So depth and colour are taken from the file's own header, which also decides the decoder: simplejpeg for
    # speed, OpenCV where Pillow would lose the lower bits, Pillow for the rest.
    grey = image.mode in GREY_MODES or file_values.is_grey(image, content)
    keyed = file_values.has_key(image)
    channels = 1 if grey else 4 if image.mode in ("RGBA", "RGBa", "PA") or keyed else 3
    # Colour types 2 and 6 are colour, 4 is grey with opacity.
    depth, kind = file_values.png_kind(content)
    deep_png = image.format == "PNG" and depth == 16 and kind in (2, 4, 6)
    deep_tiff = numbers is not None and image.mode in ("RGB", "RGBA") and numbers.bits == 16
    deep = deep_png or deep_tiff or image.mode.startswith("I;16") or image.mode == "I"
    jpeg = image.format == "JPEG" and image.mode in ("L", "RGB")
    # Pillow and OpenCV both apply the orientation of a TIFF when they decode it.
    orientation = 1 if numbers is not None else image.getexif().get(0x0112, 1)
    open_range = numbers.open_range if numbers is not None else "floating-point" if image.mode == "F" else ""
    return Header(
        image.width,
        image.height,
        channels,
        16 if deep or open_range else 8,
        "simplejpeg" if jpeg else "opencv" if deep_png or deep_tiff or open_range else "pillow",
        orientation if orientation in range(1, 9) else 1,
        image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or keyed,
        open_range,
        (deep_png and kind == 4) or (numbers is not None and numbers.is_respread),
    )


def _by_pillow(file: File, channels: int, bits: int, how: Decoding) -> Pixels:
    image = file.image
    assert image is not None
    image.load()
    if file.is_deep_grey:
        grey, opacity = file_values.deep_grey(image, file.numbers)
        if opacity is not None:
            pixels = transparency.in_channels(grey, opacity, channels, how.background)
            return pixels if bits == 16 else file_values.eight_bit(pixels)
        if bits == 16:
            colours = np.repeat(grey, min(channels, 3), axis=2)
            return colours if channels < 4 else np.dstack([colours, np.full_like(grey, 65535)])
        return transparency.array_of(_eight_bit(grey[:, :, 0]).convert(MODES[channels]))
    opacity = file_values.opacity_of(image, file.content)
    if opacity is not None and opacity.size and int(opacity.min()) < 255:
        colour_count = 1 if file.header.channels == 1 else 3
        return transparency.in_strips(
            lambda strip, opacity_strip: transparency.in_channels(
                strip[:, :, :colour_count], opacity_strip, channels, how.background
            ),
            file_values.straight_alpha_image(image),
            opacity,
        )
    whole, mode = file_values.plain(image), MODES[channels]
    # Converting to the same mode would make a copy.
    return transparency.array_of(whole if whole.mode == mode else whole.convert(mode))


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation; 5 to 8 swap height and width."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _opened(content: bytes) -> File:
    if not content:
        raise UnreadableImageError("the file is empty")
    try:
        image = picture(content)
        # Before the header is read further, because Pillow decodes a PNG to find chunks after its pixels.
        _check_size(*image.size, _bytes_a_pixel(image, content), content)
        numbers = tiff.of_directory(image.tag_v2) if isinstance(image, TiffImageFile) else None
        header = _header(image, content, numbers)
    except UnidentifiedImageError as error:
        return _opened_by_opencv(content, error)
    except damage_errors() as error:
        raise UnreadableImageError(first_line(error)) from error
    if image.info.get("progressive"):
        _check_scans(content, header)
    if image.format == "PPM":
        _check_numbers(image, content)
    return File(content, image, header, numbers, file_values.white_value(image))


def _opened_by_opencv(content: bytes, error: Exception) -> File:
    """Return a TIFF of values that Pillow cannot open.

    Raises:
        UnreadableImageError: If OpenCV cannot use it either.
    """
    numbers = tiff.numbers(content)
    if numbers is None or not numbers.is_known_to_opencv:
        kinds = (kind for start, kind in _UNSUPPORTED.items() if content.startswith(start))
        raise UnreadableImageError(next(kinds, "not an image in a known format")) from error
    has_opacity = numbers.bands == 4
    header = Header(numbers.width, numbers.height, numbers.bands, 16, "opencv", 1, has_opacity, numbers.open_range)
    _check_size(header.width, header.height, header.channels * header.bits // 8, content)
    return File(content, None, header, numbers)


def _check_size(width: int, height: int, bytes_a_pixel: int, content: bytes) -> None:
    """Refuse an image that is too large, or far larger than the size of its file allows.

    Raises:
        UnreadableImageError: If it is.
    """
    if width * height > MOST_PIXELS:
        raise UnreadableImageError(f"{width} x {height} is more than {MOST_PIXELS:,} pixels")
    try:
        limits.require_growth(len(content), width * height * bytes_a_pixel, "decoded it")
    except ValueError as error:
        raise UnreadableImageError(str(error)) from error


def _bytes_a_pixel(image: Image.Image, content: bytes) -> int:
    is_deep_png = image.format == "PNG" and file_values.png_kind(content)[0] == 16
    is_deep = image.mode.startswith("I;16") or is_deep_png
    byte_count = 4 if image.mode in ("I", "F") else 2 if is_deep else 1
    bands = len(image.getbands())
    return bands * byte_count * _TIMES.get(image.format or "", _TIMES_OF_MANY if bands * byte_count > 3 else 1)


def _check_scans(content: bytes, header: Header) -> None:
    """Refuse a progressive JPEG with too many scans; inside data, `ff` is never followed by `da`."""
    scan_count = content.count(b"\xff\xda")
    if scan_count > limits.SCANS or scan_count * header.width * header.height > limits.SCANNED_IMAGES * MOST_PIXELS:
        size = f"{header.width} x {header.height} pixels"
        raise UnreadableImageError(f"{scan_count:,} scans of {size} are more than a progressive JPEG has")


def _check_numbers(image: Image.Image, content: bytes) -> None:
    """Refuse a large PNM file whose values are read one by one: as text, or because its white is not 255 or 65,535."""
    decoders_of_tiles = {tile[0] for tile in getattr(image, "tile", [])}
    number_count, comments = image.width * image.height * len(image.getbands()), 0
    if "ppm_plain" in decoders_of_tiles:
        comments = content.count(b"#")
    if decoders_of_tiles & {"ppm", "ppm_plain"} and max(number_count, _PER_COMMENT * comments) > limits.NUMBERS:
        wrong = f"{number_count:,} numbers and {comments:,} comments, which are read one by one, are more than the"
        raise UnreadableImageError(f"{wrong} {limits.NUMBERS:,} that are read; save it as PNG")


def _eight_bit(grey: Pixels) -> Image.Image:
    return Image.fromarray(file_values.eight_bit(grey))
