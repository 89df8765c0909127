"""Metrics of predictions by name, exact over all rows, whatever the kind of the task.

The formulas are in `mlpipe.post.measures`; the part of a kind lists its metrics, see `mlpipe.post.kind`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe import kinds
from mlpipe.errors import ConfigError, did_you_mean, listing, problem
from mlpipe.post import kind as post_kind
from mlpipe.post.sums import Statistic

# A metric: outputs of shape (n, outputs) and targets to one number, or to several by name.
Measure = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float | Mapping[str, float]]

# Why a metric has no value on some rows.
UNDEFINED = {
    "foreground_dice": "no image has foreground, in its mask or predicted",
    "foreground_iou": "no image has foreground, in its mask or predicted",
    "image_dice": "no image has a class to measure",
    "dice": "no class is in a mask or predicted",
    "iou": "no class is in a mask or predicted",
    "r2": "all targets of an output are equal",
    "pearson": "all targets, or all predictions, of an output are equal",
    "spearman": "all targets, or all predictions, of an output are equal",
    "auroc": "no class has both rows that are of it and rows that are not",
    "average_precision": "no class has a row that is of it",
    "map_small": "there are no such boxes",
    "map_medium": "there are no such boxes",
    "map_large": "there are no such boxes",
}
# Explanations of metrics whose names say little.
MEANING = {
    "balanced_accuracy": "mean share that is right, over classes",
    "macro_f1": "mean F1 of the classes",
    "auroc": "area under the ROC curve",
    "nll": "mean of -log of the true class's probability, less is better",
    "brier": "squared distance of the probabilities, less is better",
    "mcc": "Matthews correlation, 0 is chance",
    "kappa": "Cohen's kappa, 0 is chance",
    "average_precision": "area under the precision-recall curve",
    "exact_match": "share of images with every label right",
    "rmse": "root mean squared error, less is better",
    "mae": "mean absolute error, less is better",
    "r2": "share of the variance explained",
    "dice": "mean Dice coefficient of the classes",
    "iou": "mean intersection over union of the classes",
    "psnr": "peak signal-to-noise ratio in decibels",
    "mse": "mean squared error, less is better",
    "frechet": "Fréchet distance of the features of drawn and of real images, less is better",
    "critic_gap": "the critic's mean score of real images less that of drawn ones",
    "map": "mean average precision at overlaps from 0.5 to 0.95",
    "map50": "mean average precision at an overlap of 0.5",
    "map75": "mean average precision at an overlap of 0.75",
    "map_small": "of boxes below 32 x 32 pixels",
    "map_medium": "of boxes from 32 x 32 to 96 x 96 pixels",
    "map_large": "of boxes above 96 x 96 pixels",
    "mar100": "mean recall at overlaps from 0.5 to 0.95",
    "score_loss": "mean of -log of what a score gives to being right, less is better",
}
# The values by which losses are compared if they cannot be compared directly.
PROPER = ("nll", "elementwise_nll")
LESS_IS_BETTER = frozenset({"loss", "nll", "elementwise_nll", "brier", "rmse", "mae", "mse", "frechet"})
# Means over the classes that occur, or the labels with rows on both sides.
OVER_CLASSES = frozenset({"balanced_accuracy", "macro_f1", "auroc", "average_precision"})
# The prefixes of metrics that are losses.
OF_LOSS = "loss_"


def compute(
    names: Iterable[str],
    outputs: npt.NDArray[np.floating],
    targets: npt.NDArray[Any],
    kind: str,
    own: Mapping[str, Measure] | None = None,
) -> dict[str, float]:
    """Compute the named metrics over the rows with a target; empty when no row has one.

    Args:
        names: Names of the kind's `METRICS`.
        outputs: Shape (n, outputs).
        targets: As `mlpipe.data.task.Samples.targets`.
        kind: The kind of the task.
        own: Further metrics by name, which take precedence over those of the kind; if one returns several numbers, each is in
            the result under its own name.
    """
    has_target = labelled(targets)
    if not has_target.any():
        return {}
    table: dict[str, Measure] = {**post_kind.of(kind).METRICS, **(own or {})}
    scores: dict[str, float] = {}
    # A user's metric may write into its arguments, so it gets copies.
    every = bool(has_target.all()) and not own
    for name in names:
        value = table[name](outputs, targets) if every else table[name](outputs[has_target], targets[has_target])
        scores |= value if isinstance(value, Mapping) else {name: value}
    return scores


def labelled(targets: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which rows have a target: a class, or some known label, number or pixel; shape (n,).

    Args:
        targets: Class numbers (n,), -1 for none; or (n, outputs), NaN for unknown.
    """
    return np.asarray(targets >= 0) if targets.ndim == 1 else np.asarray(~np.isnan(targets).all(axis=1))


def statistic(name: str, outputs: npt.NDArray[Any], targets: npt.NDArray[Any], kind: str) -> Statistic:
    """Return a metric as a function of row weights.

    Args:
        name: One of the kind's `METRICS`.
        outputs: Shape (n, outputs).
        targets: As for `compute`, every row with some target.
        kind: The kind of the task.

    Raises:
        ConfigError: There is no such metric for this kind, or none with an interval.
    """
    part = post_kind.of(kind)
    known = [metric for metric in part.METRICS if metric not in part.WITHOUT_INTERVAL]
    if name not in known:
        fix = did_you_mean(name, known, otherwise=f"metrics: {listing(known)}")
        wrong = "has no interval" if name in part.WITHOUT_INTERVAL else f"no such metric for {kind}"
        raise ConfigError(problem("metrics.final", wrong, got=name, fix=fix))
    return part.statistic(name, np.asarray(outputs, np.float64), targets)


def direction(name: str) -> Literal["min", "max"]:
    """Return `min` or `max`, whichever is better for a metric, or for `OUTPUT_METRIC`, that of one of several outputs."""
    plain = name.rpartition("/")[2]
    is_less = any(f"_{plain}".endswith(f"_{metric}") for metric in LESS_IS_BETTER)
    return "min" if is_less or is_of_loss(plain) else "max"


def is_of_loss(name: str) -> bool:
    """Return whether a metric is a loss by its name, `loss_NAME` or `OUTPUT_loss_NAME`.

    The name of an output may contain `loss_` too: `weight_loss_kg_r2` is the metric `r2` of the output `weight_loss_kg`.

    Args:
        name: The metric without its part.
    """
    _, prefix, loss = f"_{name}".rpartition(f"_{OF_LOSS}")
    return bool(prefix) and not any(loss.endswith(f"_{metric}") for metric in names_of_all_kinds())


def names_of_all_kinds() -> set[str]:
    """Return the names of the metrics of all kinds."""
    return {metric for kind in kinds.names() for metric in post_kind.of(kind).METRICS}


def details(
    outputs: npt.NDArray[np.floating], targets: npt.NDArray[Any], classes: Sequence[str], kind: str
) -> dict[str, Any]:
    """Return the table of classes or labels, and the confusion matrix, as plain data for a record.

    Args:
        outputs: Shape (n, outputs).
        targets: As for `compute`.
        classes: The names of the outputs.
        kind: The kind of the task.

    Returns:
        `classes`: one row for each with counts and metrics; for classification also `confusion`, counts of
        (true class, predicted class). Empty when no row has a target.
    """
    has_target = labelled(targets)
    return post_kind.of(kind).details(outputs[has_target], targets[has_target], classes) if has_target.any() else {}


def lacking(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the classes without a row, or the labels without rows on both sides, from the table that `details` returns.

    Means over classes (`OVER_CLASSES`) leave them out.

    Args:
        rows: Its `classes`.
    """
    return [str(row["class"]) for row in rows if "auroc" in row and not _has_both(row)]


def _has_both(row: Mapping[str, Any]) -> bool:
    """Return whether a class has rows, or a label has rows with and without it."""
    if "positive" not in row:
        return bool(row["images"])
    return bool(0 < row["positive"] < row["images"])


def class_mean_notes(rows: Sequence[Mapping[str, Any]], scores: Iterable[str]) -> list[str]:
    """Return a sentence if means over classes leave some of them out, else nothing.

    Args:
        rows: The table of classes that `details` returns.
        scores: The names of the scores that are shown with it.
    """
    means = [name for name in scores if name in OVER_CLASSES]
    if not rows or not means:
        return []
    noun = "labels" if "positive" in rows[0] else "classes"
    # A class without a row counts in F1 if it is predicted, a label that every row has always counts.
    without_f1 = [str(row["class"]) for row in rows if row.get("f1") is None or math.isnan(row["f1"])]
    left_out = {name: tuple(without_f1 if name == "macro_f1" else lacking(rows)) for name in means}
    sentences = []
    for names in dict.fromkeys(names for names in left_out.values() if names):
        judged = f"{noun} that can be judged are {len(rows) - len(names)} of {len(rows)}, not {listing(names)}"
        sentences.append(f"{listing([name for name in means if left_out[name] == names])}: {judged}")
    guessed = [str(row["class"]) for row in rows if not row.get("positive", row["images"]) and row.get("f1") == 0]
    if guessed and "macro_f1" in means:
        verbs = ("has", "was") if len(guessed) == 1 else ("have", "were")
        sentences.append(
            f"macro_f1: {listing(guessed)} {verbs[0]} no image and {verbs[1]} predicted, which counts as 0"
        )
    return sentences
