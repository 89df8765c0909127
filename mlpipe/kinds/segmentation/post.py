"""Metrics of masks from counts of pixels: `outputs` (n, 2 * classes) and `targets` (n, classes), see `mask_metrics`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlpipe.post.intervals import forms
from mlpipe.post.intervals.forms import Ends, Known
from mlpipe.post.kind import Bools, Outputs, StoredTargets, Targets
from mlpipe.post.kind import neither_right_nor_wrong as right
from mlpipe.post.measures import mask_metrics
from mlpipe.post.measures.mask_metrics import dice_of, iou_of
from mlpipe.post.rows import Floats
from mlpipe.post.sums import Statistic, accuracy, mean_of_defined, ratio

__all__ = ["right"]

METRICS = mask_metrics.METRICS
WITHOUT_INTERVAL: list[str] = []
TRAIN = ["dice", "iou"]
FINAL = ["dice", "iou", "pixel_accuracy", "foreground_dice", "foreground_iou", "image_dice"]
FURTHER: list[str] = []
HEADLINE = "dice"
ERROR = "1 - Dice of an image"
ENSEMBLING = PROBABILITIES = None
CRITERIA: tuple[str, ...] = ()

_PIXELS: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "pixel_accuracy": accuracy,
    "dice": lambda *counts: mean_of_defined(dice_of(*counts)),
    "iou": lambda *counts: mean_of_defined(iou_of(*counts)),
    "foreground_dice": lambda *counts: mean_of_defined(dice_of(*counts)[:, 1:]),
    "foreground_iou": lambda *counts: mean_of_defined(iou_of(*counts)[:, 1:]),
}


def details(outputs: Outputs, targets: Targets, classes: Sequence[str]) -> dict[str, Any]:
    """Return the table of classes."""
    return {"classes": mask_metrics.table(outputs, targets, classes)}


def constant(
    learned: Targets, judged: Targets, classes: Sequence[str], stored: StoredTargets
) -> tuple[Outputs, str] | None:
    """Predict the class with the most pixels everywhere: it has the best Dice and pixel accuracy of all masks of one class."""
    shares = np.nanmean(learned / np.maximum(learned.sum(axis=1, keepdims=True), 1e-12), axis=0)
    most = int(shares.argmax())
    predicted, hits = np.zeros((2, *judged.shape))
    predicted[:, most], hits[:, most] = judged.sum(axis=1), judged[:, most]
    return np.hstack([predicted, hits]), f"{classes[most]} in every pixel"


def errors(outputs: Outputs, targets: Targets) -> Floats:
    """Return one minus the Dice of each image."""
    return 1 - mask_metrics.of_images(outputs, targets)


def sides(targets: Targets) -> list[Bools]:
    """Return the images that have each class, as masks."""
    return [column > 0 for column in targets.T]


def statistic(name: str, outputs: Floats, targets: Targets) -> Statistic:
    """Return a metric as a function of weights, from counts of pixels."""
    targets = targets.astype(np.float64)
    if name in mask_metrics.OF_IMAGES:
        scores = mask_metrics.OF_IMAGES[name](outputs, targets)
        mask = ~np.isnan(scores)
        return Statistic(np.column_stack([mask, np.where(mask, scores, 0)]).astype(np.float64), ratio)
    predicted, hits = np.split(outputs, 2, axis=1)
    contributions = np.hstack([hits, predicted, targets])
    return Statistic(contributions, lambda sums: _PIXELS[name](*np.split(sums, 3, axis=1)))


def ends(name: str, value: float, measure: Statistic, known: Known) -> Ends:
    """Return the interval of a share of pixels, with images as the units."""
    targets = known.targets.astype(np.float64)
    if name in mask_metrics.OF_IMAGES:
        scores = mask_metrics.OF_IMAGES[name](known.logits, targets)
        mask = ~np.isnan(scores)
        return forms.of_share(known.ratio(np.where(mask, scores, 0), mask), known)
    predicted, hits = np.split(known.logits, 2, axis=1)
    if name == "pixel_accuracy":
        return forms.of_share(known.ratio(hits.sum(axis=1), targets.sum(axis=1)), known)
    first = int(name.startswith("foreground"))
    union = predicted + targets - hits
    ratios = [known.ratio(hits[:, k], union[:, k]) for k in range(first, hits.shape[1])]
    return forms.of_mean(ratios, known, None, forms.f1_of_share if name.endswith("dice") else float)
