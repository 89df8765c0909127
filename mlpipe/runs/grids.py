"""Grids of images in one PNG, as a training writes them in every epoch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpipe import files

# The folder in a model's folder, and the file names.
FOLDER, _NAME = "samples", "epoch_{:05d}.png"
_GAP, _PAPER = 2, 255


def file_of(folder: Path, epoch: int) -> Path:
    """Return the path of an epoch's grid in a model's folder, the epoch counted from 1."""
    return folder / FOLDER / _NAME.format(epoch)


def stored(folder: Path) -> dict[int, Path]:
    """Return the grids in a model's folder by epoch, counted from 1, in order."""
    paths = {path.stem.partition("_")[2]: path for path in (folder / FOLDER).glob("epoch_*.png")}
    return dict(sorted((int(epoch), path) for epoch, path in paths.items() if epoch.isdecimal()))


def as_bytes(pixels: npt.NDArray[Any], peak: float) -> npt.NDArray[np.uint8]:
    """Convert values from 0 to `peak` to bytes, rounded and clipped."""
    return np.rint(np.clip(pixels / peak, 0, 1) * 255).astype(np.uint8)


def picture(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """Return one image of shape (channels, height, width) as a picture; unless of three channels, the first in grey.

    For a volume it is the middle plane, for a line a strip.
    """
    while pixels.ndim > 3:
        pixels = pixels[:, pixels.shape[1] // 2]
    flat = pixels if pixels.ndim == 3 else np.repeat(pixels[:, np.newaxis], max(1, pixels.shape[1] // 8), axis=1)
    return Image.fromarray(np.moveaxis(flat, 0, -1)) if len(flat) == 3 else Image.fromarray(flat[0])


def write(pixels: npt.NDArray[np.uint8], path: Path) -> None:
    """Write a grid, as square as possible, on white.

    Args:
        pixels: Shape (n, channels, *spatial).
        path: The PNG; its folder is created.
    """
    drawn = [picture(sample).convert("RGB") for sample in pixels]
    columns = math.ceil(math.sqrt(len(drawn)))
    wide, high = drawn[0].width + _GAP, drawn[0].height + _GAP
    sheet = Image.new("RGB", (columns * wide + _GAP, -(-len(drawn) // columns) * high + _GAP), (_PAPER,) * 3)
    for number, tile in enumerate(drawn):
        sheet.paste(tile, (_GAP + number % columns * wide, _GAP + number // columns * high))
    write_picture(sheet, path)


def write_picture(drawn: Image.Image, path: Path) -> None:
    """Write a PNG; its folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.durable(path) as temporary:
        drawn.save(temporary, format="PNG")
