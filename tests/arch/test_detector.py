"""Detectors with anchors: what they give in training and in evaluation, their anchors, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mlpipe.arch import boxes, detector
from mlpipe.arch.classifier import RAW, Head, Pixels
from mlpipe.arch.detector import Detector
from mlpipe.errors import ConfigError
from mlpipe.learn.losses.labels import Labels
from mlpipe.learn.losses.yolov3 import yolov3

HEAD = Head(2, most=boxes.MOST)


def network(head: Head = HEAD, pixels: Pixels | None = None, **options: Any) -> Detector:
    """A tiny one."""
    torch.manual_seed(0)
    chosen = {"backbone": "test_resnet", "name": "yolo", "pretrained": False, "strides": [8, 16, 32], "width": 16}
    return detector.yolo({"target": head}, pixels or Pixels(3, 64, width=96), **chosen | options)


def test_rows_in_training_and_detections_in_evaluation() -> None:
    images, built = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8), network(min_score=0.0)
    raw = built(images)["target"]
    # Grids of 2 x 3, 4 x 6 and 8 x 12 cells, coarse ones first, three anchors a cell.
    assert raw.shape == (2, 3 * (6 + 24 + 96), 5 + 2 + boxes.PLACES)
    assert raw[0, 0, -6:-2].tolist() == [0, 0, 32, 32] and raw[0, -1, -6:-2].tolist() == [88, 56, 8, 8]
    built.eval()
    with torch.no_grad():
        found = built(images)
        both = built(images, torch.zeros(2, 1, 5))
    assert set(found) == {"target"} and set(both) == {"target", "target" + RAW}
    assert found["target"].shape == (2, 100, 6) and torch.equal(found["target"], both["target"])
    expected = boxes.detections(both["target" + RAW], (64, 96), min_score=0.0, iou=0.5)
    assert torch.equal(found["target"], expected)


def test_the_paper_s_anchors_lie_on_the_grids_that_it_names() -> None:
    built = network(pixels=Pixels(3, 416))
    assert built.anchors[0].tolist() == [[116, 90], [156, 198], [373, 326]]
    assert built.anchors[2].tolist() == [[10, 13], [16, 30], [33, 23]]


def test_anchors_of_training_boxes() -> None:
    sizes = np.repeat([[4.0, 6], [8, 8], [12, 20], [20, 12], [30, 30], [60, 64]], 5, axis=0)
    rows = np.column_stack([np.ones_like(sizes), sizes + 1, np.zeros(len(sizes))])
    # Two images, of which one has a place without a box; and one of which nothing is known.
    seen = np.full((3, 16, 5), np.nan)
    seen[0, :14], seen[1, :16], seen[2, 0, 4] = rows[:14], rows[14:], -1
    built = network(Head(2, most=100, targets=lambda: iter([seen[:1], seen[1:]])), anchors="kmeans", anchors_per_cell=2)
    assert built.anchors.tolist() == [[[30, 30], [60, 64]], [[12, 20], [20, 12]], [[4, 6], [8, 8]]]
    # Where weights follow, no box is known; they have a place to go to.
    assert network(HEAD, anchors="kmeans", anchors_per_cell=2).anchors.shape == built.anchors.shape


def test_listed_anchors() -> None:
    built = network(anchors=[[4, 4], [8, 8], [16, 16]])
    assert built.anchors.tolist() == [[[16, 16]], [[8, 8]], [[4, 4]]]
    with pytest.raises(ConfigError, match="2 anchors are not the same number for each of 3 strides"):
        network(anchors=[[4, 4], [8, 8]])
    with pytest.raises(ConfigError, match="no list of widths and heights"):
        network(anchors=[[4, 4], [8, -8], [1, 1]])


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"arch\.strides: test_resnet has no feature maps.* choose among 2, 4, 8, 16, 32"
    ):
        network(strides=[8, 64])
    with pytest.raises(ConfigError, match="features at several resolutions"):
        network(backbone="test_vit")
    with pytest.raises(ConfigError, match=r"arch: finds objects in images, the task has no boxes"):
        network(Head(2))
    with pytest.raises(ConfigError, match="boxes are learned alone"):
        detector.box_target({"a": HEAD, "b": HEAD}, "yolo")


@pytest.mark.program
def test_a_few_images_are_learned_by_heart() -> None:
    torch.manual_seed(0)
    target = torch.full((4, 2, 5), torch.nan)
    images = torch.full((4, 3, 64, 64), 60, dtype=torch.uint8)
    for number, (x, y, side) in enumerate([(4, 6, 16), (30, 30, 24), (40, 8, 12), (10, 36, 20)]):
        images[number, number % 2, y : y + side, x : x + side] = 220
        target[number, 0] = torch.tensor([x, y, x + side, y + side, number % 2])
    built = network(pixels=Pixels(3, 64), anchors=[[12, 12], [16, 16], [24, 24]], min_score=0.3)
    loss = yolov3(Labels("detection", torch.tensor([2, 2]), 4), box="ciou", match_iou=0.4)
    optimizer = torch.optim.Adam(built.parameters(), 3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        loss(built(images)["target"], target).backward()
        optimizer.step()
    built.eval()
    with torch.no_grad():
        found = built(images)["target"]
    for number in range(4):
        there = found[number][~found[number, :, 4].isnan()]
        assert len(there) == 1 and there[0, 5] == number % 2
        assert (there[0, :4] - target[number, 0, :4]).abs().max() < 3


def test_in_half_precision_boxes_are_still_decoded_with_whole_anchors() -> None:
    wide = [[3.3333333, 5.7777777], [101.31, 333.77], [500.123, 401.377]]
    built = network(strides=[32], anchors=wide, min_score=0.0).eval()
    images = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        wanted = built(images, torch.zeros(1, 1, 5))["target" + RAW]
        half = built.half()
        found = half(images, torch.zeros(1, 1, 5))["target" + RAW]
    assert half is built and {one.dtype for one in half.parameters()} == {torch.float16}
    # Where a row stands has all of its digits, what a network gives for it those of half precision.
    assert found.dtype == torch.float32 and torch.equal(found[..., -boxes.PLACES :], wanted[..., -boxes.PLACES :])
    torch.testing.assert_close(found[..., : -boxes.PLACES], wanted[..., : -boxes.PLACES], atol=0.05, rtol=0.01)
