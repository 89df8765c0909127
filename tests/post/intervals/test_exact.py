"""Ends of shares are those of statsmodels, and of values between 0 and 1 those of as many rows as their variance has."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score
from statsmodels.stats.proportion import proportion_confint

from mlpipe.post.intervals import exact as parts
from mlpipe.post.measures.ranks import average_precision_of, precision_influences


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 10), (9, 10), (10, 10), (14, 200), (186, 200)])
def test_few_on_one_side_have_exact_ends(hits: int, n: int) -> None:
    found = parts.share_ends(hits / n, n, 0.95)
    assert found == pytest.approx(proportion_confint(hits, n, 0.05, "beta"), abs=1e-9)
    exact = stats.binomtest(hits, n).proportion_ci(0.95, "exact")
    assert found == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize(("hits", "n"), [(15, 30), (20, 200), (100, 200)])
def test_many_on_both_sides_have_wilsons(hits: int, n: int) -> None:
    assert parts.share_ends(hits / n, n, 0.9) == pytest.approx(proportion_confint(hits, n, 0.1, "wilson"), abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 5, 10, 20, 50, 100, 200, 500])
def test_shares_cover_wherever_they_are(n: int) -> None:
    """Summed over the binomial distribution, not simulated; Wilson's alone falls to .84."""
    hits, truth = np.arange(n + 1), np.linspace(0.0005, 0.9995, 999)
    ends = np.array([parts.share_ends(one / n, n, 0.95) for one in hits])
    inside = (ends[:, :1] <= truth) & (truth <= ends[:, 1:])
    assert (stats.binom.pmf(hits[:, None], n, truth) * inside).sum(axis=0).min() >= 0.93


def test_rows_of_one_group_count_once_where_all_are_alike() -> None:
    groups = np.repeat(np.arange(12), 5)
    alike = np.repeat(np.arange(12) < 9, 5).astype(float)
    one = parts.ratio(alike, np.ones(60), groups, 12)
    assert one is not None and one.value == 0.75 and one.rows == pytest.approx(12, rel=0.1)
    # Nothing varies: then rows of a group count once at most (the exact bound of twelve).
    right = parts.ratio(np.ones(60), np.ones(60), groups, 12)
    assert right is not None and right.rows == pytest.approx(12)
    low, high = parts.share_ends(right.value, right.rows, 0.95)
    assert (low, high) == pytest.approx(proportion_confint(12, 12, 0.05, "beta"))
    assert parts.ratio(np.ones(60), np.zeros(60), groups, 12) is None


def test_many_groups_have_the_variance_of_a_ratio() -> None:
    rng = np.random.default_rng(0)
    size, skill = rng.integers(1, 9, 800), rng.beta(4, 2, 800)
    hits = rng.binomial(size, skill)
    found = parts.ratio(hits.astype(float), size.astype(float), np.arange(800), 800)
    assert found is not None
    value = hits.sum() / size.sum()
    spread = np.sqrt(((hits - value * size) ** 2).sum()) / size.sum()
    low, high = parts.share_ends(found.value, found.rows, 0.95)
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.02)


@pytest.mark.parametrize("ties", [False, True])
def test_influences_of_precision_are_its_derivatives(ties: bool) -> None:
    """By the finite difference of the weighted metric of scikit-learn."""
    rng = np.random.default_rng(2)
    positive = np.arange(30) < 8
    score = positive + rng.normal(size=30)
    score = score.round(0) if ties else score
    value, found = precision_influences(score, positive)
    assert value == pytest.approx(average_precision_of(score, positive))
    assert found.sum() == pytest.approx(0, abs=1e-12)
    for row in (0, 5, 12, 29):
        weights = np.ones(30)
        weights[row] += 1e-6
        changed = average_precision_score(positive, score, sample_weight=weights)
        assert (changed - value) / 1e-6 == pytest.approx(found[row], abs=1e-5)


def test_a_mean_of_two_shares_has_newcombes_ends() -> None:
    """Half the sum of two independent shares: Newcombe 1998, method 10, with a sign changed."""
    both = [parts.Part(0.4, 60, np.array([1.0, 0.0])), parts.Part(0.7, 80, np.array([0.0, 1.0]))]
    ends = [proportion_confint(24, 60, 0.05, "wilson"), proportion_confint(56, 80, 0.05, "wilson")]
    low = 0.55 - np.hypot(0.4 - ends[0][0], 0.7 - ends[1][0]) / 2
    high = 0.55 + np.hypot(ends[0][1] - 0.4, ends[1][1] - 0.7) / 2
    assert parts.mean_ends(both, 0.95) == pytest.approx((low, high))
    # Two that go together have the mean of the ends.
    same = [parts.Part(0.4, 60, np.array([1.0, 2.0]))] * 2
    assert parts.mean_ends(same, 0.95) == pytest.approx(ends[0])


@pytest.mark.parametrize(("classes", "each", "chance"), [(20, 1, 0.55), (10, 2, 0.7), (10, 5, 0.5), (50, 1, 0.9)])
def test_means_of_many_classes_of_few_rows_cover(classes: int, each: int, chance: float) -> None:
    """The mean of the recalls of classes whose rows are hits with a known chance is that chance."""
    rng, held = np.random.default_rng([classes, each]), []
    units = np.arange(classes * each)
    for _ in range(300):
        hits = (rng.random((classes, each)) < chance).astype(float).ravel()
        found = [
            parts.ratio(hits * (units // each == k), 1.0 * (units // each == k), units, len(units))
            for k in range(classes)
        ]
        low, high = parts.mean_ends([part for part in found if part is not None], 0.95)
        held.append(low <= chance <= high)
    assert np.mean(held) >= 0.93


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_means_of_very_many_shares_are_widened_by_what_some_pairs_share(
    shared: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mean of m shares of variance v that go together by r has the variance v (1 + (m - 1) r) / m."""
    rng, many = np.random.default_rng(3), 600
    common, own = rng.normal(size=2000), rng.normal(size=(many, 2000))
    errors = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    errors *= np.sqrt(0.25 / 100) / np.linalg.norm(errors, axis=1, keepdims=True)
    found = [parts.Part(0.5, 100.0, one) for one in errors]
    whole = parts.mean_ends(found, 0.95)
    monkeypatch.setattr(parts, "_MOST_PAIRED", 200)
    some = parts.mean_ends(found, 0.95)
    assert some == pytest.approx(whole, abs=0.02 * (whole[1] - whole[0]))
    half = 0.5 - parts.share_ends(0.5, 100.0, 0.95)[0]
    # Noise of 2,000 rows makes some that do not go together do so by .009 in the mean, of which what is below 0 does not count.
    assert some[0] == pytest.approx(0.5 - half * np.sqrt((1 + (many - 1) * max(shared, 0.009)) / many), rel=0.01)
