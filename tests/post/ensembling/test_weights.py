"""Greedy weights are those of a plain loop, and certified ones are not beaten by scipy."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from mlpipe.post.ensembling.weights import certified_weights, greedy
from tests.post.drawing import models


def plain_greedy(predictions, targets, size):
    """AutoGluon's EnsembleSelection, written out."""
    probabilities = [softmax(one, axis=1) for one in predictions]
    picked, path = [], []
    for _ in range(size):
        count = len(picked)
        held = sum((probabilities[m] for m in picked), np.zeros_like(probabilities[0]))
        scores = []
        for one in probabilities:
            mean = (held + one) / (count + 1)
            score = -np.log(mean[np.arange(len(targets)), targets]).mean()
            scores.append(round(score, 6) if picked else score)
        ties = [m for m, score in enumerate(scores) if np.isclose(score, min(scores), rtol=1e-12, atol=0)]
        best = ([m for m in ties if m in picked] or ties)[0]
        picked.append(best)
        path.append(scores[best])
    length = path.index(min(path)) + 1
    return np.bincount(picked[:length], minlength=len(predictions)) / length


@pytest.mark.parametrize("seed", range(6))
def test_greedy_is_the_plain_loop(seed: int) -> None:
    predictions, targets = models(seed)
    assert greedy(predictions, targets, size=25, kind="classification") == pytest.approx(
        plain_greedy(predictions, targets, 25), abs=1e-12
    )


def test_greedy_prefers_a_model_that_is_in_already() -> None:
    predictions, targets = models(0, count=2)
    twins = [predictions[0], predictions[0], predictions[0]]
    assert greedy(twins, targets, size=5, kind="classification").tolist() == [1, 0, 0]


@pytest.mark.parametrize("seed", range(4))
def test_certified_weights_are_not_beaten(seed: int) -> None:
    predictions, targets = models(seed)
    weights, gap = certified_weights(predictions, targets, smoothing=0, kind="classification")
    own = np.column_stack([softmax(one, axis=1)[np.arange(120), targets] for one in predictions])

    def loss(w):
        return -np.log(own @ w).mean()

    other = minimize(
        loss,
        np.full(6, 1 / 6),
        method="SLSQP",
        bounds=[(0, 1)] * 6,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14},
    )
    assert gap < 1e-10
    assert loss(weights) <= other.fun + gap + 1e-12
    assert loss(weights) <= loss(greedy(predictions, targets, size=40, kind="classification")) + 1e-12
    smooth, _ = certified_weights(predictions, targets, smoothing=1000, kind="classification")
    assert np.abs(smooth - 1 / 6).max() < np.abs(weights - 1 / 6).max()
    assert smooth.min() > 0


@pytest.mark.parametrize("smoothing", [None, 0.0, 10.0])
def test_repeated_rows_of_a_group_weigh_as_the_rows_once(smoothing: float | None) -> None:
    """Five copies of a patient's image are no further evidence; they were dealt to fitted and judged rows alike."""
    predictions, targets = models(1)
    once, _ = certified_weights(predictions, targets, kind="classification", smoothing=smoothing)
    repeated = [np.repeat(prediction, 5, axis=0) for prediction in predictions]
    groups = np.repeat(np.arange(len(targets)), 5)
    again, _ = certified_weights(
        repeated, np.repeat(targets, 5), kind="classification", smoothing=smoothing, groups=groups
    )
    assert again == pytest.approx(once, abs=1e-6)
    # A label that is asked twice is one label.
    columns = [prediction[:, :1] for prediction in predictions]
    labels = (targets == 0).astype(float)[:, None]
    plain, _ = certified_weights(columns, labels, kind="multilabel", smoothing=smoothing)
    twice, _ = certified_weights(
        [np.tile(column, 2) for column in columns], np.tile(labels, 2), kind="multilabel", smoothing=smoothing
    )
    assert twice == pytest.approx(plain, abs=1e-6)


def test_few_groups_smooth_as_few_rows_do() -> None:
    predictions, targets = models(2)
    weights, _ = certified_weights(predictions, targets, kind="classification", groups=np.arange(len(targets)) % 9)
    most, _ = certified_weights(
        predictions, targets, kind="classification", groups=np.arange(len(targets)) % 9, smoothing=100.0
    )
    assert weights == pytest.approx(most, abs=1e-12)
