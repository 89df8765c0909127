"""Calibrations and mixtures as tensors give what those for arrays give."""

from __future__ import annotations

import importlib
from typing import Any, get_args

import numpy as np
import pytest
import torch

from mlpipe.post import kind as post_kind
from mlpipe.post.calibration.calibrate import Method, calibrate
from mlpipe.post.calibration.labels import calibrate_labels
from mlpipe.post.ensembling import box_fusion
from mlpipe.post.measures.box_metrics import as_outputs
from mlpipe.predicting import output_tensors

RNG = np.random.default_rng(0)
METHODS = [name for name in get_args(Method) if name != "auto"]
LOGITS, TARGETS = RNG.normal(0, 2, (300, 3)), RNG.integers(0, 3, 300)
LOGITS[np.arange(300), TARGETS] += 1.5
NEW = np.concatenate([RNG.normal(0, 3, (200, 3)), LOGITS[:50], [[60.0, -60, 0], [0, 0, 0]]])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("unit", [1.0, 1e-4])
def test_calibrations_of_classes(method: str, unit: float) -> None:
    fitted = calibrate(LOGITS * unit, TARGETS, [0.2, 0.3, 0.5], method=method)
    change = output_tensors.Classes().calibrated(fitted.as_plain())
    # Rows of the fit lie on the edges of a histogram's bins, where the last digit decides.
    rows = (NEW[:200] if method == "histogram" else NEW) * unit
    np.testing.assert_allclose(change(torch.from_numpy(rows)).numpy(), fitted.apply(rows), atol=1e-9)


@pytest.mark.parametrize("method", ["affine", "beta", "isotonic", "histogram"])
def test_calibrations_of_labels(method: str) -> None:
    targets = (LOGITS + RNG.normal(0, 2, LOGITS.shape) > 0).astype(float)
    targets[:, 2] = 1
    fitted = calibrate_labels(LOGITS, targets, method=method)
    change = output_tensors.Labels().calibrated(fitted.as_plain())
    rows = NEW[:200] if method == "histogram" else NEW
    np.testing.assert_allclose(change(torch.from_numpy(rows)).numpy(), fitted.apply(rows), atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "tensors"),
    [
        ("classification", output_tensors.Classes()),
        ("multilabel", output_tensors.Labels()),
        ("regression", output_tensors.Numbers()),
    ],
)
@pytest.mark.parametrize("mixing", ["logits", "probabilities"])
def test_mixtures(kind: str, tensors: output_tensors.Tensors, mixing: str) -> None:
    parts, weights = [NEW, NEW[::-1].copy(), NEW + 1], [0.5, 0.0, 0.5]
    wanted = post_kind.ensembling(kind).combine(parts, weights, mixing)
    got = tensors.combine([torch.from_numpy(one) for one in parts], weights, mixing).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-9)


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
    fused = output_tensors.Boxes().combine([torch.from_numpy(part) for part in parts], weights, "").numpy()
    wanted = box_fusion.fused([part.reshape(4, -1) for part in parts], weights)
    wide = wanted.shape[1] // 6
    np.testing.assert_allclose(fused[:, :wide], as_outputs(wanted.reshape(4, wide, 6)).reshape(4, wide, 6), atol=1e-5)
    assert (wanted.reshape(4, wide, 6)[..., 4] > 0).sum() > 20 and not fused[:, wide:].any()


@pytest.mark.parametrize("method", ["affine", "beta", "isotonic"])
def test_scores_of_boxes_are_calibrated_by_their_classes(method: str) -> None:
    targets = (LOGITS[:, :2] + RNG.normal(0, 2, (300, 2)) > 0).astype(float)
    plain = calibrate_labels(LOGITS[:, :2] - [1, 2], targets, method=method).as_plain()
    given = detections(3, 10, 0)
    wanted = post_kind.of("detection").PROBABILITIES.learned(plain)(given.reshape(3, -1)).reshape(given.shape)
    found = output_tensors.Boxes().calibrated(plain)(torch.from_numpy(given)).numpy()
    # Of equal scores any comes first.
    order = (np.lexsort((one[..., 0], -one[..., 4].round(6))) for one in (found, wanted))
    found, wanted_there = (
        np.take_along_axis(one, place[..., None], 1) for one, place in zip((found, wanted), order, strict=True)
    )
    np.testing.assert_allclose(found, wanted_there, atol=1e-5)
    assert np.abs(wanted - given).max() > 0.01


def test_boxes_lie_in_the_size_of_the_image_and_have_an_area() -> None:
    rows = torch.tensor([[[4.0, 3, 8, 9, 0.5, 1], [8, 2, 8, 6, 0.4, 0], [torch.nan] * 6]])
    boxes = output_tensors.Boxes()
    found = boxes.values(boxes.placed(rows, (30, 80), (10, 16))).numpy()
    # Across five times, down three times; the second is a line, the third is none.
    np.testing.assert_allclose(found[0], [[20, 9, 40, 27, 0.5, 1], [0] * 6, [0] * 6])
