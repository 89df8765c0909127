"""Metrics of images from sums of errors: `outputs` (n, 2 * channels) and `targets` (n, channels), see `image_metrics`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlpipe.post.intervals import forms, scaled
from mlpipe.post.intervals.forms import Ends, Known
from mlpipe.post.kind import Outputs, StoredTargets, Targets
from mlpipe.post.kind import all_alike as sides
from mlpipe.post.kind import neither_right_nor_wrong as right
from mlpipe.post.measures import image_metrics
from mlpipe.post.rows import Floats
from mlpipe.post.sums import Statistic, ratio

__all__ = ["right", "sides"]

METRICS = image_metrics.METRICS
WITHOUT_INTERVAL: list[str] = []
TRAIN = ["mse", "psnr"]
FINAL = ["psnr", "image_psnr", "mse", "mae"]
FURTHER: list[str] = []
HEADLINE = "psnr"
ERROR = "mean squared error of an image"
ENSEMBLING = PROBABILITIES = None
CRITERIA: tuple[str, ...] = ()

_SCALES = {"mse": scaled.LOG, "mae": scaled.LOG, "psnr": scaled.PLAIN, "image_psnr": scaled.PLAIN}


def details(outputs: Outputs, targets: Targets, classes: Sequence[str]) -> dict[str, Any]:
    """Return the table of channels."""
    return {"classes": image_metrics.table(outputs, targets, classes)}


def constant(
    learned: Targets, judged: Targets, classes: Sequence[str], stored: StoredTargets
) -> tuple[Outputs, str] | None:
    """Predict the pixelwise mean of the target images; where sizes differ, the mean of each channel in every pixel."""
    images = stored.images()
    if images is None:
        return None
    learned_images, them = images
    values, shapes, total = list[Floats](), set[tuple[int, ...]](), np.zeros(())
    for image in learned_images:
        shapes.add(image.shape)
        values.append(image.astype(np.float64).reshape(len(image), -1).mean(axis=1))
        total = total + image if len(shapes) == 1 else np.zeros(())
    if not values:
        return None
    sums = []
    for image in them:
        mean = (
            total / len(values)
            if shapes == {image.shape}
            else np.mean(values, axis=0).reshape(-1, *[1] * (image.ndim - 1))
        )
        off = (image - mean).reshape(len(image), -1)
        sums.append(np.concatenate([(off**2).sum(axis=1), np.abs(off).sum(axis=1)]))
    noun = "image" if len(shapes) == 1 else "value"
    return (np.stack(sums), f"the mean {noun} of those learned from") if len(sums) == len(judged) else None


def errors(outputs: Outputs, targets: Targets) -> Floats:
    """Return the mean squared error of each image."""
    return image_metrics.of_images(outputs, targets)


def statistic(name: str, outputs: Floats, targets: Targets) -> Statistic:
    """Return a metric as a function of weights, from sums of errors."""
    if name == "image_psnr":
        decibels = image_metrics.decibels(image_metrics.of_images(outputs, targets))
        return Statistic(np.column_stack([np.ones_like(decibels), decibels]), ratio)
    squared, absolute = np.split(outputs, 2, axis=1)
    errors = (absolute if name == "mae" else squared).sum(axis=1)
    contributions = np.column_stack([targets.astype(np.float64).sum(axis=1), errors])
    if name == "psnr":
        return Statistic(contributions, lambda sums: image_metrics.decibels(ratio(sums)))
    return Statistic(contributions, ratio)


def ends(name: str, value: float, measure: Statistic, known: Known) -> Ends:
    """Return the jackknife interval on the metric's own scale."""
    return forms.of_numbers(measure, value, _SCALES[name], known)
