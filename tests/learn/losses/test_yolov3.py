"""The loss of YOLOv3 against plain loops over cells, anchors and objects, and by overfitting."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mlpipe.arch import boxes
from mlpipe.errors import ConfigError
from mlpipe.learn.losses.auto import auto
from mlpipe.learn.losses.labels import Labels
from mlpipe.learn.losses.yolov3 import yolov3

NAN = math.nan
SIDES = (48, 64)
GRIDS = [(3, 4), (6, 8)]
ANCHORS = [[[20.0, 30.0], [40.0, 16.0]], [[8.0, 8.0], [5.0, 12.0]]]
LABELS = Labels("detection", torch.tensor([3, 1, 2]), 4)


def values(seed: int = 0) -> Tensor:
    """What a network gives for three images: 12 and 48 cells, two anchors each, three classes."""
    return torch.randn(3, 60, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.7


def raw(given: Tensor) -> Tensor:
    return boxes.rows(given, GRIDS, SIDES, torch.tensor(ANCHORS))


TARGET = torch.tensor(
    [
        # Two objects of one cell and anchor (the second is nearer to it), one of another shape, one at the very edge.
        [[2, 2, 26, 28, 0], [4, 0, 24, 29, 2], [40, 10, 47, 19, 1], [54, 40, 64, 48, 1]],
        [[NAN] * 5] * 4,
        [[NAN, NAN, NAN, NAN, -1], *[[NAN] * 5] * 3],
    ]
)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def entropy(value: float, wanted: float) -> float:
    return -wanted * math.log(sigmoid(value)) - (1 - wanted) * math.log(1 - sigmoid(value))


def overlap(one: list[float], other: list[float]) -> float:
    across = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    down = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return across * down / (area - across * down)


def by_hand(given: Tensor, truth: list[list[float]], ignore: float, match: float | None) -> list[float]:
    """The three terms of one image, cell by cell and anchor by anchor."""
    predictions = []
    cell = 0
    for grid, anchors in zip(GRIDS, ANCHORS, strict=True):
        height, width = SIDES[0] / grid[0], SIDES[1] / grid[1]
        for y in range(grid[0]):
            for x in range(grid[1]):
                for number, anchor in enumerate(anchors):
                    one = given[cell, 8 * number : 8 * number + 8].tolist()
                    predictions.append((one, x, y, width, height, anchor))
                cell += 1
    owner: dict[int, tuple[float, list[float]]] = {}
    for true in truth:
        w, h = true[2] - true[0], true[3] - true[1]
        shapes = {}
        for number, (_, x, y, width, height, anchor) in enumerate(predictions):
            centre = (true[0] + true[2]) / 2 / width, (true[1] + true[3]) / 2 / height
            if math.floor(centre[0]) == x and math.floor(centre[1]) == y:
                shapes[number] = overlap([0, 0, w, h], [0, 0, *anchor])
        best = max(shapes, key=lambda number: shapes[number])
        for number, similar in shapes.items():
            wins = number not in owner or similar > owner[number][0]
            if wins and (number == best or (match is not None and similar >= match)):
                owner[number] = similar, true
    terms = [0.0, 0.0, 0.0]
    for number, (one, x, y, width, height, anchor) in enumerate(predictions):
        tx, ty, tw, th, confidence, *classes = one
        if number in owner:
            true = owner[number][1]
            terms[0] += (sigmoid(tx) - ((true[0] + true[2]) / 2 / width - x)) ** 2
            terms[0] += (sigmoid(ty) - ((true[1] + true[3]) / 2 / height - y)) ** 2
            terms[0] += (tw - math.log((true[2] - true[0]) / anchor[0])) ** 2
            terms[0] += (th - math.log((true[3] - true[1]) / anchor[1])) ** 2
            terms[1] += entropy(confidence, 1)
            terms[2] += sum(entropy(value, float(k == true[4])) for k, value in enumerate(classes))
            continue
        middle = (x + sigmoid(tx)) * width, (y + sigmoid(ty)) * height
        half = anchor[0] * math.exp(tw) / 2, anchor[1] * math.exp(th) / 2
        box = [middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]]
        if all(overlap(box, true[:4]) <= ignore for true in truth):
            terms[1] += entropy(confidence, 0)
    return terms


@pytest.mark.parametrize("match", [None, 0.2])
@pytest.mark.parametrize("ignore", [0.5, 0.25])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_is_that_of_plain_loops(seed: int, ignore: float, match: float | None) -> None:
    given = values(seed)
    first = by_hand(given[0], TARGET[0].tolist(), ignore, match)
    empty = by_hand(given[1], [], ignore, match)
    # The third image is not known, and counts nothing.
    weights = [1.0, 0.5, 2.0]
    expected = sum(w * (a + b) for w, a, b in zip(weights, first, empty, strict=True)) / 2
    loss = yolov3(LABELS, ignore_iou=ignore, match_iou=match, object_weight=0.5, class_weight=2.0)
    assert loss(raw(given), TARGET).item() == pytest.approx(expected, rel=1e-5)
    weighed = (
        3 * sum(w * a for w, a in zip(weights, first, strict=True))
        + sum(w * b for w, b in zip(weights, empty, strict=True))
    ) / 4
    assert loss(raw(given), TARGET, torch.tensor([3.0, 1.0, 7.0])).item() == pytest.approx(weighed, rel=1e-5)


def test_what_is_ignored_depends_on_the_threshold() -> None:
    """The plain loops see it too: else the threshold would be of no consequence in the comparison."""
    given = values(0)
    assert by_hand(given[0], TARGET[0].tolist(), 0.5, None)[1] != by_hand(given[0], TARGET[0].tolist(), 0.25, None)[1]


def test_images_without_objects_alone() -> None:
    given = values(2)
    loss = yolov3(LABELS)(raw(given)[1:2], TARGET[1:2])
    assert loss.item() == pytest.approx(by_hand(given[1], [], 0.5, None)[1], rel=1e-5)
    assert yolov3(LABELS)(raw(given)[2:], TARGET[2:]).item() == 0


@pytest.mark.parametrize("options", [{}, {"box": "ciou", "match_iou": 0.3}, {"box": "giou"}])
def test_a_few_images_are_learned_by_heart(options: dict[str, Any]) -> None:
    given = torch.zeros(3, 60, 16, requires_grad=True)
    loss, optimizer = yolov3(LABELS, **options), torch.optim.Adam([given], 0.1)
    # The two objects of one cell and anchor cannot both be learned.
    target = TARGET.clone()
    target[0, 0] = TARGET[0, 3]
    target[0, 3] = NAN
    for _ in range(300):
        optimizer.zero_grad()
        loss(raw(given), target).backward()
        optimizer.step()
    found = boxes.detections(raw(given).detach(), SIDES, min_score=0.5, iou=0.5)
    there = found[0][found[0, :, 4] > 0.5]
    assert sorted(there[:, 5].tolist()) == [1, 1, 2] and found[1].isnan().all()
    for true in target[0, :3].tolist():
        assert max(overlap(one[:4], true[:4]) for one in there.tolist() if one[5] == true[4]) > 0.95


def test_boxes_have_losses_of_their_own() -> None:
    with pytest.raises(ConfigError, match=r"yolov3 is for detection tasks, this task is classification; use auto, ce"):
        yolov3(Labels("classification", torch.tensor([1, 2]), 3))
    given = values()
    usual = yolov3(LABELS, box="ciou", match_iou=0.4)
    assert auto(LABELS)(raw(given), TARGET).item() == usual(raw(given), TARGET).item()
    # What a network has computed itself: the terms of the batch beside each image.
    assert auto(LABELS)(torch.tensor([[1.0, 2.0], [1.0, 2.0]]), TARGET[:2]).item() == 3
    with pytest.raises(ConfigError, match="label_smoothing"):
        auto(LABELS, label_smoothing=0.1)
