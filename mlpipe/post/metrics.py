"""Metrics of predictions, exact over all rows: pure functions of logits and targets in NumPy, by the kind of task.

For classification, `logits` has shape (n, classes) and `targets` shape (n,), class numbers. Softmax of the logits gives
probabilities, so log-probabilities may be passed as well. The metrics of labels, numbers, masks and images are in
`mlpipe.post.label_metrics`, `number_metrics`, `mask_metrics`, `image_metrics` and `solution_metrics`; `compute` finds them by
name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe.errors import listing
from mlpipe.post import elementwise, image_metrics, label_metrics, mask_metrics, number_metrics, solution_metrics
from mlpipe.post.ranks import area_under_roc, average_precision_of

Logits = npt.NDArray[np.floating]
Targets = npt.NDArray[np.int64]
# A metric: logits of shape (n, outputs) and targets to one number, or to several by name.
Measure = Callable[[npt.NDArray[Any], npt.NDArray[Any]], float | Mapping[str, float]]

_TINY = 1e-12


def log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    """Log-probabilities, shape (n, classes)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def accuracy(logits: Logits, targets: Targets) -> float:
    """The share of rows whose largest logit is the target's."""
    return float((logits.argmax(axis=1) == targets).mean())


def top5_accuracy(logits: Logits, targets: Targets) -> float:
    """The share of rows whose target's logit is among the five largest."""
    return float((np.argsort(-logits, axis=1, kind="stable")[:, :5] == targets[:, np.newaxis]).any(axis=1).mean())


def balanced_accuracy(logits: Logits, targets: Targets) -> float:
    """The mean of the classes' recalls, over the classes that occur."""
    confusion = confusion_matrix(logits, targets)
    support = confusion.sum(axis=1)
    return float((np.diag(confusion)[support > 0] / support[support > 0]).mean())


def macro_f1(logits: Logits, targets: Targets) -> float:
    """The mean of the classes' F1, 0/0 = 0; a class neither true nor predicted anywhere is left out."""
    confusion = confusion_matrix(logits, targets)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    return float((2 * np.diag(confusion)[total > 0] / total[total > 0]).mean())


def mcc(logits: Logits, targets: Targets) -> float:
    """Matthews' correlation for several classes (Gorodkin 2004); 0 when a marginal has a single class."""
    confusion = confusion_matrix(logits, targets).astype(np.float64)
    true, predicted, n = confusion.sum(axis=1), confusion.sum(axis=0), confusion.sum()
    spread = np.sqrt((n**2 - (true**2).sum()) * (n**2 - (predicted**2).sum()))
    return float((np.trace(confusion) * n - true @ predicted) / spread) if spread else 0.0


def kappa(logits: Logits, targets: Targets) -> float:
    """Cohen's kappa, unweighted; 0 when chance agreement is complete."""
    confusion = confusion_matrix(logits, targets).astype(np.float64)
    n = confusion.sum()
    chance = (confusion.sum(axis=0) @ confusion.sum(axis=1)) / n**2
    return float((np.trace(confusion) / n - chance) / (1 - chance)) if chance < 1 else 0.0


def auroc(logits: Logits, targets: Targets) -> float:
    """Area under the ROC curve, one class against the rest, mean over the classes with rows on both sides.

    By midranks (Mann-Whitney), so ties count one half. NaN when no class has both sides.
    """
    probabilities = np.exp(log_softmax(logits))
    areas = [area_under_roc(probabilities[:, number], targets == number) for number in range(logits.shape[1])]
    return float(np.nanmean(areas)) if not np.isnan(areas).all() else float("nan")


def average_precision(logits: Logits, targets: Targets) -> float:
    """Average precision, one class against the rest, mean over the classes that occur."""
    probabilities = np.exp(log_softmax(logits))
    values = [average_precision_of(probabilities[:, number], targets == number) for number in range(logits.shape[1])]
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def nll(logits: Logits, targets: Targets) -> float:
    """Negative log-likelihood in nats, probabilities clipped at 1e-12."""
    chosen = log_softmax(logits)[np.arange(len(targets)), targets]
    return float(-np.maximum(chosen, np.log(_TINY)).mean())


def brier(logits: Logits, targets: Targets) -> float:
    """The Brier score: squared errors of the probabilities, summed over classes, not divided by their number."""
    errors = np.exp(log_softmax(logits))
    errors[np.arange(len(targets)), targets] -= 1
    return float((errors**2).sum(axis=1).mean())


def _each(measure: Callable[[Any, Any], float]) -> Callable[[Logits, Targets], float]:
    """A metric of `elementwise`, of the probabilities of classes and one-hot targets."""
    return lambda logits, targets: measure(np.exp(log_softmax(logits)), np.eye(logits.shape[1])[targets])


def confusion_matrix(logits: Logits, targets: Targets) -> npt.NDArray[np.int64]:
    """Counts of shape (true class, predicted class)."""
    classes = logits.shape[1]
    return np.bincount(targets * classes + logits.argmax(axis=1), minlength=classes**2).reshape(classes, classes)


METRICS: dict[str, Callable[[Logits, Targets], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "mcc": mcc,
    "kappa": kappa,
    "auroc": auroc,
    "average_precision": average_precision,
    "nll": nll,
    "brier": brier,
}
# Older programs' own, for recipes that name them; without intervals.
ELEMENTWISE: dict[str, Callable[[Logits, Targets], float]] = {
    "elementwise_accuracy": _each(elementwise.accuracy),
    "elementwise_mcc": _each(elementwise.mcc),
    "elementwise_nll": _each(elementwise.nll),
    "soft_macro_f1": _each(elementwise.soft_macro_f1),
    "elementwise_dice": _each(elementwise.dice),
    "soft_iou": _each(elementwise.soft_iou),
    "hard_iou": _each(elementwise.hard_iou),
    "top5_accuracy": top5_accuracy,
}
BY_KIND: dict[str, dict[str, Callable[[Logits, Any], float]]] = {
    "classification": METRICS | ELEMENTWISE,
    "multilabel": label_metrics.METRICS | label_metrics.ELEMENTWISE,
    "regression": number_metrics.METRICS,
    "segmentation": mask_metrics.METRICS,
    "images": image_metrics.METRICS,
    "solutions": solution_metrics.METRICS,
}
# What `metrics.train=auto` and `metrics.final=auto` are.
TRAIN = {
    "classification": ["accuracy"],
    "multilabel": ["macro_f1"],
    "regression": ["rmse"],
    "segmentation": ["dice", "iou"],
    "images": ["mse", "psnr"],
    "solutions": [],
}
FINAL = {
    "classification": ["accuracy", "balanced_accuracy", "macro_f1", "auroc", "nll", "brier"],
    "multilabel": ["accuracy", "exact_match", "macro_f1", "auroc", "average_precision", "nll"],
    "regression": ["rmse", "mae", "r2", "pearson", "spearman"],
    "segmentation": ["dice", "iou", "pixel_accuracy", "foreground_dice", "foreground_iou", "image_dice"],
    "images": ["psnr", "image_psnr", "mse", "mae"],
    "solutions": ["equation_loss"],
}
# What tables are sorted by.
HEADLINE = {
    "classification": "accuracy", "multilabel": "auroc", "regression": "rmse", "segmentation": "dice", "images": "psnr",
    "solutions": "equation_loss",
}  # fmt: skip
# Why a metric has no value on some rows.
UNDEFINED = {
    "foreground_dice": "no image has foreground, in its mask or predicted",
    "foreground_iou": "no image has foreground, in its mask or predicted",
    "image_dice": "no image has a class to measure",
    "dice": "no class is in a mask or predicted",
    "iou": "no class is in a mask or predicted",
    "r2": "all targets are equal",
    "pearson": "all targets, or all predictions, are equal",
    "spearman": "all targets, or all predictions, are equal",
    "auroc": "no class has both rows that are of it and rows that are not",
    "average_precision": "no class has a row that is of it",
}
# What losses are compared by where they cannot be compared by their own values.
PROPER = ("nll", "elementwise_nll")
LESS_IS_BETTER = frozenset({"loss", "nll", "elementwise_nll", "brier", "rmse", "mae", "mse"})
# Means over those classes that occur, or those labels that occur and are absent somewhere.
OVER_CLASSES = frozenset({"balanced_accuracy", "macro_f1", "auroc", "average_precision"})
# What the names of metrics that are losses begin with.
OF_LOSS = "loss_"


def compute(
    names: Iterable[str],
    logits: Logits,
    targets: npt.NDArray[Any],
    kind: str = "classification",
    own: Mapping[str, Measure] | None = None,
) -> dict[str, float]:
    """The named metrics; rows without a target are left out. Empty when no row has one.

    Args:
        names: Names out of the kind's table in `BY_KIND`.
        logits: Shape (n, outputs).
        targets: As `mlpipe.data.task.Samples.targets`.
        kind: The kind of the task.
        own: Further metrics by name, which go before those of the table; of one that gives several numbers each is in the
            result under its own name.
    """
    labelled = targets >= 0 if targets.ndim == 1 else ~np.isnan(targets).all(axis=1)
    if not labelled.any():
        return {}
    table: dict[str, Measure] = {**BY_KIND[kind], **(own or {})}
    found: dict[str, float] = {}
    for name in names:
        value = table[name](logits[labelled], targets[labelled])
        found |= value if isinstance(value, Mapping) else {name: value}
    return found


def direction(name: str) -> Literal["min", "max"]:
    """`min` or `max`, whichever is better for a metric."""
    plain = name.rpartition("/")[2]
    return "min" if plain in LESS_IS_BETTER or plain.startswith(OF_LOSS) or plain.endswith("_loss") else "max"


def details(logits: Logits, targets: npt.NDArray[Any], classes: Sequence[str], kind: str) -> dict[str, Any]:
    """The table of classes or labels, and the confusion matrix, as plain data for a record.

    Args:
        logits: Shape (n, outputs).
        targets: As for `compute`.
        classes: The names of the outputs.
        kind: The kind of the task.

    Returns:
        `classes`: one row for each with counts and metrics; for classification also `confusion`, counts of
        (true class, predicted class). Empty when no row has a target.
    """
    labelled = targets >= 0 if targets.ndim == 1 else ~np.isnan(targets).all(axis=1)
    if not labelled.any():
        return {}
    logits, targets = logits[labelled], targets[labelled]
    if kind == "multilabel":
        return {"classes": label_metrics.table(logits, targets, classes)}
    if kind == "regression":
        return {"classes": number_metrics.table(logits, targets, classes)}
    if kind == "segmentation":
        return {"classes": mask_metrics.table(logits, targets, classes)}
    if kind == "images":
        return {"classes": image_metrics.table(logits, targets, classes)}
    if kind == "solutions":
        return {"classes": solution_metrics.table(logits, targets, classes)}
    confusion = confusion_matrix(logits, targets)
    probabilities = np.exp(log_softmax(logits))
    true, predicted, hits = confusion.sum(axis=1), confusion.sum(axis=0), np.diag(confusion)
    rows = [
        {
            "class": name,
            "images": int(true[number]),
            "precision": _ratio(hits[number], predicted[number]),
            "recall": _ratio(hits[number], true[number]),
            "f1": _ratio(2 * hits[number], true[number] + predicted[number]),
            "auroc": area_under_roc(probabilities[:, number], targets == number),
        }
        for number, name in enumerate(classes)
    ]
    return {"classes": rows, "confusion": confusion.tolist()}


def lacking(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The classes without a row, or the labels without one on both sides, by the table that `details` gives.

    Means over classes (`OVER_CLASSES`) are over the others.

    Args:
        rows: Its `classes`.
    """
    return [str(row["class"]) for row in rows if "auroc" in row and not _has_both(row)]


def _has_both(row: Mapping[str, Any]) -> bool:
    """Whether a class has rows; whether a label has rows with and without it."""
    if "positive" not in row:
        return bool(row["images"])
    return bool(0 < row["positive"] < row["images"])


def said_of(rows: Sequence[Mapping[str, Any]], scores: Iterable[str]) -> list[str]:
    """A sentence where means over classes are not over all of them; none else.

    Args:
        rows: The table of classes that `details` gives.
        scores: The names of the scores that are told with it.
    """
    means = [name for name in scores if name in OVER_CLASSES]
    if not rows or not means:
        return []
    noun = "labels" if "positive" in rows[0] else "classes"
    # A class without a row counts in F1 once it is predicted, a label that every row has counts always.
    without_f1 = [str(row["class"]) for row in rows if row.get("f1") is None or math.isnan(row["f1"])]
    left_out = {name: tuple(without_f1 if name == "macro_f1" else lacking(rows)) for name in means}
    said = []
    for names in dict.fromkeys(names for names in left_out.values() if names):
        judged = f"{noun} that can be judged are {len(rows) - len(names)} of {len(rows)}, not {listing(names)}"
        said.append(f"{listing([name for name in means if left_out[name] == names])}: {judged}")
    guessed = [str(row["class"]) for row in rows if not row.get("positive", row["images"]) and row.get("f1") == 0]
    if guessed and "macro_f1" in means:
        verbs = ("has", "was") if len(guessed) == 1 else ("have", "were")
        said.append(f"macro_f1: {listing(guessed)} {verbs[0]} no image and {verbs[1]} predicted, which counts as 0")
    return said


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
