"""How far a file's values lie from the models'."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.modes.export import Difference, _difference


def test_differences_of_probabilities() -> None:
    wanted = list(np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]))
    near = list(np.array(wanted) + np.array([[1e-6, -1e-6], [0, 0], [0, 0]]))
    assert _difference(wanted, near) == Difference(float(np.abs(np.array(wanted) - near).max()), 0, 3)
    # A tie may fall to either side; a lead that is larger than the difference may not.
    swapped = list(np.array([[0.4, 0.6], [0.4, 0.6], [0.2, 0.8]]))
    assert _difference(wanted, swapped).decided == 0
    far = list(np.array([[0.5, 0.5], [0.9, 0.1], [0.81, 0.2]]))
    found = _difference(wanted, far)
    assert found.decided == 0 and np.isclose(found.largest, 0.61)
    lead = np.array([[0.99, 0.01], [0.9, 0.1], [0.2, 0.8]])
    assert _difference(list(lead), list(lead[:, ::-1])).decided == 0


def test_differences_of_numbers_are_shares_of_their_size() -> None:
    wanted, found = [np.array([200.0]), np.array([100.0])], [np.array([202.0]), np.array([100.0])]
    assert np.isclose(_difference(wanted, found).largest, 0.01)


def test_differences_of_places_are_counted_place_by_place() -> None:
    wanted = np.tile([0.9, 0.1], (2, 3, 1))
    found = wanted.copy()
    found[0, 0], found[1, 2] = [0.85, 0.15], [0.1, 0.9]
    assert _difference([wanted], [found]) == Difference(0.8, 0, 1)
    # A lead is judged by how far the values of its own place moved.
    found[1, 2] = [0.9, 0.1]
    assert _difference([wanted], [found]) == Difference(pytest.approx(0.05), 0, 1)
