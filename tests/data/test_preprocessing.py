"""Preprocessing: a square of the wanted size, the same as Pillow's bilinear resize."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
from PIL import Image

from mlpipe.data import preprocessing


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [5, 40])
def test_resizes_as_pillow_does(channels: int, size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, channels), dtype=np.uint8)
    result = preprocessing.standard(channels, id="x", size=size)(pixels)
    assert result.shape == (size, size, channels) and result.dtype == np.uint8
    for channel in range(channels):
        alone = Image.fromarray(pixels[:, :, channel]).resize((size, size), Image.Resampling.BILINEAR)
        assert (result[:, :, channel] == np.asarray(alone)).all()


def test_shrinking_averages_over_all_pixels() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), 32)[None, :, None].repeat(64, axis=0)
    result = preprocessing.standard(1, id="x", size=4)(stripes)
    assert np.abs(result.astype(int) - 127).max() <= 4


def test_the_right_size_and_no_size_change_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 7, 1), dtype=np.uint8)
    assert preprocessing.standard(1, id="x", size=7)(pixels) is pixels
    wide = pixels[:5]
    assert preprocessing.standard(1, id="x", size=None)(wide) is wide


def test_the_key_holds_what_decides_the_result_and_not_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    key = preprocessing.standard(1, id="x", size=7).key()
    assert preprocessing.standard(1, id="y", size=7).key() == key
    assert preprocessing.standard(3, id="x", size=7).key() != key
    assert preprocessing.standard(1, id="x", size=8).key() != key
    monkeypatch.setattr(PIL, "__version__", "0.0")
    assert preprocessing.standard(1, id="x", size=7).key() != key
