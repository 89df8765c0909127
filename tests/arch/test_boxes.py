"""Raw rows, their decoding, suppression and anchors, against plain loops and values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mlpipe.arch import boxes


def raw_rows(seed: int = 0, images: int = 2, classes: int = 3) -> torch.Tensor:
    """Random rows of two grids over images of 48 x 64 pixels, two anchors a cell."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(images, 3 * 4 + 6 * 8, 2 * (5 + classes), generator=generator)
    anchors = torch.tensor([[[20.0, 30.0], [40.0, 16.0]], [[8.0, 8.0], [5.0, 12.0]]])
    return boxes.rows(values, [(3, 4), (6, 8)], (48, 64), anchors)


def test_a_row_decodes_as_the_paper_says() -> None:
    raw = raw_rows()
    assert raw.shape == (2, 2 * (12 + 48), 5 + 3 + boxes.PLACES)
    # The second anchor of the cell in row 1 and column 2 of the coarse grid: cells of 16 x 16 pixels.
    row = 2 * (1 * 4 + 2) + 1
    tx, ty, tw, th = raw[1, row, :4].tolist()
    x = 2 * 16 + 16 / (1 + math.exp(-tx))
    y = 1 * 16 + 16 / (1 + math.exp(-ty))
    w, h = 40 * math.exp(tw), 16 * math.exp(th)
    expected = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    assert boxes.decoded(raw)[1, row].tolist() == pytest.approx(expected, rel=1e-5)
    # The first anchor of the last cell of the fine grid: cells of 8 x 8 pixels.
    assert raw[0, -2, -6:].tolist() == [56, 40, 8, 8, 8, 8]


def overlap(one: list[float], other: list[float]) -> float:
    """Intersection over union of two boxes."""
    across = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    down = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return across * down / (area - across * down)


def kept_by_hand(
    found: list[list[float]], scores: list[list[float]], least: float, iou: float, most: int
) -> list[list[float]]:
    """Greedy suppression of each class by itself, in a plain loop."""
    kept: list[list[float]] = []
    pairs = [(score, number, k) for number, each in enumerate(scores) for k, score in enumerate(each) if score >= least]
    for score, number, k in sorted(pairs, reverse=True):
        if all(other[5] != k or overlap(found[number], other[:4]) <= iou for other in kept):
            kept.append([*found[number], score, float(k)])
    return kept[:most]


@pytest.mark.parametrize("most", [100, 5])
def test_suppression_is_that_of_a_plain_loop(most: int) -> None:
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(3, 40, 2, generator=generator) * 40
    found = torch.cat([corner, corner + 5 + 20 * torch.rand(3, 40, 2, generator=generator)], 2)
    scores = torch.rand(3, 40, 4, generator=generator)
    scores[1] = 0.0
    given = boxes.suppressed(found, scores, min_score=0.3, iou=0.4, most=most)
    assert given.shape == (3, most, 6) and given[1].isnan().all()
    for image in (0, 2):
        expected = kept_by_hand(found[image].tolist(), scores[image].tolist(), 0.3, 0.4, most)
        there = ~given[image, :, 4].isnan()
        assert int(there.sum()) == len(expected) and there[: len(expected)].all()
        assert np.allclose(given[image][there].numpy(), expected, atol=1e-5)


def test_suppression_looks_at_no_other_image_however_many_classes_there_are() -> None:
    generator = torch.Generator().manual_seed(2)
    corner = 600 + 10 * torch.rand(16, 12, 2, generator=generator)
    found = torch.cat([corner, corner + 10 + 20 * torch.rand(16, 12, 2, generator=generator)], 2)
    scores = torch.zeros(16, 12, 500)
    scores[..., 499] = 0.5 + torch.rand(16, 12, generator=generator) / 2
    given = boxes.suppressed(found, scores, min_score=0.3, iou=0.4, most=12)
    for image in range(16):
        expected = kept_by_hand(found[image].tolist(), scores[image].tolist(), 0.3, 0.4, 12)
        there = ~given[image, :, 4].isnan()
        assert int(there.sum()) == len(expected) and np.allclose(given[image][there].numpy(), expected, atol=1e-4)


def test_detections_have_products_of_objectness_and_class() -> None:
    raw = raw_rows(images=1, classes=1)
    found = boxes.detections(raw, (48, 64), min_score=0.0, iou=1.0)[0]
    best = (raw[0, :, 4].sigmoid() * raw[0, :, 5].sigmoid()).max()
    assert found[0, 4].item() == pytest.approx(best.item(), rel=1e-6)
    assert found[:, [0, 2]].min() >= 0 and found[:, [0, 2]].max() <= 64 and found[:, [1, 3]].max() <= 48


def test_anchors_of_the_paper_grow_with_images() -> None:
    assert np.allclose(boxes.paper_anchors((416, 416), 9), boxes.PAPER)
    half = boxes.paper_anchors((208, 416), 9)
    assert np.allclose(half, np.array(boxes.PAPER) * [1, 0.5])
    assert np.allclose(boxes.paper_anchors((416, 416), 3), [(10, 13), (62, 45), (373, 326)])


def test_k_means_finds_groups_of_shapes() -> None:
    generator = np.random.default_rng(0)
    centres = np.array([(10, 30), (30, 10), (60, 60), (20, 90)], float)
    groups = [centre * generator.uniform(0.9, 1.1, (50, 2)) for centre in centres]
    found = boxes.clustered(generator.permutation(np.concatenate(groups)), 4)
    expected = np.array([group.mean(0) for group in groups])
    assert np.allclose(found, expected[np.argsort(expected.prod(1))])


def test_k_means_of_fewer_boxes_than_anchors() -> None:
    found = boxes.clustered(np.array([[4.0, 8.0], [9.0, 9.0]]), 5)
    assert found.shape == (5, 2) and {tuple(row) for row in found} == {(4.0, 8.0), (9.0, 9.0)}
