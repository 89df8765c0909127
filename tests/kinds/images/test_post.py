"""The best image that is the same for every sample, against scikit-learn's constant prediction of its pixels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.metrics import mean_absolute_error, mean_squared_error

from mlpipe.kinds.images import post
from mlpipe.post import metrics
from tests.post.drawing import Stored

RNG = np.random.default_rng(0)


def pictures(many: int, *shape: int) -> list[np.ndarray]:
    return [(RNG.random(shape) ** 2).astype(np.float16) for _ in range(many)]


def test_images_of_one_size_have_a_mean_pixel_by_pixel() -> None:
    learned, judged = pictures(30, 2, 4, 5), pictures(7, 2, 4, 5)
    counts = np.full((7, 2), 20.0)
    found = post.constant(np.ones((30, 2)), counts, ["a", "b"], Stored(pictures=(iter(learned), iter(judged))))
    assert found is not None and found[1] == "the mean image of those learned from"
    flat, true = (np.stack(some).reshape(len(some), -1).astype(np.float64) for some in (learned, judged))
    guess = DummyRegressor(strategy="mean").fit(flat, flat).predict(true)
    error = mean_squared_error(true, guess)
    scores = metrics.compute(["psnr", "mse", "mae"], found[0], counts, "images")
    assert scores == pytest.approx(
        {"psnr": -10 * np.log10(error), "mse": error, "mae": mean_absolute_error(true, guess)}
    )


def test_images_of_several_sizes_have_a_mean_value() -> None:
    learned, judged = [*pictures(5, 1, 4, 4), *pictures(5, 1, 2, 8)], pictures(3, 1, 3, 3)
    found = post.constant(np.ones((10, 1)), np.full((3, 1), 9.0), ["a"], Stored(pictures=(learned, judged)))
    assert found is not None and found[1] == "the mean value of those learned from"
    # All have 16 pixels, so that the mean over images is that over pixels.
    mean = np.concatenate([one.ravel() for one in learned]).astype(np.float64).mean()
    expected = [((one.astype(np.float64) - mean) ** 2).sum() for one in judged]
    assert found[0][:, 0] == pytest.approx(expected)


@pytest.mark.parametrize("stored", [Stored(), Stored(pictures=([], [])), Stored(pictures=(pictures(2, 1, 2, 2), []))])
def test_without_all_images_there_is_none(stored: Stored) -> None:
    assert post.constant(np.ones((2, 1)), np.full((1, 1), 4.0), ["a"], stored) is None
