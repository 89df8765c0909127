"""Metrics of labels against scikit-learn, and what unknown labels do."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from mlpipe.post import metrics
from mlpipe.post.measures import label_metrics

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(300, 4)).round(1)
TARGETS = (RNG.random((300, 4)) < [0.5, 0.3, 0.2, 0.05]).astype(float)


def test_every_metric_agrees_with_scikit_learn() -> None:
    """F11: multi-label metrics were a TypeError."""
    probability, guess = 1 / (1 + np.exp(-LOGITS)), (LOGITS > 0).astype(int)
    wanted = {
        "accuracy": 1 - sk.hamming_loss(TARGETS, guess),
        "exact_match": sk.accuracy_score(TARGETS, guess),
        "macro_f1": sk.f1_score(TARGETS, guess, average="macro"),
        "micro_f1": sk.f1_score(TARGETS, guess, average="micro"),
        "auroc": sk.roc_auc_score(TARGETS, LOGITS, average="macro"),
        "average_precision": sk.average_precision_score(TARGETS, LOGITS, average="macro"),
        "nll": np.mean([sk.log_loss(TARGETS[:, k], probability[:, k]) for k in range(4)]),
        "brier": np.mean([sk.brier_score_loss(TARGETS[:, k], probability[:, k]) for k in range(4)]),
    }
    assert set(wanted) == set(label_metrics.METRICS)
    found = metrics.compute(wanted, LOGITS, TARGETS, "multilabel")
    assert found == pytest.approx(wanted, abs=1e-12)


def test_unknown_labels_are_left_out() -> None:
    holes = TARGETS.copy()
    unknown = RNG.random(TARGETS.shape) < 0.3
    holes[unknown] = np.nan
    known = ~unknown
    assert label_metrics.accuracy(LOGITS, holes) == ((LOGITS > 0) == (TARGETS == 1))[known].mean()
    areas = [sk.roc_auc_score(TARGETS[known[:, k], k], LOGITS[known[:, k], k]) for k in range(4)]
    assert label_metrics.auroc(LOGITS, holes) == pytest.approx(np.mean(areas), abs=1e-12)
    rows = label_metrics.table(LOGITS, holes, ["a", "b", "c", "d"])
    assert [row["images"] for row in rows] == known.sum(axis=0).tolist()
    assert [row["auroc"] for row in rows] == pytest.approx(areas)


def test_nothing_to_measure() -> None:
    nothing = np.full((3, 2), np.nan)
    assert metrics.compute(["auroc"], LOGITS[:3, :2], nothing, "multilabel") == {}
    one_sided = np.ones((3, 2))
    assert np.isnan(label_metrics.auroc(LOGITS[:3, :2], one_sided))
    assert np.isnan(label_metrics.exact_match(LOGITS[:1, :2], np.array([[1.0, np.nan]])))
