"""What a file gives is compared with what the models give: values by numbers, boxes one by one."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.predicting import parity


def test_values_by_hand() -> None:
    one = parity.values_difference(
        [np.array([0.2, 0.8]), np.array([0.4, 0.6])], [np.array([0.3, 0.7]), np.array([0.4, 0.6])], 1e-3
    )
    assert one.largest == pytest.approx(0.1) and one.decided == 0 and one.images == 2
    # Numbers count by their spread.
    assert parity.values_difference([np.array([200.0])], [np.array([201.0])], 1e-3).largest == pytest.approx(1 / 200)


@pytest.mark.parametrize(("lead", "decided"), [(0.0021, 1), (0.0019, 0)])
def test_another_class_counts_unless_both_are_nearer_than_twice_the_limit(lead: float, decided: int) -> None:
    wanted, found = np.array([0.5 + lead / 2, 0.5 - lead / 2]), np.array([0.49999, 0.50001])
    assert parity.values_difference([wanted], [found], 1e-3).decided == decided
    assert parity.values_difference([wanted[None, None]], [found[None, None]], 1e-3).decided == decided


@pytest.mark.parametrize("spread", [1.0, 300.0])
def test_where_all_values_lie_within_the_limit_no_other_decision_counts(spread: float) -> None:
    rng = np.random.default_rng(0)
    wanted = rng.choice(np.linspace(0.3, 0.306, 13), (64, 64, 3)) * spread
    found = wanted + rng.choice([-0.99e-3, 0.99e-3], wanted.shape) * max(1.0, wanted.max())
    assert (wanted.argmax(-1) != found.argmax(-1)).any()
    one = parity.values_difference([wanted], [found], 1e-3)
    assert one.largest <= 1e-3 and one.decided == 0


def test_places_are_compared_one_by_one() -> None:
    wanted = np.tile([0.9, 0.1], (2, 3, 1))
    found = wanted.copy()
    found[0, 0], found[1, 2] = [0.85, 0.15], [0.1, 0.9]
    assert parity.values_difference([wanted], [found], 1e-3) == parity.Difference(pytest.approx(0.8), 1, 1)
    found[1, 2] = [0.9, 0.1]
    assert parity.values_difference([wanted], [found], 1e-3) == parity.Difference(pytest.approx(0.05), 0, 1)


NAN = float("nan")


def test_nan_in_one_alone_is_a_difference() -> None:
    for wanted, found in (([0.2, 0.8], [NAN, NAN]), ([NAN, NAN], [0.2, 0.8]), ([3.0], [NAN])):
        ends = [np.array([0.5, 0.5])] if len(wanted) > 1 else [np.array([1.0])]
        for before, after in (([], ends), (ends, [])):
            given = [[*before, np.array(values), *after] for values in (wanted, found)]
            assert np.isnan(parity.values_difference(*given, 1e-3).largest)
    # Places of an image that no network saw are NaN in both.
    unseen = np.array([[[NAN, NAN], [0.4, 0.6]]])
    assert parity.values_difference([unseen], [unseen + np.array([0.0, 1e-4])], 1e-3).largest == pytest.approx(1e-4)
    assert parity.values_difference([unseen * 100], [unseen * 100 + 6], 1e-3).largest == pytest.approx(6 / 60)
