"""Intervals with few rows hold the true value as often as they say; the whole table is in docs/post.md."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from mlpipe.errors import DataError
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.intervals.by_metric import Interval, metric_intervals, wilson
from mlpipe.post.intervals.differences import draws
from mlpipe.post.metrics import statistic
from scripts import coverage_intervals as table
from tests.post.drawing import drawn
from tests.post.test_sums import rows_of


def held(part: str, n: int, positives: int, draws: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The coverage of each metric for an over-confident model, all draws having an interval."""
    monkeypatch.setattr(table, "MODELS", [(1.0, 2.0)])
    monkeypatch.setattr(table, "_MANY", 40_000)
    found = table.coverage(part, n, positives, draws)
    assert all(shown == 1 for _, _, shown in found.values())
    return {name: one for name, (one, _, _) in found.items()}


def test_few_positives(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of thirty draws that cover with .95 fewer than 24 hold one time in a thousand.
    assert min(held("rates", 20, 1, 30, monkeypatch).values()) >= 24 / 30


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "n", "positives"),
    [("rates", 50, 5), ("classes", 20, 1), ("groups", 50, 2), ("labels", 20, 2), ("masks", 20, 1), ("masks", 20, 10)],
)
def test_few_positives_everywhere(part: str, n: int, positives: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a hundred draws that cover with .95 fewer than 88 hold one time in two hundred.
    assert {name: one for name, one in held(part, n, positives, 100, monkeypatch).items() if one < 0.87} == {}


def test_one_positive_image() -> None:
    """An area that rests on one image, as that was certain before: it covered .195 of the time."""
    rng = np.random.default_rng(1)
    targets, inside = np.r_[1, np.zeros(100, int)], 0
    for _ in range(100):
        score = rng.normal(size=101) + targets
        found = metric_intervals(["auroc"], np.c_[-score / 2, score / 2], targets, kind="classification")["auroc"]
        inside += found.low <= 0.7602 <= found.high
        assert found.note == "the rarest class has 1 row"
    assert inside >= 93


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1", "mcc", "kappa", "auroc"])
def test_what_is_all_right_over_groups_is_not_certain(name: str) -> None:
    """Eight groups: a share of eight that are right is at least .63 (exact), however many rows each has."""
    targets = np.tile([0, 1], 40)
    found = metric_intervals(
        [name], 6.0 * np.eye(2)[targets], targets, groups=np.arange(80) // 10, kind="classification"
    )[name]
    assert found.value == 1 and found.high == 1 and found.low < 0.8


def test_too_few_numbers_have_no_interval() -> None:
    truth = np.arange(9.0)[:, None]
    found = metric_intervals(["rmse", "r2"], truth + 0.1, truth, kind="regression")
    assert all(np.isnan([one.low, one.high]).all() for one in found.values())
    assert found["rmse"].note == "9 rows are too few, 10 are needed"
    constant = metric_intervals(["rmse"], np.ones((20, 1)), np.zeros((20, 1)), kind="regression")["rmse"]
    assert np.isnan(constant.low) and constant.note == "the rows do not tell how much it varies"


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
def test_every_end_is_on_its_side(kind: str) -> None:
    part = post_kind.of(kind)
    names = [name for name in part.METRICS if name not in part.WITHOUT_INTERVAL and name != "soft_macro_f1"]
    rng = np.random.default_rng(3)
    for rows in (1, 2, 3, 7):
        logits = rng.normal(size=(rows, 3)) * 3
        targets = rng.integers(0, 3, rows) if kind == "classification" else (rng.random((rows, 3)) < 0.5).astype(float)
        for groups in (None, np.arange(rows) // 2):
            for one in metric_intervals(names, logits, targets, kind=kind, groups=groups, resamples=100).values():
                assert np.isnan(one.low) or one.low <= one.value <= one.high
                assert not np.isnan(one.low) or one.note


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (499, 1000)])
def test_wilson_is_that_of_statsmodels(hits: int, n: int) -> None:
    found = wilson(hits, n, level=0.9)
    assert (found.low, found.high) == pytest.approx(proportion_confint(hits, n, 0.1, "wilson"), abs=1e-12)
    with pytest.raises(DataError, match="a share needs a row"):
        wilson(0, 0)


def area_of(logits: np.ndarray, targets: np.ndarray) -> Interval:
    return metric_intervals(["auroc"], logits, targets, kind="classification")["auroc"]


def test_the_area_of_several_classes_spreads_as_its_bootstrap() -> None:
    logits, targets = drawn(6, 600, 4)
    found = area_of(logits, targets)
    one, rows = statistic("auroc", logits, targets, "classification"), np.arange(600)
    values = np.concatenate([one.of_weights(weights, rows) for weights in draws(rows, 600, 1000, 0)])
    low, high = np.quantile(values, [0.025, 0.975])
    assert found.high - found.low == pytest.approx(high - low, rel=0.1)
    assert found.low == pytest.approx(low, abs=0.004)


def test_an_area_without_a_wrong_pair_has_the_bound_of_its_rows() -> None:
    """Two rows on each side that are all in order: as much as one row that is right."""
    found = area_of(5.0 * np.eye(2)[[0, 1, 0, 1]], np.array([0, 1, 0, 1]))
    assert (found.value, found.low, found.high) == (1, pytest.approx(proportion_confint(1, 1, 0.05, "beta")[0]), 1)
    assert found.note == "the rarest class has 2 rows"
    none = area_of(np.eye(2), np.array([0, 0]))
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
    part = post_kind.of(kind)
    names = [name for name in part.METRICS if name not in part.WITHOUT_INTERVAL]
    found = metric_intervals(names, logits, targets, kind=kind, resamples=200)
    expected = metrics.compute(names, logits, targets, kind)
    assert {name: one.value for name, one in found.items()} == pytest.approx(expected)
    assert all(one.low <= one.value <= one.high for one in found.values())


def test_rows_without_a_target_do_not_count() -> None:
    logits, targets = drawn(9, 100, 3)
    more, marked = np.vstack([logits, logits[:9]]), np.concatenate([targets, np.full(9, -1)])
    names = ["macro_f1", "nll"]
    of_all = metric_intervals(names, more, marked, resamples=50, kind="classification")
    assert of_all == metric_intervals(names, logits, targets, resamples=50, kind="classification")
    assert metric_intervals(names, logits, np.full(100, -1), kind="classification") == {}


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
        found = metric_intervals(
            ["accuracy"], logits, targets, groups=groups, resamples=300, seed=seed, kind="classification"
        )["accuracy"]
        covered += found.low <= stats.norm.cdf(1) <= found.high
    assert 0.90 <= covered / tries <= 0.99
