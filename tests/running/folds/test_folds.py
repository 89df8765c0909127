"""How many images folds have, in a line that a person reads."""

from __future__ import annotations

import pytest

from mlpipe.running.folds import folds


@pytest.mark.parametrize(
    ("found", "told"),
    [([200, 200], "200"), ([360, 359, 360], "359 to 360"), ([10, 40, 90], "10 / 40 / 90"), ([3] * 10 + [9], "3 to 9")],
)
def test_even_folds_are_a_range(found: list[int], told: str) -> None:
    assert folds._range_text(found) == told
