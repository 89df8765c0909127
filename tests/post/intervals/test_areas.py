"""Areas under curves have DeLong's variance, by sums over all pairs of rows."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mlpipe.post.intervals.areas import area_parts


def plain_delong(scores, positive):
    """Areas and their covariance (DeLong, DeLong and Clarke-Pearson 1988), by sums over all pairs."""
    areas, above, below = [], [], []
    for one in scores:
        wins = (one[positive][:, None] > one[~positive]) + 0.5 * (one[positive][:, None] == one[~positive])
        areas.append(wins.mean())
        above.append(wins.mean(axis=1))
        below.append(wins.mean(axis=0))
    return np.array(areas), np.atleast_2d(np.cov(above)) / positive.sum() + np.atleast_2d(np.cov(below)) / (
        ~positive
    ).sum()


@pytest.mark.parametrize("seed", range(3))
def test_influences_are_those_of_delong(seed: int) -> None:
    """The sum of their squares is the variance of an area, and of a difference of two areas of the same rows."""
    rng = np.random.default_rng(seed)
    positive = rng.random(50) < 0.4
    scores = (positive + rng.normal(size=(2, 50))).round(1)
    areas, covariance = plain_delong(scores, positive)
    truth = np.stack([positive, positive], axis=1).astype(float)
    first, second = area_parts(scores.T, truth, np.arange(50), 50)
    assert [first.value, second.value] == pytest.approx(areas, abs=1e-12)
    assert first.value == pytest.approx(roc_auc_score(positive, scores[0]))
    influences = np.stack([first.influences, second.influences])
    assert influences @ influences.T == pytest.approx(covariance, abs=1e-12)
    # Rows of a group are taken together.
    grouped, _ = area_parts(scores.T, truth, np.arange(50) // 5, 10)
    assert grouped.influences == pytest.approx(first.influences.reshape(10, 5).sum(axis=1), abs=1e-12)


def test_an_area_of_many_rows_has_delongs_variance() -> None:
    rng = np.random.default_rng(1)
    positive = np.arange(1000) < 400
    score = positive + rng.normal(size=1000)
    (found,) = area_parts(score[:, None], positive[:, None].astype(float), np.arange(1000), 1000)
    areas, covariance = plain_delong(score[None], positive)
    assert found.value == pytest.approx(areas[0])
    assert found.value * (1 - found.value) / found.rows == pytest.approx(covariance[0, 0], rel=0.02)


@pytest.mark.parametrize("lonely", [True, False])
def test_areas_with_a_single_row_on_one_side(lonely: bool) -> None:
    score = np.random.default_rng(0).normal(size=20)
    positive = np.full(20, not lonely)
    positive[7] = lonely
    (found,) = area_parts(score[:, None], positive[:, None].astype(float), np.arange(20), 20)
    assert found.value == pytest.approx(roc_auc_score(positive, score))
    assert found.influences.shape == (20,) and found.influences.mean() == pytest.approx(0, abs=1e-12)


def test_no_area_without_rows_on_both_sides() -> None:
    assert area_parts(np.ones((4, 1)), np.ones((4, 1)), np.arange(4), 4) == []
