"""Grids of images: where each lies, and that pixels are those that were given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mlpipe.runs import grids


def test_a_grid_has_every_image_at_its_place(tmp_path: Path) -> None:
    pixels = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 6), np.uint8) * 50
    path = grids.file_of(tmp_path, 3)
    grids.write(pixels, path)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (2 * 6 + 2, 3 * 8 + 2, 3)
    for number in range(5):
        top, left = 2 + number // 3 * 6, 2 + number % 3 * 8
        assert (sheet[top : top + 4, left : left + 6] == number * 50).all()
    assert (sheet[8:12, 18:24] == 255).all()
    assert grids.stored(tmp_path) == {3: path}


def test_values_become_bytes() -> None:
    assert grids.as_bytes(np.array([-1.0, 0.5, 2.0]), 1.0).tolist() == [0, 128, 255]
    assert grids.as_bytes(np.array([65535.0]), 65535.0).tolist() == [255]


def test_lines_and_volumes_have_a_picture() -> None:
    assert grids.picture(np.zeros((1, 16), np.uint8)).size == (16, 2)
    volume = np.zeros((3, 5, 4, 6), np.uint8)
    volume[:, 2] = 7
    assert np.asarray(grids.picture(volume)).tolist() == np.full((4, 6, 3), 7).tolist()
