"""Boxes drawn on pictures: in the colour of their class, or as hits, misses and false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from mlpipe.data.sources.targets.mask_files import colour_of
from mlpipe.reports import gallery

Boxes = npt.NDArray[np.float64]
Colour = tuple[int, int, int]

# Distinguishable with any colour vision, on light and on dark pictures.
HIT, MISS, ALARM = (0, 158, 115), (86, 180, 233), (213, 94, 0)
# The side of a small picture, on which lines are a pixel or two wide.
_SMALL = 72
_INK, _PAPER = (255, 255, 255), (0, 0, 0)


def image_with_boxes(pixels: npt.NDArray[Any], boxes: Boxes) -> npt.NDArray[np.uint8]:
    """Return an image with its boxes, for display at a small size, shape (height, width, 3).

    Args:
        pixels: Shape (height, width, channels), 8 or 16 bit, or from 0 to 1.
        boxes: As for `draw`.
    """
    drawing = gallery.picture(pixels)
    draw(drawing, boxes, wide=max(1, round(max(drawing.size) / _SMALL)))
    return np.asarray(drawing)


def named(detection: npt.NDArray[np.float64], classes: Sequence[str]) -> str:
    """Describe a box in words: its class and score.

    Args:
        detection: x0, y0, x1, y1, score and class number.
        classes: The names of the classes.
    """
    return f"{classes[int(detection[5])]} {detection[4]:.2f}"


def draw(on: Image.Image, boxes: Boxes, words: Sequence[str] = (), colour: Colour | None = None, wide: int = 0) -> None:
    """Draw boxes, each with a few words.

    Args:
        on: The image to draw on.
        boxes: Shape (k, 5 or more): corners, and last the class number.
        words: The words of each box; empty: boxes only.
        colour: The colour of all boxes; None: that of their class.
        wide: The line width; 0: chosen by the picture's size.
    """
    pen, font = ImageDraw.Draw(on), ImageFont.load_default(max(13, round(max(on.size) / 60)))
    wide = wide or max(1, round(max(on.size) / 250))
    for place, box in enumerate(boxes.tolist()):
        own = colour or colour_of(int(box[-1]) + 1)
        pen.rectangle([box[0], box[1], max(box[2] - 1, box[0]), max(box[3] - 1, box[1])], outline=own, width=wide)
        if words:
            # Words stand above their box; they move into it, or to the left, if they would be outside of the picture.
            start = max(0.0, min(box[0], on.width - 2 - pen.textlength(words[place], font=font)))
            left, top, right, bottom = pen.textbbox((start, box[1]), words[place], font=font)
            up = min(bottom - box[1] + 1, box[1])
            pen.rectangle([left - 1, top - up - 1, right + 1, bottom - up + 1], fill=own)
            pen.text((start, box[1] - up), words[place], fill=_PAPER if sum(own) > 380 else _INK, font=font)
