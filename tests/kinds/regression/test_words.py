"""Numbers in words."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.kinds.regression import words


@pytest.mark.parametrize(
    ("target", "text"), [([1.5, 2000.0], "1.5, 2e+03"), ([np.nan, 3.0], "-, 3"), ([np.nan, np.nan], None)]
)
def test_numbers_that_are_not_known_are_none(target: list[float], text: str | None) -> None:
    assert words.told(np.array(target), ["a", "b"]) == text
