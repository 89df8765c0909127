"""Intervals with few rows hold the true value as often as they say; the whole table is in docs/post.md."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.post import kind as post_kind
from mlpipe.post.intervals.bootstrap import metric_intervals
from scripts import coverage_intervals as table


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
