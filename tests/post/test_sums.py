"""Metrics as functions of the weights of rows: those of rows that are repeated, or left out."""

import numpy as np
import pytest

from mlpipe.errors import ConfigError
from mlpipe.post import kind as post_kind
from mlpipe.post.measures import class_metrics, label_metrics
from mlpipe.post.metrics import statistic
from mlpipe.post.sums import leave_out
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


_OF_LARGEST = ("top1_accuracy", "top5_accuracy")
WITH_INTERVALS = {
    "classification": class_metrics.METRICS,
    "multilabel": label_metrics.METRICS,
    "regression": [name for name in post_kind.of("regression").METRICS if name not in _OF_LARGEST],
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("classification", "elementwise_mcc"),
        ("multilabel", "soft_macro_f1"),
        *(("regression", name) for name in _OF_LARGEST),
    ],
)
def test_what_has_no_interval_says_so(kind: str, name: str) -> None:
    assert name in post_kind.of(kind).METRICS
    with pytest.raises(ConfigError, match="has no interval"):
        statistic(name, *rows_of(kind, 3), kind)


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
def test_a_mistyped_name_is_answered(kind: str) -> None:
    with pytest.raises(ConfigError, match="did you mean 'macro_f1'"):
        statistic("macro_f2", *rows_of(kind, 3), kind)


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


@pytest.mark.parametrize("name", ["r2", "pearson"])
@pytest.mark.parametrize("n", [3, 12, 49])
def test_what_is_left_of_equal_numbers_has_no_spread(name: str, n: int) -> None:
    """Without the one target that is another, rounding of sums must not pass for the variance of the others."""
    rng = np.random.default_rng(n)
    targets = np.full((n, 1), 0.7)
    targets[-1] = 0.1
    said = targets + rng.normal(size=(n, 1))
    left = leave_out(statistic(name, said, targets, "regression"), np.arange(n), n)
    assert np.isnan(left[-1]) and np.isfinite(left[:-1]).all()
    others = np.delete(np.arange(n), 0)
    assert left[0] == pytest.approx(post_kind.of("regression").METRICS[name](said[others], targets[others]))
