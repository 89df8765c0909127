"""Penalised regression against scikit-learn's, converged tightly, on features that many iterations are needed for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mlpipe.learn.logistic import End, basis, logistic_fit, softmax_fit


def features(rows: int, columns: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated, positive features such as a network's, of very different sizes, and classes that depend on them."""
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(rows, 10)) @ rng.normal(size=(10, columns)) * np.exp(rng.normal(size=columns))
    x = np.maximum(mixed + 0.3 * rng.normal(size=(rows, columns)), 0)
    x[:, 0] = 4.0
    odds = x @ rng.normal(size=(columns, classes)) / x.std() / 6
    return x, np.unique((odds + rng.gumbel(size=odds.shape)).argmax(axis=1), return_inverse=True)[1]


@pytest.mark.parametrize("shape", [(60, 150), (150, 60)])
@pytest.mark.parametrize("inverse", [1e-4, 1e-2, pytest.param(10.0, marks=pytest.mark.program)])
def test_softmax_regression_against_scikit_learn(shape: tuple[int, int], inverse: float) -> None:
    x, y = features(*shape, 4)
    weights = np.linspace(0.5, 2, len(x))
    coordinates = basis(x)
    theta = softmax_fit(coordinates.rows, y, inverse, weights, End(1000))
    weight, bias = coordinates.of_features(theta[:, :-1], theta[:, -1])
    scaled = StandardScaler().fit_transform(x)
    model = LogisticRegression(C=inverse, max_iter=20_000, tol=1e-9).fit(scaled, y, sample_weight=weights)
    np.testing.assert_allclose(softmax(x @ weight.T + bias, axis=1), model.predict_proba(scaled), atol=2e-5)
    assert bias @ np.ones(4) + (weight @ coordinates.mean).sum() == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("shape", [(60, 150), (150, 60)])
def test_logistic_regression_against_scikit_learn(shape: tuple[int, int]) -> None:
    x, y = features(*shape, 2)
    coordinates = basis(x)
    theta = logistic_fit(coordinates.rows, y, 0.1, np.ones(len(x)), End(1000))
    weight, bias = coordinates.of_features(theta[:, :-1], theta[:, -1])
    scaled = StandardScaler().fit_transform(x)
    model = LogisticRegression(C=0.1, max_iter=20_000, tol=1e-9).fit(scaled, y)
    np.testing.assert_allclose(x @ weight[0] + bias, model.decision_function(scaled), atol=2e-4)


def test_a_warm_start_ends_at_the_same_minimum() -> None:
    x, y = features(100, 80, 3)
    rows, ones = basis(x).rows, np.ones(len(x))
    warm = softmax_fit(rows, y, 1.0, ones, End(1000), softmax_fit(rows, y, 0.1, ones, End(1000)))
    np.testing.assert_allclose(warm, softmax_fit(rows, y, 1.0, ones, End(1000)), atol=1e-4)


@pytest.mark.parametrize("shape", [(20, 50), (50, 20)])
def test_a_basis_keeps_inner_products(shape: tuple[int, int]) -> None:
    x = features(*shape, 2)[0]
    made = basis(x)
    scaled = StandardScaler().fit_transform(x)
    assert made.rows.shape[1] <= min(shape)
    np.testing.assert_allclose(made.rows @ made.rows.T, scaled @ scaled.T, atol=1e-9)
    np.testing.assert_allclose(made.rows @ made.vectors.T, scaled, atol=1e-9)


def test_a_class_whose_rows_all_weigh_nothing_is_ruled_out() -> None:
    x, y = features(80, 20, 3)
    theta = softmax_fit(basis(x).rows, y, 0.1, np.where(y == 2, 0.0, 1.0), End(300))
    assert np.isfinite(theta).all() and softmax(theta[:, -1])[2] < 1e-6
