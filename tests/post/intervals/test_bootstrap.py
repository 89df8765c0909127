import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from mlpipe.errors import ConfigError, DataError
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.intervals.areas import area_components, delong
from mlpipe.post.intervals.bootstrap import (
    area_interval,
    bootstrap_intervals,
    draws,
    ends,
    leave_out,
    metric_intervals,
    wilson,
)
from mlpipe.post.measures import class_metrics, label_metrics
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.metrics import statistic
from tests.post.drawing import drawn


def labels_of(seed: int, n: int = 60):
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 3)) < [0.5, 0.3, 0.2]).astype(float)
    logits = (2 * targets - 1 + rng.normal(size=(n, 3)) * 1.5).round(1)
    targets[rng.random((n, 3)) < 0.1] = np.nan
    targets[:2, 0] = 0, 1
    return logits, targets


def numbers_of(seed: int, n: int = 60):
    rng = np.random.default_rng(seed)
    targets = 100 + rng.normal(size=(n, 2))
    predicted = targets + rng.normal(size=(n, 2)) * 0.7
    targets[rng.random((n, 2)) < 0.1] = np.nan
    return predicted, targets


def rows_of(kind: str, seed: int):
    if kind == "classification":
        logits, targets = drawn(seed, 60, 3)
        return logits.round(1), targets
    return labels_of(seed) if kind == "multilabel" else numbers_of(seed)


WITH_INTERVALS = {
    "classification": class_metrics.METRICS,
    "multilabel": label_metrics.METRICS,
    "regression": post_kind.of("regression").METRICS,
}


@pytest.mark.parametrize(("kind", "name"), [("classification", "elementwise_mcc"), ("multilabel", "soft_macro_f1")])
def test_what_has_no_interval_says_so(kind: str, name: str) -> None:
    assert name in post_kind.of(kind).METRICS
    with pytest.raises(ConfigError, match="has no interval"):
        statistic(name, *rows_of(kind, 3), kind)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, table in WITH_INTERVALS.items() for name in sorted(table)]
)
def test_weights_are_repeated_rows(kind: str, name: str) -> None:
    """Every metric of drawn weights equals the metric of the rows written out; equal weights give the metric itself."""
    logits, targets = rows_of(kind, 3)
    rows = np.arange(60)
    weights = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), size=7).astype(float)
    weights = np.vstack([np.ones(60), weights])
    found = statistic(name, logits, targets, kind).of_weights(weights, rows)
    for value, one in zip(found, weights, strict=True):
        some = np.repeat(rows, one.astype(int))
        assert value == pytest.approx(
            post_kind.of(kind).METRICS[name](logits[some], targets[some]), abs=1e-9, nan_ok=True
        )


@pytest.mark.parametrize(
    ("kind", "name"), [("classification", "mcc"), ("classification", "auroc"), ("regression", "r2")]
)
def test_leave_one_out_is_the_metric_without_each_row(kind: str, name: str) -> None:
    logits, targets = rows_of(kind, 4)
    found = leave_out(statistic(name, logits, targets, kind), np.arange(60), 60)
    rows = [np.delete(np.arange(60), row) for row in range(60)]
    expected = [post_kind.of(kind).METRICS[name](logits[some], targets[some]) for some in rows]
    assert np.sort(found) == pytest.approx(np.sort(expected), abs=1e-9)


def test_groups_are_drawn_whole() -> None:
    logits, targets = rows_of("classification", 5)
    groups = np.repeat(np.arange(20), 3)
    weights = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), size=3).astype(float)
    for name in ("accuracy", "auroc", "nll"):
        found = statistic(name, logits, targets, "classification").of_weights(weights, groups)
        for value, one in zip(found, weights, strict=True):
            some = np.repeat(np.arange(60), one[groups].astype(int))
            assert value == pytest.approx(class_metrics.METRICS[name](logits[some], targets[some]))


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (499, 1000)])
def test_wilson_is_that_of_statsmodels(hits: int, n: int) -> None:
    found = wilson(hits, n, level=0.9)
    assert (found.low, found.high) == pytest.approx(proportion_confint(hits, n, 0.1, "wilson"), abs=1e-12)
    with pytest.raises(DataError, match="a share needs a row"):
        wilson(0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_bca_ends_are_those_of_scipy_for_the_same_draws(seed: int) -> None:
    sample = np.random.default_rng(seed).exponential(size=40)
    theirs = stats.bootstrap((sample,), np.mean, n_resamples=999, method="BCa", rng=np.random.default_rng(seed))
    left_out = (sample.sum() - sample) / 39
    low, high, how = ends(theirs.bootstrap_distribution, sample.mean(), left_out, 0.95)
    assert how == "bca"
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), abs=1e-12)
    plain = stats.bootstrap(
        (sample,), np.mean, n_resamples=999, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    assert ends(theirs.bootstrap_distribution, sample.mean(), None, 0.95)[:2] == pytest.approx(tuple(plain))


def test_draws_on_one_side_are_a_percentile_interval() -> None:
    assert ends(np.array([2.0, 3.0, 4.0]), 1.0, np.array([1.0, 2.0]), 0.9)[2] == "percentile"
    assert ends(np.ones(10), 1.0, np.ones(5), 0.9) == (1.0, 1.0, "bca")


def plain_delong(scores, positive):
    """Sums over all pairs."""
    areas, above, below = [], [], []
    for one in scores:
        wins = (one[positive][:, None] > one[~positive]) + 0.5 * (one[positive][:, None] == one[~positive])
        areas.append(wins.mean())
        above.append(wins.mean(axis=1))
        below.append(wins.mean(axis=0))
    return np.array(areas), np.cov(above) / positive.sum() + np.cov(below) / (~positive).sum()


@pytest.mark.parametrize("seed", range(3))
def test_delong_is_the_sum_over_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.random(50) < 0.4
    scores = (positive + rng.normal(size=(2, 50))).round(1)
    areas, covariance = delong(scores, positive)
    expected, pairs = plain_delong(scores, positive)
    assert areas == pytest.approx(expected, abs=1e-12)
    assert areas[0] == pytest.approx(roc_auc_score(positive, scores[0]))
    assert covariance == pytest.approx(pairs, abs=1e-12)
    logits = np.column_stack([np.zeros(50), scores[0]])
    area, components = area_components(
        np.exp(log_softmax(logits)), np.column_stack([~positive, positive]).astype(float)
    )
    assert area == pytest.approx(areas[0])
    assert (components**2).sum() == pytest.approx(covariance[0, 0], abs=1e-12)


def test_area_of_several_classes_spreads_as_its_bootstrap() -> None:
    logits, targets = drawn(6, 600, 4)
    found = area_interval(logits, targets, kind="classification")
    other = bootstrap_intervals(["auroc"], logits, targets, resamples=1000, method="percentile", kind="classification")[
        "auroc"
    ]
    assert found.value == pytest.approx(other.value)
    assert found.high - found.low == pytest.approx(other.high - other.low, rel=0.1)
    assert found.low == pytest.approx(other.low, abs=0.004)


def test_an_area_without_a_wrong_pair_has_the_bound_of_its_rows() -> None:
    """Two rows on each side that are all in order: as much as one row that is right."""
    found = area_interval(5.0 * np.eye(2)[[0, 1, 0, 1]], np.array([0, 1, 0, 1]), kind="classification")
    assert (found.value, found.low, found.high) == (1, pytest.approx(proportion_confint(1, 1, 0.05, "beta")[0]), 1)
    assert found.note == "the rarest class has 2 rows"
    none = area_interval(np.eye(2), np.array([0, 0]), kind="classification")
    assert np.isnan([none.value, none.low, none.high]).all() and none.note == "no class has rows on both sides"


def test_each_metric_gets_the_interval_that_suits_it() -> None:
    """F24: twenty draws, and a deviation with two digits."""
    logits, targets = drawn(7, 200, 3)
    found = metric_intervals(
        post_kind.of("classification").FINAL, logits, targets, resamples=300, kind="classification"
    )
    assert list(found) == post_kind.of("classification").FINAL
    assert found["accuracy"].method == "wilson" and found["auroc"].method == "delong"
    assert found["nll"].method == "one row more"
    expected = metrics.compute(post_kind.of("classification").FINAL, logits, targets, kind="classification")
    assert {name: one.value for name, one in found.items()} == pytest.approx(expected)
    assert all(one.low < one.value < one.high for one in found.values())
    assert found == metric_intervals(
        post_kind.of("classification").FINAL, logits, targets, resamples=300, kind="classification"
    )
    grouped = metric_intervals(
        ["accuracy", "auroc"], logits, targets, groups=np.arange(200) // 50, resamples=300, kind="classification"
    )
    assert "200 rows count as" in grouped["accuracy"].note


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_labels_and_numbers_have_intervals(kind: str) -> None:
    logits, targets = rows_of(kind, 8)
    found = metric_intervals(WITH_INTERVALS[kind], logits, targets, kind=kind, resamples=200)
    expected = metrics.compute(WITH_INTERVALS[kind], logits, targets, kind)
    assert {name: one.value for name, one in found.items()} == pytest.approx(expected)
    assert all(one.low <= one.value <= one.high for one in found.values())


def test_rows_without_a_target_do_not_count() -> None:
    logits, targets = drawn(9, 100, 3)
    more, marked = np.vstack([logits, logits[:9]]), np.concatenate([targets, np.full(9, -1)])
    names = ["macro_f1", "nll"]
    assert bootstrap_intervals(names, more, marked, resamples=50, kind="classification") == bootstrap_intervals(
        names, logits, targets, resamples=50, kind="classification"
    )
    assert metric_intervals(names, logits, np.full(100, -1), kind="classification") == {}
    with pytest.raises(ConfigError, match="did you mean 'macro_f1'"):
        bootstrap_intervals(["macro_f2"], logits, targets, kind="classification")


def test_draws_lose_a_class_as_often_as_chance_does() -> None:
    """Drawing again until each is there would hide that a value rests on one row."""
    targets = np.zeros(30, int)
    targets[0] = 1
    (drawn_once, lost), *_ = draws(np.arange(30), 30, targets, 4000, 0)
    assert lost and (drawn_once.sum(axis=1) == 30).all()
    assert (drawn_once[:, 0] == 0).mean() == pytest.approx((29 / 30) ** 30, abs=0.03)


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_cover_the_true_value(grouped: bool) -> None:
    """Rows of one group share their noise: drawing rows alone would cover far less."""
    covered, tries = 0, 100
    for seed in range(tries):
        rng = np.random.default_rng(seed)
        targets = rng.integers(0, 2, 240)
        noise = np.repeat(rng.normal(size=40), 6) if grouped else rng.normal(size=240)
        logits = np.column_stack([np.zeros(240), 2 * targets - 1 + noise])
        groups = np.arange(240) // 6 if grouped else None
        found = bootstrap_intervals(
            ["accuracy"], logits, targets, groups=groups, resamples=300, seed=seed, kind="classification"
        )["accuracy"]
        covered += found.low <= stats.norm.cdf(1) <= found.high
    assert 0.90 <= covered / tries <= 0.99


@pytest.mark.parametrize("name", ["r2", "pearson", "rmse"])
def test_numbers_far_from_zero_keep_their_digits(name: str) -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(50, 2))
    truth[:7, 1] = np.nan
    said = truth + 0.3 * rng.normal(size=(50, 2))
    said[:7, 1] = 0
    drawn = rng.multinomial(50, np.full(50, 1 / 50), 4).astype(float)
    near, far = (
        statistic(name, said + away, truth + away, "regression").of_weights(drawn, np.arange(50)) for away in (0, 1e7)
    )
    np.testing.assert_allclose(far, near, rtol=1e-6)


def test_without_a_positive_row_there_is_no_precision() -> None:
    truth = np.zeros((6, 1))
    found = statistic("average_precision", np.arange(6.0)[:, None], truth, "multilabel").of_weights(
        np.ones((3, 6)), np.arange(6)
    )
    assert found.shape == (3,) and np.isnan(found).all()
