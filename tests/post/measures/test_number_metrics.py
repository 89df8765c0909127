"""Metrics of numbers against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from mlpipe.post import metrics
from mlpipe.post.measures import number_metrics

RNG = np.random.default_rng(0)
TRUE = RNG.normal(size=(200, 2)).round(1) * [1, 50]
FOUND = TRUE + RNG.normal(size=(200, 2)) * [0.5, 20]


def test_every_metric_agrees_with_scikit_learn_and_scipy() -> None:
    wanted = {
        "rmse": np.mean([sk.root_mean_squared_error(TRUE[:, k], FOUND[:, k]) for k in range(2)]),
        "mse": sk.mean_squared_error(TRUE, FOUND),
        "mae": sk.mean_absolute_error(TRUE, FOUND),
        "r2": sk.r2_score(TRUE, FOUND),
        "pearson": np.mean([stats.pearsonr(TRUE[:, k], FOUND[:, k])[0] for k in range(2)]),
        "spearman": np.mean([stats.spearmanr(TRUE[:, k], FOUND[:, k])[0] for k in range(2)]),
    }
    assert set(wanted) == set(number_metrics.METRICS)
    assert metrics.compute(wanted, FOUND, TRUE, "regression") == pytest.approx(wanted, abs=1e-10)


def test_unknown_numbers_are_left_out() -> None:
    holes = TRUE.copy()
    holes[:50, 0] = np.nan
    parts = [sk.mean_absolute_error(TRUE[50:, 0], FOUND[50:, 0]), sk.mean_absolute_error(TRUE[:, 1], FOUND[:, 1])]
    assert number_metrics.mae(FOUND, holes) == pytest.approx(np.mean(parts))
    rows = number_metrics.table(FOUND, holes, ["a", "b"])
    assert [row["images"] for row in rows] == [150, 200] and [row["mae"] for row in rows] == pytest.approx(parts)


def test_constant_targets_have_no_correlation() -> None:
    assert np.isnan(number_metrics.r2(FOUND[:, :1], np.ones((200, 1))))
    assert np.isnan(number_metrics.pearson(FOUND[:, :1], np.ones((200, 1))))
    # The mean of three times 0.1 is not 0.1.
    three = np.array([[1.0], [2.0], [4.0]])
    for constant in (0.1, 0.3, 1e9 / 3):
        same = np.full((3, 1), constant)
        assert np.isnan(number_metrics.r2(three, same))
        for correlation in (number_metrics.pearson, number_metrics.spearman):
            assert np.isnan(correlation(three, same)) and np.isnan(correlation(same, three))
    assert metrics.direction("val/rmse") == "min" and metrics.direction("r2") == "max"


@pytest.mark.parametrize("name", ["rmse", "mse", "mae", "r2", "pearson"])
def test_an_output_without_known_targets_leaves_the_others_their_interval(name: str) -> None:
    """The metric left it out; its interval was NaN."""
    holes = TRUE.copy()
    holes[:, 0] = np.nan
    measure = metrics.statistic(name, FOUND, holes, "regression")
    value = measure.of_weights(np.ones((1, len(holes))), np.arange(len(holes)))[0]
    assert value == pytest.approx(number_metrics.METRICS[name](FOUND, holes), abs=1e-10)
    assert value == pytest.approx(number_metrics.METRICS[name](FOUND[:, 1:], holes[:, 1:]), abs=1e-10)
