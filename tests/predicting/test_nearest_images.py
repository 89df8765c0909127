"""The nearest images are those of the least angle between features."""

from __future__ import annotations

import numpy as np

from mlpipe.predicting import nearest_images


def test_the_nearest_are_in_the_order_of_their_angles() -> None:
    angles = np.deg2rad([0, 10, 80, 170, 350])
    known = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    query = np.array([[np.cos(np.deg2rad(8)), np.sin(np.deg2rad(8))]], np.float32)
    places, distances = nearest_images.nearest(query, known, 3)
    assert places.tolist() == [[1, 0, 4]]
    np.testing.assert_allclose(distances, 1 - np.cos(np.deg2rad([[2, 8, 18]])), atol=1e-6)
    assert nearest_images.nearest(query, known, 9)[0].shape == (1, 5)
