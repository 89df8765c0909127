"""Pictures hold the pixels they were given, each in its cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.reports import gallery


def plain(value: int, channels: int, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.full((*size, channels), value, np.uint8)


def test_every_image_is_in_its_cell(tmp_path: Path) -> None:
    values = [10, 60, 110, 160, 210]
    images = [plain(value, 1 if index % 2 else 3) for index, value in enumerate(values)]
    path = gallery.grid(images, [f"class {value}" for value in values], tmp_path / "new" / "x.png", columns=3)
    with Image.open(path) as stored:
        assert stored.format == "PNG"
        sheet = np.asarray(stored)
    assert sheet.shape == (2 * 118 + 6, 3 * 102 + 6, 3)
    centres = [sheet[6 + index // 3 * 118 + 48, 6 + index % 3 * 102 + 48] for index in range(5)]
    assert [tuple(centre) for centre in centres] == [(value,) * 3 for value in values]
    captions = sheet[6 + 96 : 6 + 96 + 16, 6 : 6 + 96]
    assert captions.min() < 100
    assert (sheet[6 + 118 + 48, 6 + 2 * 102 + 48] == 255).all()


def test_a_wide_picture_keeps_its_form(tmp_path: Path) -> None:
    path = gallery.grid([plain(0, 3, (10, 40))], [""], tmp_path / "x.png")
    sheet = np.asarray(Image.open(path).convert("L"))
    rows, columns = np.nonzero(sheet[6:102, 6:102] == 0)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (24, 96)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (5, 3), (9, 3)])
def test_about_square_unless_told(count: int, columns: int, tmp_path: Path) -> None:
    path = gallery.grid([plain(0, 1)] * count, [""] * count, tmp_path / "x.png")
    with Image.open(path) as stored:
        assert stored.width == columns * 102 + 6


def test_no_images_and_a_caption_that_is_too_long(tmp_path: Path) -> None:
    assert gallery.grid([], [], tmp_path / "empty.png").is_file()
    path = gallery.grid([plain(255, 1), plain(255, 1)], ["W" * 200, ""], tmp_path / "long.png", columns=2)
    sheet = np.asarray(Image.open(path).convert("L"))
    assert (sheet[:, 6 + 102 :] == 255).all()
    with pytest.raises(ValueError):
        gallery.grid([plain(0, 1)], [], tmp_path / "wrong.png")
    assert not (tmp_path / "wrong.png").exists()


def test_of_a_volume_the_middle_plane_is_drawn_and_of_a_line_a_strip() -> None:
    volume = np.arange(5 * 4 * 3 * 2).reshape(5, 4, 3, 2)
    assert np.array_equal(gallery.plane(volume), volume[2])
    assert np.array_equal(gallery.plane(volume[0]), volume[0])
    line = np.arange(24).reshape(24, 1)
    assert np.array_equal(gallery.plane(line), np.stack([line] * 3))
