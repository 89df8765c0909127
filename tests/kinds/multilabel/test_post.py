"""Labels of which some are not known: the best constant prediction, and the share that is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from mlpipe.kinds.multilabel import post
from mlpipe.post import metrics
from tests.post.drawing import Stored


def test_the_constant_is_the_share_of_each_label() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((4000, 2)) < [0.2, 0.7]).astype(float)
    found = post.constant(targets, targets, ["a", "b"], Stored())
    assert found is not None
    outputs, _ = found
    shares = targets.mean(axis=0)
    of_labels = entropy([shares, 1 - shares]).mean()
    scores = metrics.compute(["nll", "auroc"], outputs, targets, "multilabel")
    assert scores["nll"] == pytest.approx(of_labels, abs=1e-5) and scores["auroc"] == 0.5


def test_labels_that_all_or_none_have_and_that_nobody_knows() -> None:
    targets = np.array([[1.0, 0.0], [1.0, 0.0]])
    found = post.constant(targets, targets[:1], ["a", "b"], Stored())
    assert found is not None and np.allclose(found[0], [[np.log(5), -np.log(5)]])
    assert post.constant(np.array([[1.0, np.nan]]), targets, ["a", "b"], Stored()) is None


def test_labels_that_nobody_knows_are_no_errors() -> None:
    """The first row is right in the one label that is known, the second wrong in one of two, whatever else is said."""
    targets = np.array([[1, np.nan, np.nan], [0, 1, np.nan]], np.float32)
    for said in (1.0, -1.0):
        outputs = np.array([[2, said, said], [3, 3, said]])
        assert post.errors(outputs, targets).tolist() == [0, 0.5]
        shares = [metrics.compute(["accuracy"], outputs[[row]], targets[[row]], "multilabel") for row in (0, 1)]
        assert post.errors(outputs, targets).tolist() == [1 - share["accuracy"] for share in shares]
