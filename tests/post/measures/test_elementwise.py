"""Metrics of outputs that stand for classes, against Keras's own."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mlpipe.post.measures import elementwise, label_metrics, number_metrics


def test_the_largest_output_by_hand() -> None:
    p = np.array([[0.9, 0.8, 0.1], [0.2, 0.6, 0.6], [0.3, 0.2, 0.1], [0.5, 0.1, 0.4]])
    t = np.array([[0, 1, 0], [0, 1, 1], [1, 0, 0], [np.nan, 1, 0]], float)
    # Rows 1 and 2 of the three that are known; with two guesses row 0 is right, too.
    assert elementwise.top_accuracy(p, t, 1) == pytest.approx(2 / 3)
    assert elementwise.top_accuracy(p, t, 2) == 1.0
    assert np.isnan(elementwise.top_accuracy(p[3:], t[3:], 1))


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_output_as_in_keras(seed: int) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(size=(40, 8)).astype(np.float32), (rng.random((40, 8)) < 0.4).astype(np.float32)
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    theirs_of = {
        "top1_accuracy": keras.metrics.categorical_accuracy,
        "top5_accuracy": keras.metrics.top_k_categorical_accuracy,
    }
    for name, theirs in theirs_of.items():
        ours, numbers = label_metrics.ELEMENTWISE[name], number_metrics.OF_CLASSES[name]
        expected = float(np.mean(keras.ops.convert_to_numpy(theirs(targets, scores))))
        assert ours(logits, targets) == numbers(scores, targets) == pytest.approx(expected)


def test_outputs_without_known_targets_are_in_no_mean() -> None:
    p, t = np.array([[0.9, 0.2, 0.5], [0.4, 0.7, 0.5]]), np.array([[1.0, 0.0, np.nan], [0.0, 1.0, np.nan]])
    assert elementwise.soft_macro_f1(p, t) == pytest.approx(elementwise.soft_macro_f1(p[:, :2], t[:, :2]))
    assert np.isnan(elementwise.soft_macro_f1(p, np.full_like(t, np.nan)))
