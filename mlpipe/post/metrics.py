"""Metrics of classification predictions, exact over all rows: pure functions of logits and targets in NumPy.

`logits` has shape (n, classes) and `targets` shape (n,), class numbers. Softmax of the logits gives probabilities, so
log-probabilities may be passed as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.floating]
Targets = npt.NDArray[np.int64]

_TINY = 1e-12


def log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    """Log-probabilities, shape (n, classes)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def accuracy(logits: Logits, targets: Targets) -> float:
    """The share of rows whose largest logit is the target's."""
    return float((logits.argmax(axis=1) == targets).mean())


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
    areas = []
    for number in range(logits.shape[1]):
        positive = targets == number
        n_positive, n_negative = int(positive.sum()), int((~positive).sum())
        if n_positive and n_negative:
            ranks = _midranks(probabilities[:, number])
            areas.append((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
    return float(np.mean(areas)) if areas else float("nan")


def average_precision(logits: Logits, targets: Targets) -> float:
    """Average precision, one class against the rest, mean over the classes that occur."""
    probabilities = np.exp(log_softmax(logits))
    values = []
    for number in range(logits.shape[1]):
        positive = targets == number
        if positive.any():
            values.append(_average_precision(probabilities[:, number], positive))
    return float(np.mean(values))


def nll(logits: Logits, targets: Targets) -> float:
    """Negative log-likelihood in nats, probabilities clipped at 1e-12."""
    chosen = log_softmax(logits)[np.arange(len(targets)), targets]
    return float(-np.maximum(chosen, np.log(_TINY)).mean())


def brier(logits: Logits, targets: Targets) -> float:
    """The Brier score: squared errors of the probabilities, summed over classes, not divided by their number."""
    errors = np.exp(log_softmax(logits))
    errors[np.arange(len(targets)), targets] -= 1
    return float((errors**2).sum(axis=1).mean())


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
LESS_IS_BETTER = frozenset({"loss", "nll", "brier"})


def compute(names: Iterable[str], logits: Logits, targets: Targets) -> dict[str, float]:
    """The named metrics; rows without a target (-1) are left out. Empty when no row has one."""
    labelled = targets >= 0
    if not labelled.any():
        return {}
    return {name: METRICS[name](logits[labelled], targets[labelled]) for name in names}


def direction(name: str) -> str:
    """`min` or `max`, whichever is better for a metric."""
    return "min" if name.rpartition("/")[2] in LESS_IS_BETTER else "max"


def _midranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])


def _average_precision(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """Sum of precision times the step in recall, tied scores taken together."""
    levels, inverse = np.unique(-scores, return_inverse=True)
    hits = np.bincount(inverse, weights=positive, minlength=len(levels))
    seen = np.cumsum(np.bincount(inverse, minlength=len(levels)))
    return float((np.cumsum(hits) / seen * hits).sum() / positive.sum())
