"""Metrics of solutions from the equation's loss of each sample: `outputs` (n, 1), and `targets` (n, 1) of ones."""

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
from mlpipe.post.measures import solution_metrics
from mlpipe.post.rows import Floats
from mlpipe.post.sums import Statistic, ratio

__all__ = ["constant", "right", "sides"]

METRICS = solution_metrics.METRICS
WITHOUT_INTERVAL: list[str] = []
TRAIN: list[str] = []
FINAL = ["equation_loss"]
FURTHER: list[str] = []
HEADLINE = "equation_loss"
ERROR = "the equation's loss of a solution"
ENSEMBLING = PROBABILITIES = None
CRITERIA: tuple[str, ...] = ()


def details(outputs: Outputs, targets: Targets, classes: Sequence[str]) -> dict[str, Any]:
    """Return the table of channels."""
    return {"classes": solution_metrics.table(outputs, targets, classes)}


def errors(outputs: Outputs, targets: Targets) -> Floats:
    """Return the loss of each solution."""
    return np.asarray(outputs[:, 0], np.float64)


def statistic(name: str, outputs: Floats, targets: Targets) -> Statistic:
    """Return the mean of the losses, as a function of weights."""
    return Statistic(np.hstack([targets.astype(np.float64), outputs]), ratio)


def ends(name: str, value: float, measure: Statistic, known: Known) -> Ends:
    """Return the jackknife interval."""
    return forms.of_numbers(measure, value, scaled.LOG, known)
