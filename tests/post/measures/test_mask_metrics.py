"""Metrics of masks against torchmetrics and scikit-learn, and their sums for the bootstrap against themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score
from torchmetrics.functional.classification import multiclass_jaccard_index

from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.intervals import by_metric
from mlpipe.post.measures import mask_metrics
from mlpipe.runs import maps

CLASSES = 4
METRICS = mask_metrics.METRICS


def masks(n: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Predicted and true class numbers with ignored pixels, and their counts."""
    rng = np.random.default_rng(3)
    true = rng.integers(0, CLASSES, (n, 8, 9)).astype(np.uint8)
    said = np.where(rng.random(true.shape) < 0.7, true, rng.integers(0, CLASSES, true.shape)).astype(np.int64)
    true[:, 0] = maps.IGNORED
    each = [maps.counts(one, other, CLASSES) for one, other in zip(said, true, strict=True)]
    return said, true, np.stack([one for one, _ in each]), np.stack([one for _, one in each])


def test_pooled_metrics_are_those_of_the_libraries() -> None:
    said, true, outputs, targets = masks()
    known = true != maps.IGNORED
    f1 = f1_score(true[known], said[known], average=None)
    assert mask_metrics.dice(outputs, targets) == pytest.approx(f1.mean())
    assert mask_metrics.foreground_dice(outputs, targets) == pytest.approx(f1[1:].mean())
    iou = jaccard_score(true[known], said[known], average="macro")
    assert mask_metrics.iou(outputs, targets) == pytest.approx(iou)
    theirs = multiclass_jaccard_index(torch.tensor(said), torch.tensor(true).long(), CLASSES, ignore_index=maps.IGNORED)
    assert mask_metrics.iou(outputs, targets) == pytest.approx(theirs.item(), abs=1e-6)
    assert mask_metrics.pixel_accuracy(outputs, targets) == pytest.approx((said == true)[known].mean())
    rows = mask_metrics.table(outputs, targets, list("abcd"))
    assert [row["dice"] for row in rows] == pytest.approx(f1.tolist())
    assert sum(row["pixels"] for row in rows) == pytest.approx(1)


def test_each_image_by_itself() -> None:
    said, true, outputs, targets = masks()
    known = true != maps.IGNORED
    each = [f1_score(t[k], s[k], average="macro") for s, t, k in zip(said, true, known, strict=True)]
    assert mask_metrics.of_images(outputs, targets).tolist() == pytest.approx(each)
    assert METRICS["image_dice"](outputs, targets) == pytest.approx(np.mean(each))


def test_a_class_that_is_nowhere_is_in_no_mean() -> None:
    said = np.zeros((1, 4, 4), np.int64)
    outputs, targets = maps.counts(said[0], said[0].astype(np.uint8), 3)
    assert mask_metrics.dice(outputs[None], targets[None]) == 1
    assert np.isnan(mask_metrics.foreground_dice(outputs[None], targets[None]))


def test_images_without_a_mask_are_left_out() -> None:
    said, _, outputs, targets = masks()
    nothing = maps.counts(said[0], None, CLASSES)
    more = np.concatenate([outputs, nothing[0][None]]), np.concatenate([targets, nothing[1][None]])
    names = post_kind.of("segmentation").FINAL
    assert metrics.compute(names, *more, "segmentation") == metrics.compute(names, outputs, targets, "segmentation")
    assert nothing[0][:CLASSES].sum() == said[0].size


@pytest.mark.parametrize("name", sorted(mask_metrics.METRICS))
def test_sums_of_drawn_rows_are_the_metric_of_them(name: str) -> None:
    _, _, outputs, targets = masks()
    statistic = metrics.statistic(name, outputs, targets, "segmentation")
    weights = np.random.default_rng(0).integers(0, 3, (5, len(outputs))).astype(np.float64)
    found = statistic.of_weights(weights, np.arange(len(outputs)))
    for row, weight in zip(found, weights.astype(int), strict=True):
        rows = np.repeat(np.arange(len(outputs)), weight)
        assert row == pytest.approx(mask_metrics.METRICS[name](outputs[rows], targets[rows]))


def test_intervals_hold_the_value() -> None:
    _, _, outputs, targets = masks(20)
    found = by_metric.metric_intervals(["dice"], outputs, targets, kind="segmentation", resamples=200)["dice"]
    assert found.low < found.value < found.high


def test_details_are_a_table() -> None:
    _, _, outputs, targets = masks()
    found = metrics.details(outputs, targets, list("abcd"), "segmentation")
    assert [row["class"] for row in found["classes"]] == list("abcd")
    assert metrics.direction("dice") == "max"


def test_images_that_have_nothing_count_as_the_name_says() -> None:
    """By hand: of the foreground an image of Dice 2 * 3 / (4 + 6), one with nothing, one that has something predicted alone."""
    predicted, true, hits = np.array([4, 0, 2]), np.array([6, 0, 0]), np.array([3, 0, 0])
    size = 10
    outputs = np.column_stack([size - predicted, predicted, size - predicted - true + hits, hits])
    targets = np.column_stack([size - true, true])
    both = {"one": (0.6 + 1 + 0) / 3, "zero": 0.6 / 3, "skip": 0.6 / 2}
    for word, expected in both.items():
        assert METRICS[f"foreground_image_dice_empty_{word}"](outputs, targets) == pytest.approx(expected)
    assert METRICS["foreground_image_iou_empty_one"](outputs, targets) == pytest.approx((3 / 7 + 1) / 3)
    # With the background: each image's mean over both classes.
    assert METRICS["image_dice_empty_one"](outputs, targets) == pytest.approx(np.mean([0.6, 1, (8 / 9 + 0) / 2]))
    assert METRICS["image_dice"](outputs, targets) == METRICS["image_dice_empty_skip"](outputs, targets)


@pytest.mark.parametrize(
    ("overlap", "share"), [(50, 0.0), (51, 0.1), (55, 0.1), (56, 0.2), (95, 0.9), (96, 1.0), (100, 1.0)]
)
def test_the_share_of_overlaps_that_are_passed(overlap: int, share: float) -> None:
    """The thresholds of Musket, ceil(20 (iou - 0.5)) / 10."""
    outputs, targets = np.array([[0, 100, 0, overlap]]), np.array([[0, overlap]])
    assert METRICS["foreground_image_map10_empty_skip"](outputs, targets) == pytest.approx(share)
