"""Boxes of one width, and where a network sees them: painted boxes are looked for in images that were resized."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from mlpipe.data.preprocessing import standard
from mlpipe.data.sources.targets import boxes
from mlpipe.errors import ConfigError


@pytest.mark.parametrize("resize", ["squash", "pad", "short_side"])
@pytest.mark.parametrize("size", [[90, 60], [30, 50], 64])
@pytest.mark.parametrize("sides", [(80, 120), (100, 61)])
def test_boxes_lie_where_the_resized_image_has_them(
    resize: Literal["squash", "pad", "short_side"], size: Any, sides: tuple[int, int]
) -> None:
    height, width = sides
    pixels = np.zeros((height, width, 1), np.uint8)
    pixels[height // 3 : height // 2, width // 3 : 2 * width // 3] = 255
    own = np.array([[width // 3, height // 3, 2 * width // 3, height // 2, 4.0]])
    preprocessing = standard(1, id="made", size=size, resize=resize)
    places = boxes.placing(preprocessing, np.array([[width, height]]))
    (found,) = boxes.placed([own], places)
    rows, columns = np.nonzero(preprocessing(pixels)[:, :, 0] > 127)
    there = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    # The last pixel on a side is painted by half at least.
    assert np.allclose(found[0, :4], there, atol=0.75)
    assert found[0, 4] == 4
    assert np.allclose(boxes.unplaced([found], places)[0], own)


def test_without_a_resize_boxes_stay() -> None:
    places = boxes.placing(standard(1, id="none", size=None), np.array([[20, 10], [30, 40]]))
    assert boxes.placed([np.array([[1.0, 2, 3, 4]]), np.empty((0, 4))], places)[0].tolist() == [[1, 2, 3, 4]]


def test_rows_of_one_width_tell_nothing_from_unknown() -> None:
    two = np.array([[0, 1, 2, 3, 0], [4, 5, 6, 7, 2.0]])
    found = boxes.padded([two, two[:0], two[:0]], np.array([True, True, False]), 3)
    nothing = [np.nan] * 5
    assert np.array_equal(found[0], [*two, nothing], equal_nan=True)
    assert np.array_equal(found[1], [nothing] * 3, equal_nan=True)
    assert np.array_equal(found[2], [[*nothing[:4], -1], nothing, nothing], equal_nan=True)


def test_stored_boxes_are_the_same_again() -> None:
    first = np.array([[0.123, 1, 12345.678, 3, 1], [2, 2, 3, 3, 0]])
    plain = boxes.described([first, None, np.empty((0, 5)), np.ones((1, 5))], [(4, 5), (6, 7), (0, 0), (1, 1)])
    assert plain["rows"] == ["0.123 1 12345.678 3 1, 2 2 3 3 0", None, "", "1 1 1 1 1"]
    again = boxes.stored(plain)
    assert [again.of_row(row).tolist() for row in range(4)] == [first.tolist(), [], [], [[1] * 5]]
    assert again.known.tolist() == [True, False, True, True]
    assert again.sizes.tolist() == [[4, 5], [6, 7], [0, 0], [1, 1]]
    assert again.most == 2
    assert boxes.rounded((0.12345, 2.9996)) == (0.123, 3.0)


def test_equal_boxes_have_equal_hashes() -> None:
    one, other = np.array([[1, 2, 3, 4, 0.0]]), np.array([[1, 2, 3, 4, 1.0]])
    assert boxes.digest_of(one) == boxes.digest_of(one.copy()) != boxes.digest_of(other)


def test_numbers_of_boxes() -> None:
    assert boxes.counts(np.array([[0, 0, 1, 1, 2], [0, 0, 1, 1, 0], [1, 1, 2, 2, 2.0]]), 4) == (1, 0, 2, 0)


def test_transforms_before_the_resize_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"preprocessing\.before: moves no boxes"):
        boxes.check(standard(1, id="made", size=8, before=["anything"]))
