"""TIFF headers: type and bits of the stored numbers, and how many there are per pixel."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

from PIL.TiffImagePlugin import ImageFileDirectory_v2

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _BANDS, _EXTRA, _FORMAT = 256, 257, 258, 262, 274, 277, 338, 339
_TYPES = {1: "unsigned", 2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}
# The depths of unsigned numbers whose white is known: the largest one.
_PLAIN_DEPTHS = (1, 2, 4, 8, 12, 16)


@dataclass(frozen=True)
class Numbers:
    """Number format of a TIFF.

    Attributes:
        width: In pixels, upright.
        height: Alike.
        bands: Numbers for each pixel.
        bits: Of each number; the least of several.
        type: `unsigned`, `signed`, `floating-point` or another one.
        zero_is_white: Whether the smallest number is white.
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
        """The type of numbers of open range (nothing says which of them is white); empty where the type says it."""
        if self.type != "unsigned":
            return self.type
        return "" if self.bits in _PLAIN_DEPTHS else f"{self.bits}-bit"

    @property
    def is_respread(self) -> bool:
        """Whether greys are spread from 12 bits, or turned around though they have more than 8."""
        return self.type == "unsigned" and (self.bits == 12 or (self.bits == 16 and self.zero_is_white))

    @property
    def is_known_to_opencv(self) -> bool:
        """Whether OpenCV reads such numbers as they are, though their range is open."""
        is_half = self.type == "floating-point" and self.bits == 16
        return bool(self.open_range) and self.bands in (1, 3, 4) and self.type != "complex" and not is_half


def numbers(content: bytes) -> Numbers | None:
    """Number format by a TIFF's first directory; None for other files and damaged ones.

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
    """Number format by a directory that Pillow has read."""
    width, height = int(directory.get(_WIDTH, 0)), int(directory.get(_HEIGHT, 0))
    if directory.get(_ORIENTATION, 1) in (5, 6, 7, 8):
        width, height = height, width
    # What is not said means one bit, or unsigned numbers.
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
