"""Curves of one class against the rest: exact where probabilities are near 1, and the minimum that another solver finds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp

from mlpipe.post.calibration import curves
from mlpipe.post.calibration.shrunk_fit import BARE, Strength
from mlpipe.post.measures.class_metrics import log_softmax


@pytest.mark.parametrize("classes", [2, 3, 11])
@pytest.mark.parametrize("size", [1.0, 50.0, 2000.0])
def test_the_rest_is_what_scipy_sums(classes: int, size: float) -> None:
    scores = log_softmax(np.random.default_rng(0).normal(size=(40, classes)) * size)
    wanted = [logsumexp(np.delete(scores, number, axis=1), axis=1) for number in range(classes)]
    np.testing.assert_allclose(curves.log_rest(scores.T), wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("turned", [1.0, -0.5])
@pytest.mark.parametrize("strength", [BARE, Strength(3.0, 0.1)])
def test_beta_is_the_minimum_of_another_solver(
    strength: Strength, turned: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = np.random.default_rng(1)
    targets = draws.integers(0, 3, 150)
    logits = draws.normal(size=(150, 3))
    logits[np.arange(150), targets] += 1.5
    scores = log_softmax(turned * logits).T
    hits, weights = (targets == np.arange(3)[:, None]).astype(float), draws.uniform(0.5, 1.5, 150)
    weights /= weights.sum()
    rest = curves.log_rest(scores)
    identity, precisions = np.array([1.0, 1.0, 0.0]), np.array([strength.scale, strength.scale, strength.bias])

    def loss(parameters: np.ndarray, number: int) -> float:
        odds = parameters[0] * scores[number] - parameters[1] * rest[number] + parameters[2]
        held = precisions @ (parameters - identity) ** 2 / (2 * len(targets))
        return float(weights @ (np.logaddexp(0, odds) - hits[number] * odds) + held)

    fitted = curves.fit_beta(scores, rest, hits, weights, strength)
    monkeypatch.setattr(curves, "_MOST_CELLS", 300)
    again = curves.fit_beta(scores, rest, hits, weights, strength, np.full((3, 3), 0.3))
    for number, found in enumerate(fitted):
        bounds = [(0, None), (0, None), (None, None)]
        other = minimize(loss, identity, (number,), "L-BFGS-B", bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-10})
        assert found[:2].min() >= 0
        assert loss(found, number) == pytest.approx(other.fun, abs=1e-7)
        assert loss(again[number], number) == pytest.approx(other.fun, abs=1e-7)


def test_bins_of_a_histogram_end_between_scores() -> None:
    """The same rows with another rounding, as a file of other software computes them, keep their bins."""
    draws = np.random.default_rng(4)
    scores = draws.random(200).round(3)
    hits = (draws.random(200) < scores).astype(float)
    edges, values = curves.fit_histogram(scores, hits, np.ones(200), 15)
    assert len(edges) == 14 and not np.isin(edges, scores).any()
    place = curves.apply_histogram(edges, values, scores)
    for rounding in (1e-7, -1e-7):
        np.testing.assert_array_equal(curves.apply_histogram(edges, values, scores * (1 + rounding)), place)
    # Equally many rows in each bin but for ties, and of each the share of hits.
    bins = np.searchsorted(edges, scores)
    assert np.bincount(bins).min() >= 10
    np.testing.assert_allclose(values, [hits[bins == number].mean() for number in range(15)])
    # Two classes are mirror images.
    scores, hits = draws.random(150), draws.integers(0, 2, 150).astype(float)
    edges, values = curves.fit_histogram(scores, hits, np.ones(150), 15)
    other_edges, other_values = curves.fit_histogram(1 - scores, 1 - hits, np.ones(150), 15)
    np.testing.assert_allclose(other_edges, 1 - edges[::-1])
    np.testing.assert_allclose(other_values, 1 - values[::-1])
