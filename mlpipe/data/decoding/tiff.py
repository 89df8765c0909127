"""TIFF headers: type and bit depth of the stored values, and the number of values per pixel."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

from PIL.TiffImagePlugin import ImageFileDirectory_v2

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _BANDS, _EXTRA, _FORMAT = 256, 257, 258, 262, 274, 277, 338, 339
_TYPES = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
# The bit depths of unsigned values whose white is known: the largest value.
_PLAIN_DEPTHS = (1, 2, 4, 8, 12, 16)


@dataclass(frozen=True)
class Numbers:
    """Format of the values in a TIFF.

    Attributes:
        width: Width in pixels, upright.
        height: Height in pixels, upright.
        bands: Values per pixel.
        bits: Bits per value; the smallest if bands differ.
        type: `unsigned`, `signed`, `floating-point` or another one.
        zero_is_white: Whether the smallest value is white.
        is_premultiplied: Whether colours were multiplied by their opacity.
    """

    width: int
    height: int
    bands: int
    bits: int
    type: str
    zero_is_white: bool
    is_premultiplied: bool = False

    @property
    def open_range(self) -> str:
        """Return the type of the values if it does not define which value is white; empty if it does."""
        if self.type != "unsigned":
            return self.type
        return "" if self.bits in _PLAIN_DEPTHS else f"{self.bits}-bit"

    @property
    def is_respread(self) -> bool:
        """Return whether greys are scaled from 12 bits, or inverted with more than 8 bits."""
        return self.type == "unsigned" and (self.bits == 12 or (self.bits == 16 and self.zero_is_white))

    @property
    def is_known_to_opencv(self) -> bool:
        """Return whether OpenCV reads such values unchanged although their range is open."""
        is_half = self.type == "floating-point" and self.bits == 16
        return bool(self.open_range) and self.bands in (1, 3, 4) and self.type != "complex" and not is_half


def numbers(content: bytes) -> Numbers | None:
    """Return the value format from a TIFF's first directory; None for other and for damaged files.

    Args:
        content: The bytes of the file.
    """
    if content[:4] not in MARKS:
        return None
    try:
        header = content[: 16 if content[2] == 43 or content[3] == 43 else 8]
        directory, stream = ImageFileDirectory_v2(header), io.BytesIO(content)
        stream.seek(directory.next)
        directory.load(stream)
        return of_directory(directory)
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error):
        return None


def of_directory(directory: Any) -> Numbers:
    """Return the value format from a directory that Pillow has read."""
    width, height = int(directory.get(_WIDTH, 0)), int(directory.get(_HEIGHT, 0))
    if directory.get(_ORIENTATION, 1) in (5, 6, 7, 8):
        width, height = height, width
    # The defaults are one bit, and unsigned values.
    bits, formats = directory.get(_BITS) or (1,), directory.get(_FORMAT) or (1,)
    return Numbers(
        width,
        height,
        int(directory.get(_BANDS, 1)),
        int(min(bits)),
        _TYPES.get(int(max(formats)), "unsigned"),
        directory.get(_PHOTOMETRIC) == 0,
        1 in (directory.get(_EXTRA) or ()),
    )
