"""Calibrations and mixtures as tensors give what those for arrays give."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from mlpipe.post import kind as post_kind
from mlpipe.post.calibration.calibrate import Method, calibrate
from mlpipe.post.calibration.labels import calibrate_labels
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
