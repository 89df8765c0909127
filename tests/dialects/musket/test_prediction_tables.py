"""Tables of predictions by hand: classes, labels with an unknown one, numbers."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.dialects.musket import prediction_tables


@pytest.mark.parametrize(
    ("kind", "outputs", "targets", "true", "found"),
    [
        ("classification", [[1, 3, 2], [5, 0, 1]], [2, 0], [[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [1, 0, 0]]),
        ("multilabel", [[-0.1, 2.0]], [[1, np.nan]], [[1, np.nan]], [[0, 1]]),
        ("regression", [[0.25], [3.0]], [1.5, 2.0], [[1.5], [2.0]], [[0.25], [3.0]]),
    ],
)
def test_what_is_true_and_what_is_predicted(
    kind: str, outputs: list[list[float]], targets: list[float], true: list[list[float]], found: list[list[float]]
) -> None:
    given = prediction_tables.decided(np.array(outputs), np.array(targets), kind)
    np.testing.assert_array_equal(given[0], true)
    np.testing.assert_array_equal(given[1], found)
