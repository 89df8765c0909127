"""The unit of numbers: mean and deviation of what is known of each."""

from __future__ import annotations

import statistics
import warnings

import numpy as np
import pytest

from mlpipe.data import kind, number_targets
from mlpipe.data.task import Row, make
from mlpipe.errors import DataError


def test_mean_and_deviation_are_of_what_is_known() -> None:
    column = [1.5, -2.0, 7.25, 0.5]
    targets = np.array([column, [1.0, np.nan, 3.0, np.nan]]).T
    mean, spread = number_targets.unit(targets)
    assert mean == pytest.approx([statistics.fmean(column), 2.0])
    assert spread == pytest.approx([statistics.pstdev(column), 1.0])


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-30, -3.7e8])
def test_equal_numbers_have_the_deviation_one(value: float) -> None:
    """NumPy's deviation of three times 0.1 is 1.4e-17, by which errors became 1e23."""
    for count in (1, 3, 7, 100):
        mean, spread = number_targets.unit(np.full((count, 2), value))
        assert mean == pytest.approx([value, value]) and spread.tolist() == [1.0, 1.0]


def test_what_is_never_known_has_a_mean_all_the_same() -> None:
    """It was NaN, and with it all that the network gave for that number."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mean, spread = number_targets.unit(np.array([[1.0, np.nan], [3.0, np.nan]]))
        assert (mean.tolist(), spread.tolist()) == ([2.0, 0.0], [1.0, 1.0])
        none = number_targets.unit(np.empty((0, 2)))
    assert [part.tolist() for part in none] == [[0.0, 0.0], [1.0, 1.0]]


def test_infinite_numbers_are_no_targets() -> None:
    for of_kind in ("regression", "segmentation", "images"):
        part = kind.of(of_kind)
        assert part.damage(np.array([[0.5, np.nan], [-3e300, 2.0]]), 2) == ""
        assert part.damage(np.array([[0.5, np.inf]]), 2) == "has targets that are infinite"
    labels = kind.of("multilabel")
    assert labels.damage(np.array([[0, 1], [np.nan, 1.0]]), 2) == ""
    assert (
        labels.damage(np.array([[0, -1.0], [0.5, 1]]), 2) == "has labels that are neither 0, 1 nor unknown: -1.0, 0.5"
    )
    rows = [Row("a", "train", (1.0, -1.0), "x"), Row("b", "train", (0.0, 1.0), "y")]
    with pytest.raises(
        DataError, match="pets: has labels that are neither 0, 1 nor unknown: -1.0; correct the targets"
    ):
        make("pets", ["cat", "dog"], rows, kind="multilabel", channels=1, source={"type": "none"})
