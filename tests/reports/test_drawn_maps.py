"""A map is bright where it is large, over the image in greys; pictures of all sizes fit beside each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mlpipe.reports import drawn_maps


def test_the_brightest_place_is_that_of_the_largest_value() -> None:
    heat_map = np.zeros((6, 9), np.float32)
    heat_map[4, 7] = 1
    seen = np.asarray(drawn_maps.image_under_map(np.full((6, 9, 3), 100, np.uint8), heat_map).convert("L"), int)
    assert seen.shape == (6, 9) and np.unravel_index(seen.argmax(), seen.shape) == (4, 7)
    assert (np.delete(seen.ravel(), 43) == seen[0, 0]).all()


def test_a_sheet_has_the_image_its_map_and_those_that_are_like_it(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (20, 40, 1), np.uint16)
    heat_map = np.linspace(0, 1, 800, dtype=np.float32).reshape(20, 40)
    drawn_maps.write(path := tmp_path / "a" / "one.png", pixels, heat_map, ["cat", "x" * 500], [(pixels, "dog")] * 3)
    drawn_maps.write(alone := tmp_path / "two.png", pixels, heat_map, ["cat"])
    with Image.open(path) as whole, Image.open(alone) as bare:
        assert whole.width == bare.width == 2 * 256 + 3 * 8
        assert whole.height == bare.height + 96 + 3 * 16
