"""Probabilities are mixed by their weights, and the losses of a mixture are the metrics."""

import numpy as np
import pytest
from scipy.special import softmax

from mlpipe.post.ensembling.mixing import binary_cross_entropy, combine, cross_entropy
from mlpipe.post.measures import class_metrics, label_metrics
from tests.post.drawing import models


def test_mixed_probabilities_of_classes() -> None:
    predictions, _ = models(6)
    out = combine(predictions[:2], [0.3, 0.7], "classification", "probabilities")
    expected = 0.3 * softmax(predictions[0], axis=1) + 0.7 * softmax(predictions[1], axis=1)
    assert np.exp(out) == pytest.approx(expected)


def test_losses_are_the_metrics() -> None:
    predictions, targets = models(7)
    assert cross_entropy(predictions[0], targets) == pytest.approx(class_metrics.nll(predictions[0], targets))
    labels = np.where(np.random.default_rng(0).random((120, 3)) < 0.2, np.nan, 1.0)
    found = binary_cross_entropy(predictions[0], labels)
    assert found == pytest.approx(label_metrics.nll(predictions[0], labels))
