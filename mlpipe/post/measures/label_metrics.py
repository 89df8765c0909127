"""Metrics of several yes-or-no labels: logits and targets of shape (n, labels), targets 0, 1 or NaN (unknown, left out)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.post.measures import elementwise
from mlpipe.post.measures.ranks import area_under_roc, average_precision_of

Logits = npt.NDArray[np.floating]
Targets = npt.NDArray[np.floating]


def accuracy(logits: Logits, targets: Targets) -> float:
    """The share of known labels that are on the right side of probability one half."""
    known = ~np.isnan(targets)
    return float(((logits > 0) == (targets == 1))[known].mean())


def balanced_accuracy(logits: Logits, targets: Targets) -> float:
    """The mean over labels with both answers of the mean of sensitivity and specificity; NaN when there is none."""
    known, guess = ~np.isnan(targets), logits > 0
    values = []
    for number in np.flatnonzero((targets == 1).any(axis=0) & (targets == 0).any(axis=0)):
        right = (guess[:, number] == (targets[:, number] == 1))[known[:, number]]
        yes = targets[known[:, number], number] == 1
        values.append((right[yes].mean() + right[~yes].mean()) / 2)
    return float(np.mean(values)) if values else float("nan")


def exact_match(logits: Logits, targets: Targets) -> float:
    """The share of rows all of whose labels are right, over rows without unknown labels; NaN without such rows."""
    whole = ~np.isnan(targets).any(axis=1)
    if not whole.any():
        return float("nan")
    return float(((logits > 0) == (targets == 1))[whole].all(axis=1).mean())


def macro_f1(logits: Logits, targets: Targets) -> float:
    """The mean of the labels' F1, 0/0 = 0; a label neither true nor predicted anywhere is left out."""
    hits, predicted, true = _counts(logits, targets)
    total = predicted + true
    return float((2 * hits[total > 0] / total[total > 0]).mean()) if total.any() else float("nan")


def micro_f1(logits: Logits, targets: Targets) -> float:
    """F1 of all labels together."""
    hits, predicted, true = _counts(logits, targets)
    total = predicted.sum() + true.sum()
    return float(2 * hits.sum() / total) if total else float("nan")


def auroc(logits: Logits, targets: Targets) -> float:
    """Area under the ROC curve, mean over the labels with rows on both sides; NaN when there is none."""
    return _mean_over_labels(area_under_roc, logits, targets)


def average_precision(logits: Logits, targets: Targets) -> float:
    """Average precision, mean over the labels that occur; NaN when there is none."""
    return _mean_over_labels(average_precision_of, logits, targets)


def nll(logits: Logits, targets: Targets) -> float:
    """Negative log-likelihood of a known label in nats, the mean over known labels."""
    known = ~np.isnan(targets)
    values = logits[known].astype(np.float64)
    return float((np.logaddexp(0, values) - values * targets[known]).mean())


def brier(logits: Logits, targets: Targets) -> float:
    """Squared error of a known label's probability, the mean over known labels."""
    known = ~np.isnan(targets)
    return float(((_sigmoid(logits[known]) - targets[known]) ** 2).mean())


def soft_macro_f1(logits: Logits, targets: Targets) -> float:
    """The mean over labels of F1 with probabilities as counts."""
    return elementwise.soft_macro_f1(_sigmoid(logits.astype(np.float64)), targets)


def elementwise_mcc(logits: Logits, targets: Targets) -> float:
    """Matthews' correlation of all known labels together, at one half."""
    return elementwise.mcc(_sigmoid(logits.astype(np.float64)), targets)


def soft_iou(logits: Logits, targets: Targets) -> float:
    """`mlpipe.post.measures.elementwise.soft_iou` of probabilities."""
    return elementwise.soft_iou(_sigmoid(logits.astype(np.float64)), targets)


def hard_iou(logits: Logits, targets: Targets) -> float:
    """`mlpipe.post.measures.elementwise.hard_iou` of probabilities."""
    return elementwise.hard_iou(_sigmoid(logits.astype(np.float64)), targets)


METRICS: dict[str, Callable[[Logits, Targets], float]] = {
    "accuracy": accuracy,
    "exact_match": exact_match,
    "macro_f1": macro_f1,
    "micro_f1": micro_f1,
    "auroc": auroc,
    "average_precision": average_precision,
    "nll": nll,
    "brier": brier,
}
# Metrics of older programs, for recipes that name them; without intervals.
ELEMENTWISE: dict[str, Callable[[Logits, Targets], float]] = {
    "soft_macro_f1": soft_macro_f1,
    "elementwise_mcc": elementwise_mcc,
    "soft_iou": soft_iou,
    "hard_iou": hard_iou,
    # The names of the same metrics for classes.
    "elementwise_accuracy": accuracy,
    "elementwise_nll": nll,
    "top1_accuracy": elementwise.top1_accuracy,
    "top5_accuracy": elementwise.top5_accuracy,
}


def table(logits: Logits, targets: Targets, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per label: counts, precision, recall, F1 and area under the ROC curve."""
    hits, predicted, true = _counts(logits, targets)
    rows = []
    for number, name in enumerate(labels):
        known = ~np.isnan(targets[:, number])
        total = predicted[number] + true[number]
        rows.append(
            {
                "class": name,
                "images": int(known.sum()),
                "positive": int(true[number]),
                "precision": float(hits[number] / predicted[number]) if predicted[number] else float("nan"),
                "recall": float(hits[number] / true[number]) if true[number] else float("nan"),
                "f1": float(2 * hits[number] / total) if total else float("nan"),
                "auroc": area_under_roc(logits[known, number], targets[known, number] == 1),
            }
        )
    return rows


def _counts(
    logits: Logits, targets: Targets
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the number of hits, of predicted and of true rows of each label, shape (labels,) each."""
    known, guess, true = ~np.isnan(targets), logits > 0, targets == 1
    return (guess & true).sum(axis=0), (guess & known).sum(axis=0), true.sum(axis=0)


def _mean_over_labels(measure: Callable[[Any, Any], float], logits: Logits, targets: Targets) -> float:
    values = []
    for number in range(targets.shape[1]):
        known = ~np.isnan(targets[:, number])
        values.append(measure(logits[known, number], targets[known, number] == 1))
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def _sigmoid(values: Logits) -> npt.NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(values.astype(np.float64) / 2)))
