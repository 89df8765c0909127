"""Metrics of classes: logits of shape (n, classes), targets of shape (n,), class numbers.

Softmax of the logits gives probabilities, so log-probabilities may be passed as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlpipe.post.measures import elementwise
from mlpipe.post.measures.ranks import area_under_roc, average_precision_of

Logits = npt.NDArray[np.floating]
Targets = npt.NDArray[np.int64]

_TINY = 1e-12
# The most numbers that are processed at a time, 32 MB.
_CELLS = 2**22


def log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    """Return log-probabilities, shape (n, classes); NaN if a row's largest logit is infinite or NaN, as for diverged networks."""
    with np.errstate(invalid="ignore"):
        values = np.subtract(logits, logits.max(axis=1, keepdims=True), dtype=np.float64)
        # Processed in blocks of rows, because with many classes every array of this shape takes gigabytes.
        step = max(1, _CELLS // max(1, values.shape[1]))
        for start in range(0, len(values), step):
            some = values[start : start + step]
            some -= np.log(np.exp(some).sum(axis=1, keepdims=True))
        return np.asarray(values)


def one_hot(targets: Targets, classes: int, dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
    """Return 1 at each row's class and 0 elsewhere, shape (n, classes), without a table of classes x classes.

    Args:
        targets: Class numbers, shape (n,); a negative one counts from the end.
        classes: The number of classes.
        dtype: The dtype of the result.
    """
    rows = np.zeros((len(targets), classes), dtype)
    rows[np.arange(len(targets)), targets] = 1
    return rows


def accuracy(logits: Logits, targets: Targets) -> float:
    """The share of rows whose largest logit is the target's."""
    return float((logits.argmax(axis=1) == targets).mean())


def top5_accuracy(logits: Logits, targets: Targets) -> float:
    """The share of rows whose target's logit is among the five largest."""
    return float((np.argsort(-logits, axis=1, kind="stable")[:, :5] == targets[:, np.newaxis]).any(axis=1).mean())


def balanced_accuracy(logits: Logits, targets: Targets) -> float:
    """The mean of the classes' recalls, over the classes that occur."""
    counts = class_counts(logits, targets)
    return float((counts.right[counts.true > 0] / counts.true[counts.true > 0]).mean())


def macro_f1(logits: Logits, targets: Targets) -> float:
    """The mean of the classes' F1, 0/0 = 0; a class neither true nor predicted anywhere is left out."""
    counts = class_counts(logits, targets)
    total = counts.predicted + counts.true
    return float((2 * counts.right[total > 0] / total[total > 0]).mean())


def mcc(logits: Logits, targets: Targets) -> float:
    """Matthews' correlation for several classes (Gorodkin 2004); 0 when a marginal has a single class."""
    right, true, predicted = (counts.astype(np.float64) for counts in class_counts(logits, targets))
    n = float(len(targets))
    spread = np.sqrt((n**2 - (true**2).sum()) * (n**2 - (predicted**2).sum()))
    return float((right.sum() * n - true @ predicted) / spread) if spread else 0.0


def kappa(logits: Logits, targets: Targets) -> float:
    """Cohen's kappa, unweighted; 0 when chance agreement is complete."""
    right, true, predicted = (counts.astype(np.float64) for counts in class_counts(logits, targets))
    n = float(len(targets))
    chance = (predicted @ true) / n**2
    return float((right.sum() / n - chance) / (1 - chance)) if chance < 1 else 0.0


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


def _elementwise_metric(measure: Callable[[Any, Any], float]) -> Callable[[Logits, Targets], float]:
    """Return a metric of `elementwise`, of the probabilities of classes and one-hot targets."""
    return lambda logits, targets: measure(np.exp(log_softmax(logits)), one_hot(targets, logits.shape[1]))


class ClassCounts(NamedTuple):
    """For each class the number of hits, of true rows, and of predicted rows, shape (classes,)."""

    right: npt.NDArray[np.int64]
    true: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]


def class_counts(logits: Logits, targets: Targets) -> ClassCounts:
    """Return the counts that most metrics need, without the classes x classes cells of the confusion matrix."""
    classes, predicted = logits.shape[1], logits.argmax(axis=1)
    right = targets[predicted == targets]
    return ClassCounts(*(np.bincount(labels, minlength=classes) for labels in (right, targets, predicted)))


def confused_pairs(logits: Logits, targets: Targets) -> list[list[int]]:
    """Return the non-zero cells of the confusion matrix: true class, predicted class, images."""
    classes = logits.shape[1]
    cells, images = np.unique(targets * classes + logits.argmax(axis=1), return_counts=True)
    rows: list[list[int]] = np.column_stack([cells // classes, cells % classes, images]).tolist()
    return rows


def confusion_matrix(logits: Logits, targets: Targets) -> npt.NDArray[np.int64]:
    """Return counts of shape (true class, predicted class)."""
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
# Metrics of older programs, for recipes that name them; without intervals.
ELEMENTWISE: dict[str, Callable[[Logits, Targets], float]] = {
    "elementwise_accuracy": _elementwise_metric(elementwise.accuracy),
    "elementwise_mcc": _elementwise_metric(elementwise.mcc),
    "elementwise_nll": _elementwise_metric(elementwise.nll),
    "soft_macro_f1": _elementwise_metric(elementwise.soft_macro_f1),
    "elementwise_dice": _elementwise_metric(elementwise.dice),
    "soft_iou": _elementwise_metric(elementwise.soft_iou),
    "hard_iou": _elementwise_metric(elementwise.hard_iou),
    "top5_accuracy": top5_accuracy,
    # The metric's name for outputs that stand for classes.
    "top1_accuracy": accuracy,
}


def table(logits: Logits, targets: Targets, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per class: number of images, precision, recall, F1 and area under the ROC curve.

    Args:
        logits: Shape (n, classes).
        targets: Shape (n,).
        classes: Their names.
    """
    hits, true, predicted = class_counts(logits, targets)
    probabilities = np.exp(log_softmax(logits))
    return [
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


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
