"""Minima over shares against their optimality conditions, certificates and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from mlpipe.post.ensembling import simplex
from mlpipe.post.ensembling.simplex import expected_shares, least_quadratic, most_likely


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 12), st.booleans())
def test_the_quadratic_meets_its_optimality_conditions(seed: int, size: int, rows: int, twins: bool) -> None:
    rng = np.random.default_rng(seed)
    matrix, right = rng.normal(size=(rows, size)), rng.normal(size=rows)
    if twins:
        matrix[:, 0] = matrix[:, -1]
    gram, linear = matrix.T @ matrix, matrix.T @ right
    shares = least_quadratic(gram, linear)
    slope = gram @ shares - linear
    assert shares.min() >= 0 and shares.sum() == pytest.approx(1)
    assert shares @ slope - slope.min() < 1e-10


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 300))
def test_no_shares_are_more_likely_than_the_certificate_allows(seed: int, size: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    likelihoods = rng.gamma(0.3, size=(n, size)) + 1e-9
    likelihoods /= likelihoods.max(axis=1, keepdims=True)
    found = most_likely(likelihoods)
    assert found.gap < 1e-8
    others = rng.dirichlet(np.full(size, 0.3), size=50)
    assert (-np.log(likelihoods @ others.T + 1e-300).mean(axis=0) >= found.loss - found.gap - 1e-12).all()


def test_most_likely_shares_against_scipy_and_plain_expectation_maximisation() -> None:
    rng = np.random.default_rng(0)
    likelihoods = rng.gamma(0.5, size=(400, 5)) + 1e-6
    likelihoods[:, 3] *= 2
    found = most_likely(likelihoods)
    other = minimize(
        lambda w: -np.log(likelihoods @ w).mean(),
        np.full(5, 0.2),
        method="SLSQP",
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.loss <= other.fun + 1e-10
    weights, last = np.full(5, 0.2), np.inf
    for _ in range(5000):
        weights = expected_shares(likelihoods, weights, np.full(400, 1 / 400))
        loss = -np.log(likelihoods @ weights).mean()
        assert loss <= last + 1e-13
        last = loss
    assert weights == pytest.approx(found.weights, abs=1e-5)


@pytest.mark.parametrize("seed", range(1, 6))
def test_shares_that_begin_near_the_minimum_are_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    size = 20 + 15 * seed
    rates = np.eye(size) * 0.6 + 0.4 * rng.dirichlet(np.full(size, 0.3), size).T
    observed = rates @ rng.dirichlet(np.full(size, 0.4)) + rng.normal(0, 2e-3, size)
    gram, linear = rates.T @ rates, rates.T @ observed
    monkeypatch.setattr(simplex, "_MANY", 10**9)
    one_by_one = simplex.least_quadratic(gram, linear)
    monkeypatch.setattr(simplex, "_MANY", 0)
    assert 0 < (one_by_one > 0).sum() < size
    for start in (None, rng.dirichlet(np.ones(size)), one_by_one):
        np.testing.assert_allclose(simplex.least_quadratic(gram, linear, start=start), one_by_one, atol=1e-9)
    # The conditions of a minimum: no share can be moved to a place that lowers the value.
    slope = gram @ one_by_one - linear
    assert slope[one_by_one > 0].max() - slope.min() < 1e-9


def test_the_nearest_shares_are_those_of_a_solver() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        point = rng.normal(0, 1, 6)
        with_solver = minimize(
            lambda shares, point=point: ((shares - point) ** 2).sum(),
            np.full(6, 1 / 6),
            bounds=[(0, 1)] * 6,
            constraints={"type": "eq", "fun": lambda shares: shares.sum() - 1},
            tol=1e-12,
        ).x
        np.testing.assert_allclose(simplex._projected(point), with_solver, atol=1e-6)
