"""What a file gives is compared with what the models give: values by numbers, boxes one by one."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.predicting import parity


def test_values_by_hand() -> None:
    one = parity.of_values(
        [np.array([0.2, 0.8]), np.array([0.4, 0.6])], [np.array([0.3, 0.7]), np.array([0.4, 0.6])], 1e-3
    )
    assert one.largest == pytest.approx(0.1) and one.decided == 0 and one.images == 2
    # Numbers count by their spread.
    assert parity.of_values([np.array([200.0])], [np.array([201.0])], 1e-3).largest == pytest.approx(1 / 200)


@pytest.mark.parametrize(("lead", "decided"), [(0.0011, 1), (0.0009, 0)])
def test_another_class_counts_unless_both_are_nearer_than_the_limit(lead: float, decided: int) -> None:
    wanted, found = np.array([0.5 + lead / 2, 0.5 - lead / 2]), np.array([0.49999, 0.50001])
    assert parity.of_values([wanted], [found], 1e-3).decided == decided
    assert parity.of_values([wanted[None, None]], [found[None, None]], 1e-3).decided == decided


BOX = [10.0, 10.0, 50.0, 60.0, 0.9, 1.0]


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows).reshape(-1, 6)


def compared(one: np.ndarray, other: np.ndarray, limit: float = 1e-3) -> parity.Difference:
    return parity.of_boxes([one], [other], [100], np.array([0.5, 0.5]), limit)


def test_boxes_that_are_there_twice() -> None:
    moved = [10.05, 10.0, 50.0, 60.0, 0.9004, 1.0]
    one = compared(boxes(BOX), boxes(moved, [0.0] * 6))
    # Half a thousandth of the side, more than the scores are apart.
    assert one.largest == pytest.approx(5e-4) and one.decided == 0 and one.alone == 0
    assert compared(boxes(), boxes()) == parity.Difference(0.0, 0, 1)


@pytest.mark.parametrize("column", range(6))
def test_a_box_of_which_one_number_differs_is_another(column: int) -> None:
    other = list(BOX)
    other[column] += {4: -0.01, 5: -1.0}.get(column, 1.0)
    low = [0.0, 0.0, 5.0, 5.0, 0.1, 0.0]
    found = compared(boxes(BOX, low), boxes(other, low))
    assert found.decided == 2 and found.alone == 0.5


def test_a_missing_box_counts_by_its_score() -> None:
    low, last = [0.0, 0.0, 5.0, 5.0, 0.1, 0.0], [1.0, 1.0, 5.0, 5.0, 0.0105, 0.0]
    assert compared(boxes(BOX, low), boxes(low)).decided == 1
    there = compared(boxes(BOX, low, last), boxes(BOX, last))
    assert there.decided == 0 and there.alone == pytest.approx(1 / 5)
    # The last of all may have fallen below what the models leave out.
    assert compared(boxes(BOX, low, last), boxes(BOX, low)).alone == 0
