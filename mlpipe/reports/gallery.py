"""Pictures of samples: grids with a caption under each image, as PNG or JPEG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from mlpipe import files

_CELL, _CAPTION, _GAP = 96, 16, 6
# The aspect ratio at which a line is drawn.
_STRIP = 8
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


def grid(images: Sequence[npt.NDArray[np.uint8]], captions: Sequence[str], path: Path, *, columns: int = 0) -> Path:
    """Write a grid of images, each (*spatial, channels) and enlarged to one size, with captions.

    Args:
        images: Pixels, grey or colour.
        captions: One for each image.
        path: The PNG or JPEG to write.
        columns: Images in a row; 0: chosen so that the grid is about square.
    """
    columns = columns or max(1, math.ceil(math.sqrt(len(images))))
    rows = math.ceil(len(images) / columns)
    wide, high = _CELL + _GAP, _CELL + _CAPTION + _GAP
    sheet = Image.new("RGB", (columns * wide + _GAP, max(rows, 1) * high + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, (pixels, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = _GAP + index % columns * wide, _GAP + index // columns * high
        sheet.paste(_cell_image(pixels), (left, top))
        draw.text((left, top + _CELL + 1), _fitting_text(caption, font), fill=_INK, font=font)
    with files.durable(path) as temporary:
        if path.suffix == ".jpg":
            sheet.save(temporary, format="JPEG", quality=90)
        else:
            sheet.save(temporary, format="PNG")
    return path


def plane(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the plane of a sample to draw: an image as it is, the middle plane of a volume, a strip for a line.

    Args:
        pixels: Shape (*spatial, channels).

    Returns:
        Shape (height, width, channels).
    """
    while pixels.ndim > 3:
        pixels = pixels[len(pixels) // 2]
    return pixels if pixels.ndim == 3 else np.repeat(pixels[np.newaxis], max(1, len(pixels) // _STRIP), axis=0)


def eight_bit(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Convert pixels of 8 or 16 bit, or from 0 to 1, to 8 bit.

    Args:
        pixels: Of any shape.
    """
    if pixels.dtype == np.uint8:
        return pixels
    peak = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else 1.0
    return np.asarray(np.clip(np.nan_to_num(pixels / peak) * 255, 0, 255), np.uint8)


def picture(pixels: npt.NDArray[Any]) -> Image.Image:
    """Return pixels as a colour image.

    Args:
        pixels: Shape (height, width, channels), 8 or 16 bit, or from 0 to 1.
    """
    values = eight_bit(plane(pixels))
    return Image.fromarray(values[:, :, :3] if values.shape[2] >= 3 else values[:, :, 0]).convert("RGB")


def _cell_image(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    pixels = plane(pixels)
    image = Image.fromarray(pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, 0]).convert("RGB")
    scale = _CELL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR
    cell = Image.new("RGB", (_CELL, _CELL), _PAPER)
    cell.paste(image.resize(size, method), ((_CELL - size[0]) // 2, (_CELL - size[1]) // 2))
    return cell


def _fitting_text(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    while text and font.getlength(text) > _CELL:
        text = text[:-1]
    return text
