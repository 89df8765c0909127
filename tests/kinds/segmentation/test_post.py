"""The best mask that is the same for every image, against all masks of one class, made pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.kinds.segmentation import post
from mlpipe.post import metrics
from mlpipe.runs import maps
from tests.post.drawing import Stored


@pytest.mark.parametrize("name", ["dice", "iou", "pixel_accuracy"])
def test_the_constant_is_the_best_mask_of_one_class(name: str) -> None:
    rng = np.random.default_rng(0)
    true = rng.choice(3, (6, 5, 7), p=[0.3, 0.6, 0.1])
    targets = np.stack([np.bincount(one.ravel(), minlength=3) for one in true])
    found = post.constant(targets / targets.sum(axis=1, keepdims=True), targets, ["a", "b", "c"], Stored())
    assert found is not None and found[1] == "b in every pixel"
    scores = []
    for label in range(3):
        counts = [maps.counts(np.full_like(one, label), one, 3)[0] for one in true]
        scores.append(metrics.compute([name], np.stack(counts), targets, "segmentation")[name])
    assert metrics.compute([name], found[0], targets, "segmentation")[name] == pytest.approx(max(scores))
