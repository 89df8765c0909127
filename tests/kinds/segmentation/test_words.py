"""Masks in words."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.kinds.segmentation import words


@pytest.mark.parametrize(
    ("target", "text"), [([0.75, 0.0, 0.25], "a 75 %, c 25 %"), ([np.nan] * 3, None), ([0, 0, 0], None)]
)
def test_an_image_without_a_known_pixel_has_no_words(target: list[float], text: str | None) -> None:
    assert words.told(np.array(target), ["a", "b", "c"]) == text
