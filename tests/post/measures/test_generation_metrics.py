"""The Fréchet distance against SciPy's root of a matrix and against what is known of normal distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from mlpipe.post.measures import generation_metrics


def test_the_distance_is_that_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5)), rng.normal(1, 2, size=(300, 5))
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = linalg.sqrtm(first @ second).real
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert generation_metrics.frechet_distance(one, other) == pytest.approx(expected, rel=1e-8)


def test_of_one_number_it_is_known() -> None:
    """Of N(a, s^2) and N(b, t^2) it is (a - b)^2 + (s - t)^2."""
    values = np.random.default_rng(1).normal(size=(50, 1))
    values = (values - values.mean()) / values.std(ddof=1)
    assert generation_metrics.frechet_distance(3 + 2 * values, 5 * values) == pytest.approx(9 + 9, rel=1e-9)


def test_of_the_same_images_it_is_nothing() -> None:
    values = np.random.default_rng(2).normal(size=(4, 9))
    assert generation_metrics.frechet_distance(values, values) == pytest.approx(0, abs=1e-6)
    assert np.isnan(generation_metrics.frechet_distance(values[:1], values))


def test_columns_of_rows() -> None:
    rows = np.array([[3, 1, 0, 0, 5, 5], [5, 1, 2, 2, 7, 7]], np.float32)
    ones = np.ones((2, 1))
    assert generation_metrics.critic_gap(rows, ones) == 3
    assert generation_metrics.frechet(rows, ones) == pytest.approx(50, rel=1e-6)
