"""Boxes as tensors: calibrated, fused and compared as the project does it."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch

from mlpipe import kinds
from mlpipe.arch.boxes import survivors
from mlpipe.post import kind as post_kind
from mlpipe.post.calibration.labels import calibrate_labels
from mlpipe.post.ensembling import box_fusion
from mlpipe.post.measures.box_metrics import as_outputs
from mlpipe.predicting import box_tensors
from mlpipe.predicting.parity import Difference
from mlpipe.runs.sinks.box_files import NUMBERS

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 2, (300, 3))


def test_columns_are_those_of_the_files() -> None:
    assert kinds.of("detection").columns == (*NUMBERS, "class")


BOX = [10.0, 10.0, 50.0, 60.0, 0.9, 1.0]


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows).reshape(-1, 6)


def compared(one: np.ndarray, other: np.ndarray, limit: float = 1e-3) -> Difference:
    return box_tensors.difference([one], [other], [100], np.array([0.5, 0.5]), limit)


def test_boxes_that_are_there_twice() -> None:
    moved = [10.05, 10.0, 50.0, 60.0, 0.9004, 1.0]
    one = compared(boxes(BOX), boxes(moved, [0.0] * 6))
    # Half a thousandth of the side, more than the scores are apart.
    assert one.largest == pytest.approx(5e-4) and one.decided == 0 and one.alone == 0
    assert compared(boxes(), boxes()) == Difference(0.0, 0, 1)


@pytest.mark.parametrize("column", range(6))
def test_a_box_of_which_one_number_differs_is_another(column: int) -> None:
    other = list(BOX)
    other[column] += {4: -0.01, 5: -1.0}.get(column, 1.0)
    low = [0.0, 0.0, 5.0, 5.0, 0.1, 0.0]
    found = compared(boxes(BOX, low), boxes(other, low))
    assert found.decided == 2 and found.alone == 0.5


def test_a_missing_box_counts_by_its_score() -> None:
    low, last = [0.0, 0.0, 5.0, 5.0, 0.1, 0.0], [1.0, 1.0, 5.0, 5.0, 0.0105, 0.0]
    assert compared(boxes(BOX, low), boxes(low)).decided == 1
    there = compared(boxes(BOX, low, last), boxes(BOX, last))
    assert there.decided == 0 and there.alone == pytest.approx(1 / 5)
    # The last of all may have fallen below what the models leave out.
    assert compared(boxes(BOX, low, last), boxes(BOX, low)).alone == 0


def test_the_only_box_of_an_image_is_missed() -> None:
    low, none = [0.0, 0.0, 5.0, 5.0, 0.1, 0.0], [0.0] * 6
    given, found = [boxes(BOX), boxes(BOX, low)], [boxes(none, none), boxes(BOX, low)]
    least = np.array([0.5, 0.5])
    missed = box_tensors.difference(given, found, [100, 100], least, 1e-3)
    assert missed.decided == 1 and missed.alone == pytest.approx(1 / 5)
    # Of a full list the last one may have been one too many, whatever other images show.
    full = [[10.0 * place, 0.0, 10.0 * place + 5, 5.0, 0.9, 0.0] for place in range(99)]
    given, found = [boxes(*full, [0.0, 50.0, 5.0, 60.0, 0.8, 0.0]), given[1]], [boxes(*full), given[1]]
    assert box_tensors.difference(given, found, [100, 100], least, 1e-3) == Difference(0.0, 0, 2)


@pytest.mark.parametrize(("score", "alone"), [(0.1019, 0.0), (0.1021, 1 / 4)])
def test_a_box_at_the_end_is_none_to_speak_of_within_twice_the_limit(score: float, alone: float) -> None:
    """Its score may have fallen by the limit, and that of the last box may have risen by it."""
    last, other = [0.0, 0.0, 5.0, 5.0, 0.1, 0.0], [1.0, 1.0, 9.0, 9.0, score, 0.0]
    found = compared(boxes(BOX, other), boxes(BOX, last))
    assert found.decided == 0 and found.alone == pytest.approx(alone)


@pytest.mark.parametrize("column", range(5))
def test_a_box_with_nan_is_near_to_none(column: int) -> None:
    other, low = list(BOX), [0.0, 0.0, 5.0, 5.0, 0.1, 1.0]
    other[column] = float("nan")
    # What has no score at all is no box.
    assert compared(boxes(BOX, low), boxes(other, low)).decided == (1 if column == 4 else 2)


def detections(images: int, most: int, seed: int) -> np.ndarray:
    """Random boxes of two classes, many of them around one another, and of each image three that are none."""
    rng = np.random.default_rng(seed)
    corners, sides = rng.uniform(0, 30, (images, most, 2)), rng.uniform(10, 40, (images, most, 2))
    scores, labels = rng.uniform(0.01, 1, (images, most, 1)), rng.integers(0, 2, (images, most, 1))
    scores[:, -3:] = np.nan
    rows = np.concatenate([corners, corners + sides, scores, labels], -1)
    return as_outputs(rows).reshape(images, most, 6).astype(np.float64)


def by_loop(step: Any, begun: Any, steps: Any) -> tuple[Any, None]:
    """What a scan does, without its compiler."""
    for one in zip(*steps, strict=True):
        begun, _ = step(begun, one)
    return begun, None


@pytest.mark.parametrize("weights", [[1.0], [0.0, 1.0], [0.3, 0.7], [0.2, 0.5, 0.3]])
def test_boxes_are_fused_as_those_of_the_project(weights: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("torch._higher_order_ops.scan"), "scan", by_loop)
    parts = [detections(4, 12 + seed, seed) for seed in range(len(weights))]
    fused = box_tensors.Boxes().combine([torch.from_numpy(part) for part in parts], weights, "").numpy()
    wanted = box_fusion.fused_boxes([part.reshape(4, -1) for part in parts], weights)
    wide = wanted.shape[1] // 6
    np.testing.assert_allclose(fused[:, :wide], as_outputs(wanted.reshape(4, wide, 6)).reshape(4, wide, 6), atol=1e-5)
    assert (wanted.reshape(4, wide, 6)[..., 4] > 0).sum() > 20 and not fused[:, wide:].any()


@pytest.mark.parametrize("method", ["affine", "beta", "isotonic"])
def test_scores_of_boxes_are_calibrated_by_their_classes(method: str) -> None:
    targets = (LOGITS[:, :2] + RNG.normal(0, 2, (300, 2)) > 0).astype(float)
    plain = calibrate_labels(LOGITS[:, :2] - [1, 2], targets, method=method).as_plain()
    given = detections(3, 10, 0)
    wanted = post_kind.of("detection").PROBABILITIES.learned(plain)(given.reshape(3, -1)).reshape(given.shape)
    found = box_tensors.Boxes().calibrated(plain)(torch.from_numpy(given)).numpy()
    # Of equal scores any comes first.
    order = (np.lexsort((one[..., 0], -one[..., 4].round(6))) for one in (found, wanted))
    found, wanted_there = (
        np.take_along_axis(one, place[..., None], 1) for one, place in zip((found, wanted), order, strict=True)
    )
    np.testing.assert_allclose(found, wanted_there, atol=1e-5)
    assert np.abs(wanted - given).max() > 0.01


def test_boxes_lie_in_the_size_of_the_image_and_have_an_area() -> None:
    rows = torch.tensor([[[4.0, 3, 8, 9, 0.5, 1], [8, 2, 8, 6, 0.4, 0], [torch.nan] * 6]])
    boxes = box_tensors.Boxes()
    found = boxes.values(boxes.placed(rows, (30, 80), (10, 16))).numpy()
    # Across five times, down three times; the second is a line, the third is none.
    np.testing.assert_allclose(found[0], [[20, 9, 40, 27, 0.5, 1], [0] * 6, [0] * 6])


@pytest.mark.parametrize("many", [1, 7, 60])
def test_suppression_in_steps_is_that_of_torchvision(many: int) -> None:
    """Exact coordinates, so that boxes that touch, lie on each other and have no area are among them."""
    draws = torch.Generator().manual_seed(many)
    first = torch.randint(0, 12, (4, many, 2), generator=draws).float()
    corners = torch.cat([first, first + torch.randint(0, 9, (4, many, 2), generator=draws)], -1)
    scores = torch.rand(4, many, generator=draws).sort(1, descending=True).values
    scores[:, many - many // 5 :] = -1
    scores[3] = -1
    labels = torch.randint(0, 2, (4, many), generator=draws)
    (steps,) = box_tensors.Boxes.DECOMPOSITIONS.values()
    for iou in (0.0, 0.5, 1.0):
        found = steps(corners, scores, labels, 2, iou)
        assert torch.equal(found, survivors(corners, scores, labels, 2, iou))
        assert not found[scores < 0].any()
