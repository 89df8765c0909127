"""Pictures beside each other: none smaller than it is, and masks whose pixels are those of their classes."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

from mlpipe.reports.sections import masks


def test_pictures_stand_under_their_titles_as_large_as_they_are() -> None:
    mask = np.zeros((100, 160), np.uint8)
    mask[20:60, 30:90] = 1
    drawn = {
        "image": Image.fromarray(np.full((100, 160), 70, np.uint8)),
        "true mask": None,
        "predicted mask": Image.fromarray(masks.coloured(mask)),
    }
    text = masks.beside(drawn, "a<b>.png", whole=["predicted mask"]).html
    assert re.findall(r"<span>([^<]*)</span>", text) == ["image", "predicted mask"]
    assert re.findall(r'alt="([^"]*)"', text) == ["a&lt;b&gt;.png: image", "a&lt;b&gt;.png: predicted mask"]
    kinds, parts = zip(*re.findall(r"data:image/(\w+);base64,([^\"]*)", text), strict=True)
    assert kinds == ("jpeg", "png")
    pictures = [Image.open(io.BytesIO(base64.b64decode(part))) for part in parts]
    assert all(one.size == (160, 100) for one in pictures)
    assert np.array_equal(np.asarray(pictures[1]), masks.coloured(mask))


def test_large_pictures_are_reduced_and_small_ones_are_not_enlarged() -> None:
    assert masks.reduced(Image.new("RGB", (1000, 500))).size == (224, 112)
    assert masks.reduced(Image.new("RGB", (28, 28))).size == (28, 28)
