"""Numbers of boxes as targets, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe import kinds
from mlpipe.data import kind

PART = kind.of("detection")
TARGETS = np.array([[2, 0, 1], [0, 0, 4], [0, 0, 0], [np.nan] * 3])


def test_images_with_a_class_are_counted() -> None:
    assert PART.counts(TARGETS, 3).tolist() == [1, 0, 2]
    assert PART.shape(4, 3) == (4, 3)
    assert np.isnan(PART.unknown(3)).all()


@pytest.mark.parametrize("broken", [[-1, 0, 0], [0.5, 0, 0], [np.nan, 0, 0]])
def test_damaged_numbers_of_boxes_are_seen(broken: list[float]) -> None:
    assert PART.damage(TARGETS, 3) == ""
    assert PART.damage(np.array([*TARGETS, broken]), 3) == "has targets that are no numbers of boxes"


def test_a_target_in_words() -> None:
    words, names = kinds.of("detection").words, ("cat", "dog", "fox")
    assert [words.told(row, names) for row in TARGETS] == ["2 x cat, 1 x fox", "4 x fox", "no object", None]
