"""Labels in words."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.kinds.multilabel import words


@pytest.mark.parametrize(
    ("target", "text"),
    [([1, 0, 1], "a, c"), ([0, 0, 0], "none"), ([np.nan, 1, np.nan], "b"), ([np.nan] * 3, None)],
)
def test_an_image_of_which_no_label_is_known_has_not_none_of_them(target: list[float], text: str | None) -> None:
    assert words.told(np.array(target), ["a", "b", "c"]) == text
