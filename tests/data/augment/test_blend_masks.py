"""Masks of blends against values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.data.augment import blend_masks


def test_a_gradient_rises_between_its_places() -> None:
    mask = blend_masks.gradient((3, 10), "x", (0.2, 0.8), (0.2, 0.6))
    assert mask.shape == (3, 10) and (mask == mask[0]).all()
    assert mask[0] == pytest.approx([0.2, 0.2, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8])
    assert (blend_masks.gradient((10, 3), "y", (0.2, 0.8), (0.2, 0.6)) == mask.T).all()


def test_a_gradient_whose_end_lies_before_its_start_falls() -> None:
    line = blend_masks.gradient((1, 4), "x", (0.0, 1.0), (1.0, 0.0))[0]
    assert line == pytest.approx([1, 2 / 3, 1 / 3, 0])


def test_cells_have_one_size_and_what_is_left_over_mirrors_them() -> None:
    values = np.array([[1.0, 0.0, 0.5], [0.25, 0.75, 0.0]])
    assert (blend_masks.cells((4, 6), values) == np.repeat(np.repeat(values, 2, 0), 2, 1)).all()
    # Three cells of two pixels and two pixels more: one on each side, the neighbour of the one at the border.
    line = blend_masks.cells((2, 8), values)[0]
    assert line.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0, 0.5, 0.5, 0.5]


def test_a_checkerboard_begins_with_one() -> None:
    assert blend_masks.checkerboard(2, 3).tolist() == [[1, 0, 1], [0, 1, 0]]


def test_a_hue_has_the_share_of_its_range() -> None:
    hue = np.array([[0, 127, 128, 179]], np.uint8)
    assert blend_masks.hues(hue, [1.0, 0.0], 0, 0.0).tolist() == [[1, 1, 0, 0]]
    # The ranges start 100 hues later, so that 128 to 227 of them are those of 28 to 127.
    assert blend_masks.hues(np.array([[0, 27, 28, 155, 156]], np.uint8), [1.0, 0.0], 100, 0.0).tolist() == [
        [1, 1, 0, 0, 1]
    ]


def test_shares_of_neighbouring_hues_mix_around_the_circle() -> None:
    hue = np.arange(180, dtype=np.uint8)[np.newaxis]
    line = blend_masks.hues(hue, [1.0, 0.0], 0, 1.0)[0]
    # Half and half at each border: after hue 127, and, since a hue is an angle of 256 steps, before 0.
    assert line[127] + line[128] == pytest.approx(1, abs=0.01) and 0.5 < line[0] < 0.6
    assert line[64] == 1 and line[170] == 0 and (np.diff(line[20:170]) <= 0).all()
