"""Metrics of images from sums of errors are those of the images themselves, and their intervals' sums say the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from mlpipe.post import metrics
from mlpipe.post.measures import image_metrics
from mlpipe.post.metrics import statistic
from mlpipe.runs import maps

DRAWN = np.random.default_rng(0)
TRUE = DRAWN.random((7, 3, 6, 5))
SAID = TRUE + DRAWN.normal(0, 0.1, TRUE.shape) * np.arange(1, 8)[:, None, None, None]


def sums() -> tuple[np.ndarray, np.ndarray]:
    each = [maps.errors(said, true) for said, true in zip(SAID, TRUE, strict=True)]
    return np.stack([one for one, _ in each]), np.stack([one for _, one in each])


def test_metrics_are_those_of_the_images() -> None:
    found = metrics.compute(["mse", "mae", "psnr", "image_psnr"], *sums(), "images")
    said, true = torch.from_numpy(SAID), torch.from_numpy(TRUE)
    assert found["mse"] == pytest.approx(((SAID - TRUE) ** 2).mean(), rel=1e-6)
    assert found["mae"] == pytest.approx(np.abs(SAID - TRUE).mean(), rel=1e-6)
    assert found["psnr"] == pytest.approx(float(peak_signal_noise_ratio(said, true, data_range=1.0)), rel=1e-6)
    each = peak_signal_noise_ratio(said, true, data_range=1.0, dim=(1, 2, 3), reduction="elementwise_mean")
    assert found["image_psnr"] == pytest.approx(float(each), rel=1e-6)
    rows = image_metrics.table(*sums(), ["red", "green", "blue"])
    assert rows[1]["mse"] == pytest.approx(((SAID - TRUE)[:, 1] ** 2).mean(), rel=1e-6) and rows[1]["images"] == 7


def test_images_without_a_target_count_nowhere() -> None:
    outputs, targets = sums()
    none = maps.errors(SAID[0], None)
    assert np.isnan(none[1]).all() and maps.errors(SAID[0], np.full_like(TRUE[0], np.nan))[0].sum() == 0
    more = np.concatenate([outputs, none[0][None]]), np.concatenate([targets, none[1][None]])
    assert metrics.compute(["psnr"], *more, "images") == metrics.compute(["psnr"], outputs, targets, "images")


def test_an_exact_image_has_a_hundred_decibels() -> None:
    outputs, targets = maps.errors(TRUE[0], TRUE[0])
    assert image_metrics.psnr(outputs[None], targets[None]) == pytest.approx(100)


@pytest.mark.parametrize("name", list(image_metrics.METRICS))
def test_sums_of_drawn_images_give_the_metric_of_them(name: str) -> None:
    outputs, targets = sums()
    made = statistic(name, outputs, targets, "images")
    weights = np.array([[1.0, 0, 2, 0, 0, 3, 1]])
    drawn = np.repeat(np.arange(7), weights[0].astype(int))
    value = made.of_weights(weights, np.arange(7))[0]
    assert value == pytest.approx(image_metrics.METRICS[name](outputs[drawn], targets[drawn]), rel=1e-9)
