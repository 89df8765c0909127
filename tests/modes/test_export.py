"""How far a file's values lie from the models'."""

from __future__ import annotations

import numpy as np

from mlpipe.modes.export import Difference, _difference


def test_differences_of_probabilities() -> None:
    wanted = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    near = wanted + np.array([[1e-6, -1e-6], [0, 0], [0, 0]])
    assert _difference(wanted, near) == Difference(float(np.abs(wanted - near).max()), 0, 3)
    # A tie may fall to either side; a lead that is larger than the difference may not.
    swapped = np.array([[0.4, 0.6], [0.4, 0.6], [0.2, 0.8]])
    assert _difference(wanted, swapped).decided == 0
    far = np.array([[0.5, 0.5], [0.9, 0.1], [0.81, 0.2]])
    found = _difference(wanted, far)
    assert found.decided == 0 and np.isclose(found.largest, 0.61)
    lead = np.array([[0.99, 0.01], [0.9, 0.1], [0.2, 0.8]])
    assert _difference(lead, lead[:, ::-1]).decided == 0


def test_differences_of_numbers_are_shares_of_their_size() -> None:
    assert np.isclose(_difference(np.array([[200.0], [100.0]]), np.array([[202.0], [100.0]])).largest, 0.01)
