"""Metrics of drawn images from their features: `outputs` (n, 2 + 2 * features) and `targets` (n, 1) of ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlpipe.post.intervals import forms, scaled
from mlpipe.post.intervals.forms import Ends, Known
from mlpipe.post.kind import Outputs, Targets
from mlpipe.post.kind import all_alike as sides
from mlpipe.post.kind import neither_right_nor_wrong as right
from mlpipe.post.kind import no_constant as constant
from mlpipe.post.measures import generation_metrics
from mlpipe.post.rows import Floats
from mlpipe.post.sums import Statistic, ratio

__all__ = ["constant", "right", "sides"]

METRICS = generation_metrics.METRICS
# The distance between samples grows with fewer images, so resampling cannot tell its error.
WITHOUT_INTERVAL = ["frechet"]
TRAIN = ["frechet", "critic_gap"]
FINAL = ["frechet", "critic_gap"]
FURTHER: list[str] = []
HEADLINE = "frechet"
ERROR = "squared distance of an image's features to the mean of drawn ones"
ENSEMBLING = PROBABILITIES = None
CRITERIA: tuple[str, ...] = ()


def details(outputs: Outputs, targets: Targets, classes: Sequence[str]) -> dict[str, Any]:
    """Return the number of images and of features that the distance is computed from."""
    return {"classes": [], "images": len(outputs), "features": generation_metrics.features_of(outputs)[0].shape[1]}


def errors(outputs: Outputs, targets: Targets) -> Floats:
    """Return the squared distance of each image's features to the mean features of drawn images."""
    real, drawn = generation_metrics.features_of(outputs)
    return np.asarray(((real - drawn.mean(axis=0)) ** 2).sum(axis=1), np.float64)


def statistic(name: str, outputs: Floats, targets: Targets) -> Statistic:
    """Return the mean of the critic's gaps, as a function of weights."""
    gaps = outputs[:, 0] - outputs[:, 1]
    return Statistic(np.column_stack([np.ones_like(gaps), gaps]), ratio)


def ends(name: str, value: float, measure: Statistic, known: Known) -> Ends:
    """Return the jackknife interval."""
    return forms.of_numbers(measure, value, scaled.PLAIN, known)
