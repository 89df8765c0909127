"""Weighted box fusion against the published algorithm, written out box by box, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mlpipe.post.ensembling import box_fusion
from mlpipe.post.ensembling.box_fusion import fused_boxes
from mlpipe.post.measures.box_metrics import as_outputs

Array = npt.NDArray[Any]


def overlap(one: list[float], other: list[float]) -> float:
    wide, high = (min(one[2 + k], other[2 + k]) - max(one[k], other[k]) for k in (0, 1))
    inside = max(wide, 0) * max(high, 0)
    return inside / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - inside)


def written_out(parts: list[Array], weights: list[float]) -> list[list[float]]:
    """The algorithm of the paper's section 3 for one image: (x0, y0, x1, y1, score, class) of each fused box."""
    boxes = [
        [*row[:4], row[4] * weight, row[5]]
        for part, weight in zip(parts, weights, strict=True)
        for row in part.tolist()
    ]
    clusters: list[list[list[float]]] = []
    means: list[list[float]] = []
    for box in sorted((box for box in boxes if box[4] > 0), key=lambda one: -one[4]):
        near = [overlap(box, mean) if mean[5] == box[5] else -1.0 for mean in means]
        if near and max(near) > 0.55:
            place = near.index(max(near))
            clusters[place].append(box)
        else:
            place = len(clusters)
            clusters.append([box])
            means.append(box)
        own = np.array(clusters[place])
        means[place] = [*(own[:, :4] * own[:, 4:5]).sum(0) / own[:, 4].sum(), own[:, 4].mean(), box[5]]
    for cluster, mean in zip(clusters, means, strict=True):
        mean[4] *= min(len(parts), len(cluster)) / sum(weights)
    return sorted(means, key=lambda one: -one[4])


def some(seed: int, images: int = 6, most: int = 8) -> Array:
    rng = np.random.default_rng(seed)
    objects = np.random.default_rng(99).uniform(0, 80, (images, 4, 2))
    found = np.full((images, most, 6), np.nan)
    for image in range(images):
        many = int(rng.integers(2, most + 1))
        which = rng.integers(0, 4, many)
        corner = objects[image, which] + rng.normal(0, 2, (many, 2))
        found[image, :many] = np.column_stack(
            [corner, corner + 25 + rng.normal(0, 1, (many, 2)), rng.uniform(0.05, 1, many), which % 2]
        )
    return as_outputs(found).astype(float)


@pytest.mark.parametrize("weights", [[1 / 3, 1 / 3, 1 / 3], [0.6, 0.3, 0.1]])
def test_it_is_the_published_algorithm(weights: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box_fusion, "_BLOCK", 30)
    parts = [some(seed) for seed in range(3)]
    rows = fused_boxes(parts, weights).reshape(6, -1, 6)
    for image in range(6):
        expected = written_out([part[image].reshape(-1, 6) for part in parts], weights)[: rows.shape[1]]
        there = rows[image][rows[image, :, 4] > 0]
        assert there == pytest.approx(np.array(expected)[:, :6], abs=1e-4)


def test_by_hand() -> None:
    """Two models see one object, one of them a second one."""
    one = as_outputs(np.array([[[0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.8, 1]]])).astype(float)
    other = as_outputs(np.array([[[0, 2, 10, 12, 0.3, 0]]])).astype(float)
    rows = fused_boxes([one, other], [0.5, 0.5]).reshape(-1, 6)
    assert rows[0] == pytest.approx([0, 0.5, 10, 10.5, 0.6, 0], abs=1e-6)
    assert rows[1] == pytest.approx([50, 50, 60, 60, 0.4, 1], abs=1e-6)


def test_a_model_alone_is_left_as_it_is() -> None:
    one, other = some(1), some(2)
    assert np.array_equal(fused_boxes([one, other], [1.0, 0.0]), one)
    assert np.array_equal(fused_boxes([one], [1.0]), one)


def test_models_that_agree_are_as_certain_as_one() -> None:
    apart = as_outputs(np.array([[[0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.2, 0]]])).astype(float)
    assert fused_boxes([apart, apart, apart], [1 / 3] * 3) == pytest.approx(apart, abs=1e-6)


def test_images_without_a_detection_stay_without() -> None:
    nothing = np.zeros((2, 12))
    assert not fused_boxes([nothing, nothing], [0.5, 0.5]).any()
