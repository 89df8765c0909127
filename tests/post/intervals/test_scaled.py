import numpy as np
import pytest
from scipy import stats

from mlpipe.post.intervals import scaled


def left_out(values):
    return (values.sum() - values) / (len(values) - 1)


def test_without_skewness_a_mean_has_students_ends() -> None:
    half = np.random.default_rng(0).normal(size=2000)
    values = np.concatenate([half, -half]) + 3
    found = scaled.ends(values.mean(), left_out(values), scaled.PLAIN, 0.95)
    expected = stats.t.interval(0.95, 3999, values.mean(), stats.sem(values))
    assert found == pytest.approx(expected, abs=1e-4)


def test_skewed_errors_reach_further_where_their_tail_is() -> None:
    values = np.random.default_rng(1).exponential(size=40)
    low, high = scaled.ends(values.mean(), left_out(values), scaled.PLAIN, 0.95)
    assert high - values.mean() > 1.2 * (values.mean() - low)


def test_where_nothing_varies_there_are_no_ends() -> None:
    assert scaled.ends(2.0, np.full(20, 2.0), scaled.LOG, 0.95) is None
    assert scaled.ends(1.0, np.full(20, 1.0), scaled.FISHER, 0.95) is None
    assert scaled.ends(0.0, np.zeros(20), scaled.LOG, 0.95) is None


@pytest.mark.parametrize("scale", [scaled.LOG, scaled.SHARE_LEFT, scaled.FISHER, scaled.PLAIN])
def test_scales_go_there_and_back(scale: scaled.Scale) -> None:
    values = np.array([0.05, 0.3, 0.9])
    assert scale.back(scale.there(values)) == pytest.approx(values)
    assert (np.diff(scale.there(values)) > 0).all()
