"""The bootstrap of differences: the ends of scipy's BCa interval, and draws that may lack a class."""

import numpy as np
import pytest
from scipy import stats

from mlpipe.post.intervals.differences import bootstrap_ends, draws


@pytest.mark.parametrize("seed", range(3))
def test_bca_ends_are_those_of_scipy_for_the_same_draws(seed: int) -> None:
    sample = np.random.default_rng(seed).exponential(size=40)
    theirs = stats.bootstrap((sample,), np.mean, n_resamples=999, method="BCa", rng=np.random.default_rng(seed))
    left_out = (sample.sum() - sample) / 39
    found = bootstrap_ends(theirs.bootstrap_distribution, sample.mean(), left_out, 0.95)
    assert found == pytest.approx(tuple(theirs.confidence_interval), abs=1e-12)


def test_draws_on_one_side_are_a_percentile_interval() -> None:
    many = np.array([2.0, 3.0, 4.0])
    assert bootstrap_ends(many, 1.0, np.array([1.0, 2.0]), 0.9) == pytest.approx(np.quantile(many, [0.05, 0.95]))
    assert bootstrap_ends(np.ones(10), 1.0, np.ones(5), 0.9) == (1.0, 1.0)
    assert np.isnan(bootstrap_ends(np.full(3, np.nan), 1.0, np.ones(5), 0.9)).all()


def test_draws_lose_a_class_as_often_as_chance_does() -> None:
    """Drawing again until each is there would hide that a value rests on one row."""
    (once,) = draws(np.arange(30), 30, 4000, 0)
    assert (once.sum(axis=1) == 30).all()
    assert (once[:, 0] == 0).mean() == pytest.approx((29 / 30) ** 30, abs=0.03)


@pytest.mark.parametrize("n", [208, 231, 267, 289, 362])
def test_differences_that_are_equal_but_for_rounding_are_equal(n: int) -> None:
    """Shares of whole rows: the ends are those of the whole numbers, which no rounding sets apart."""
    rng = np.random.default_rng(n)
    first = rng.integers(150, 200, 4000)
    more = rng.binomial(n, 10 / n, 4000)
    left_out = 10.0 - (np.arange(n) < 10)
    whole = bootstrap_ends(more.astype(float), 10.0, left_out, 0.95)
    ends = bootstrap_ends((first + more) / n - first / n, 181 / n - 171 / n, left_out / n, 0.95)
    assert np.multiply(ends, n) == pytest.approx(whole)
