"""Heat maps on pictures: an image, the image under its map, and similar images, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from mlpipe import files
from mlpipe.reports.gallery import picture

# From low to high: dark to bright, so that it is readable without colours too.
_COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64)
_SHARE = 0.6
_SIDE, _SMALL, _GAP, _LINE = 256, 96, 8, 16
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


def image_under_map(pixels: npt.NDArray[Any], heat_map: npt.NDArray[np.float32]) -> Image.Image:
    """Return an image in greys under the colours of its heat map.

    Args:
        pixels: Shape (height, width, channels), 8 or 16 bit, or from 0 to 1.
        heat_map: Shape (height, width), from 0 to 1.
    """
    grey = np.asarray(picture(pixels).convert("L"), np.float64)[..., np.newaxis]
    steps = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(heat_map, steps, channel) for channel in _COLOURS.T], -1)
    return Image.fromarray(np.uint8(np.rint((1 - _SHARE) * grey + _SHARE * colours)))


def write(
    path: Path,
    pixels: npt.NDArray[Any],
    heat_map: npt.NDArray[np.float32],
    title: Sequence[str],
    alike: Sequence[tuple[npt.NDArray[Any], str]] = (),
) -> None:
    """Durably write a PNG: lines of text, the image and its map, and below them similar images.

    Args:
        path: The file.
        pixels: As for `image_under_map`.
        heat_map: As for `image_under_map`.
        title: The lines.
        alike: Similar images, with a few words under each.
    """
    pair = [_resized_image(image, _SIDE) for image in (picture(pixels), image_under_map(pixels, heat_map))]
    small = [(_resized_image(picture(values), _SMALL), words) for values, words in alike]
    wide = max(sum(image.width + _GAP for image in pair), len(small) * (_SMALL + _GAP)) + _GAP
    top = _GAP + _LINE * len(title)
    below = top + max(image.height for image in pair) + _GAP
    sheet = Image.new("RGB", (wide, below + (_SMALL + 2 * _LINE if small else 0)), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for line, text in enumerate(title):
        pen.text((_GAP, _GAP // 2 + _LINE * line), _cut(text, font, wide - 2 * _GAP), fill=_INK, font=font)
    left = _GAP
    for image in pair:
        sheet.paste(image, (left, top))
        left += image.width + _GAP
    for place, (image, words) in enumerate(small):
        left = _GAP + place * (_SMALL + _GAP)
        sheet.paste(image, (left, below))
        pen.text((left, below + _SMALL + 2), _cut(words, font, _SMALL), fill=_INK, font=font)
    with files.durable(path) as temporary:
        sheet.save(temporary, format="PNG")


def _resized_image(image: Image.Image, side: int) -> Image.Image:
    """Resize an image to fit; small images are enlarged by a whole factor."""
    share = side / max(image.size)
    method = Image.Resampling.NEAREST if share > 1 else Image.Resampling.BILINEAR
    return image.resize((max(1, round(image.width * share)), max(1, round(image.height * share))), method)


def _cut(text: str, font: Any, wide: int) -> str:
    while text and font.getlength(text) > wide:
        text = text[:-1]
    return text
