"""The corrected interval of a mean over folds: by hand, its bounds, and how often it holds the true mean."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mlpipe.post.intervals import over_folds


def test_five_folds_by_hand() -> None:
    # Mean 0.8, deviations -0.1, -0.05, 0, 0.05, 0.1: s^2 = 0.025 / 4. Four parts learn, one judges: 1/5 + 1/4.
    scores = [0.7, 0.75, 0.8, 0.85, 0.9]
    half = 2.7764451051977987 * (0.00625 * 0.45) ** 0.5
    found = over_folds.corrected_interval("accuracy", scores, n_train=80, n_test=20)
    assert found == pytest.approx((0.8 - half, 0.8 + half), abs=1e-12)
    # Without the correction it is that of scipy's t-test of the mean.
    plain = stats.ttest_1samp(scores, 0).confidence_interval()
    assert over_folds.corrected_interval("accuracy", scores, n_train=1e12, n_test=1) == pytest.approx(
        (plain.low, plain.high)
    )


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 10, 49, 1000])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_students_bound_is_scipys(freedom: int, level: float) -> None:
    assert over_folds.student_bound(freedom, level) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-11)


def test_ends_keep_the_bounds_of_the_metric() -> None:
    scores = [0.1, 0.99]
    assert over_folds.corrected_interval("accuracy", scores, n_train=50, n_test=50) == (0.0, 1.0)
    assert over_folds.corrected_interval("mcc", scores, n_train=50, n_test=50) == (-1.0, 1.0)
    for name in ("psnr", "critic_gap"):
        low, high = over_folds.corrected_interval(name, scores, n_train=50, n_test=50) or (0.0, 0.0)
        assert low < 0 and high > 1
    # No error is negative, no correlation beyond 1; a coefficient of determination has no least value.
    for name in ("rmse", "mse", "mae", "equation_loss"):
        low, high = over_folds.corrected_interval(name, scores, n_train=50, n_test=50) or (1.0, 0.0)
        assert low == 0 and high > 1
    assert over_folds.corrected_interval("pearson", scores, n_train=50, n_test=50) == (-1.0, 1.0)
    low, high = over_folds.corrected_interval("r2", scores, n_train=50, n_test=50) or (0.0, 0.0)
    assert low < -1 and high == 1
    # Losses and distances have no upper bound: Student's quantile of one degree of freedom is that of Cauchy's distribution.
    for name in ("nll", "brier", "score_loss", "frechet"):
        half = 12.706204736174698 * (0.5 * 4 * (0.5 + 1)) ** 0.5
        assert over_folds.corrected_interval(name, [40.0, 42.0], n_train=50, n_test=50) == pytest.approx(
            (41 - half, 41 + half)
        )
        assert (over_folds.corrected_interval(name, [1.0, 3.0], n_train=50, n_test=50) or (1, 1))[0] == 0


@pytest.mark.parametrize("scores", [[], [0.5], [0.5, 0.5, 0.5], [0.5, float("nan")]])
def test_what_has_no_interval(scores: list[float]) -> None:
    assert over_folds.corrected_interval("accuracy", scores, n_train=80, n_test=20) is None
    assert over_folds.corrected_interval("accuracy", [0.5, 0.6], n_train=0, n_test=20) is None


def test_folds_that_differ_by_rounding_tell_nothing() -> None:
    once = float(np.mean([0.1] * 3))
    assert once != 0.1
    assert over_folds.corrected_interval("accuracy", [0.1, once, 0.1], n_train=80, n_test=20) is None
    assert over_folds.corrected_interval("accuracy", [0.0, 0.0], n_train=80, n_test=20) is None


def accuracies(generator: np.random.Generator, n: int, folds: int) -> list[float]:
    """The accuracy in each fold of the nearest of two centroids, for two overlapping clouds of points."""
    truth = np.arange(n) % 2
    points = generator.normal(size=(n, 4)) + 0.5 * truth[:, None]
    part, found = generator.permutation(np.arange(n) % folds), []
    for fold in range(folds):
        learn, judge = part != fold, part == fold
        centres = [points[learn & (truth == number)].mean(axis=0) for number in (0, 1)]
        guess = np.argmin([((points[judge] - centre) ** 2).sum(axis=1) for centre in centres], axis=0)
        found.append(float((guess == truth[judge]).mean()))
    return found


@pytest.mark.parametrize("folds", [5, 10])
def test_it_holds_the_true_mean_as_often_as_it_says(folds: int) -> None:
    n, generator = 60, np.random.default_rng(0)
    draws = [accuracies(generator, n, folds) for _ in range(500)]
    true = float(np.mean(draws))
    ends = [over_folds.corrected_interval("accuracy", one, n_train=n - n // folds, n_test=n // folds) for one in draws]
    plain = [over_folds.corrected_interval("accuracy", one, n_train=1e12, n_test=1) for one in draws]
    held, bare = (np.mean([one is not None and one[0] <= true <= one[1] for one in both]) for both in (ends, plain))
    assert held >= 0.94 > bare
