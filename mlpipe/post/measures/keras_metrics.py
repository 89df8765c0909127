"""Keras's metrics by Keras's names in snake case, exact over all rows, as functions of probabilities (or numbers) and targets.

Both are of shape (n, outputs), every target known, one-hot for classes. Source: the documentation of `keras.metrics` and
`keras.losses`; the tests compare with Keras itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe.config import signatures
from mlpipe.errors import did_you_mean, listing, problem

Floats = npt.NDArray[np.floating]
Share = Annotated[float, ">= 0", "<= 1"]

_TINY = 1e-7
# The value that Keras gives to outputs that are not among the largest ones.
_LEAST = -1e10


def accuracy(p: Floats, t: Floats) -> float:
    """Binary accuracy of one output, categorical accuracy of several, as Keras chooses by the shape."""
    return binary_accuracy(p, t) if p.shape[1] == 1 else categorical_accuracy(p, t)


def equal_values(p: Floats, t: Floats) -> float:
    """The share of outputs that equal their targets exactly: Keras's class `Accuracy`."""
    return float((p == t).mean())


def binary_accuracy(p: Floats, t: Floats, *, threshold: Share = 0.5) -> float:
    """The share of entries on their side of the threshold."""
    return float(((p > threshold) == t).mean())


def categorical_accuracy(p: Floats, t: Floats) -> float:
    """The share of rows whose largest output is the target's."""
    return float((p.argmax(1) == t.argmax(1)).mean())


def top_k_categorical_accuracy(p: Floats, t: Floats, *, k: Annotated[int, ">= 1"] = 5) -> float:
    """The share of rows whose target is among the k largest outputs."""
    of_true = np.take_along_axis(p, t.argmax(1)[:, None], axis=1)
    return float(((p > of_true).sum(1) < k).mean())


def categorical_crossentropy(p: Floats, t: Floats, *, label_smoothing: Share = 0.0) -> float:
    """The mean of -sum t log p, p divided by its sum and kept 1e-7 off 0 and 1."""
    smooth = t * (1 - label_smoothing) + label_smoothing / t.shape[1]
    probabilities = np.clip(p / p.sum(1, keepdims=True), _TINY, 1 - _TINY)
    return float(-(smooth * np.log(probabilities)).sum(1).mean())


def sparse_categorical_crossentropy(p: Floats, t: Floats, *, ignore_class: int | None = None) -> float:
    """`categorical_crossentropy` for class numbers; an ignored class adds nothing to the mean."""
    probabilities = np.clip(p / p.sum(1, keepdims=True), _TINY, 1 - _TINY)
    counts = np.ones(len(p)) if ignore_class is None else t.argmax(1) != ignore_class
    return float(-((t * np.log(probabilities)).sum(1) * counts).sum() / max(float(counts.sum()), 1.0))


def binary_crossentropy(p: Floats, t: Floats, *, label_smoothing: Share = 0.0) -> float:
    """The mean binary cross-entropy of all entries, p kept 1e-7 off 0 and 1."""
    smooth, probabilities = t * (1 - label_smoothing) + 0.5 * label_smoothing, np.clip(p, _TINY, 1 - _TINY)
    return float(-(smooth * np.log(probabilities) + (1 - smooth) * np.log(1 - probabilities)).mean())


def binary_focal_crossentropy(
    p: Floats,
    t: Floats,
    *,
    alpha: Share = 0.25,
    gamma: Annotated[float, ">= 0"] = 2.0,
    apply_class_balancing: bool = False,
    label_smoothing: Share = 0.0,
) -> float:
    """The binary cross-entropy of each entry times (1 - its probability to be right) to a power (Lin et al. 2017)."""
    smooth, clipped = t * (1 - label_smoothing) + 0.5 * label_smoothing, np.clip(p, _TINY, 1 - _TINY)
    losses = -(smooth * np.log(clipped) + (1 - smooth) * np.log(1 - clipped))
    losses = losses * (1 - (smooth * p + (1 - smooth) * (1 - p))) ** gamma
    weights = smooth * alpha + (1 - smooth) * (1 - alpha) if apply_class_balancing else 1.0
    return float((weights * losses).mean())


def categorical_focal_crossentropy(
    p: Floats,
    t: Floats,
    *,
    alpha: float | list[float] = 0.25,
    gamma: Annotated[float, ">= 0"] = 2.0,
    label_smoothing: Share = 0.0,
) -> float:
    """The mean of -sum alpha (1 - p)^gamma t log p, p divided by its sum and kept 1e-7 off 0 and 1."""
    smooth = t * (1 - label_smoothing) + label_smoothing / t.shape[1]
    probabilities = np.clip(p / p.sum(1, keepdims=True), _TINY, 1 - _TINY)
    losses = np.asarray(alpha) * (1 - probabilities) ** gamma * smooth * np.log(probabilities)
    return float(-losses.sum(1).mean())


def categorical_generalized_cross_entropy(p: Floats, t: Floats, *, q: Annotated[float, "> 0", "<= 1"] = 0.5) -> float:
    """The mean of (1 - p^q) / q, p the probability of the true class (Zhang and Sabuncu 2018)."""
    return float(((1 - (p * t).sum(1) ** q) / q).mean())


def dice(p: Floats, t: Floats) -> float:
    """1 - 2 sum tp / (sum t + sum p) over all entries."""
    return float(1 - 2 * (p * t).sum() / (t.sum() + p.sum() + _TINY))


def tversky(
    p: Floats, t: Floats, *, alpha: Annotated[float, ">= 0"] = 0.5, beta: Annotated[float, ">= 0"] = 0.5
) -> float:
    """1 - sum tp / (sum tp + alpha sum t (1 - p) + beta sum (1 - t) p) over all entries (Salehi et al. 2017)."""
    both = (p * t).sum()
    return float(1 - both / (both + alpha * ((1 - p) * t).sum() + beta * (p * (1 - t)).sum() + _TINY))


def crossentropy(p: Floats, t: Floats) -> float:
    """Binary cross-entropy of one output, categorical of several, as Keras chooses by the shape."""
    return binary_crossentropy(p, t) if p.shape[1] == 1 else categorical_crossentropy(p, t)


def mean_squared_error(p: Floats, t: Floats) -> float:
    """The mean squared difference."""
    return float(((p - t) ** 2).mean())


def root_mean_squared_error(p: Floats, t: Floats) -> float:
    """The root of the mean squared difference."""
    return float(np.sqrt(((p - t) ** 2).mean()))


def mean_absolute_error(p: Floats, t: Floats) -> float:
    """The mean absolute difference."""
    return float(np.abs(p - t).mean())


def mean_absolute_percentage_error(p: Floats, t: Floats) -> float:
    """100 times the mean of |t - p| / max(|t|, 1e-7)."""
    return float(100 * (np.abs(t - p) / np.maximum(np.abs(t), _TINY)).mean())


def mean_relative_error(p: Floats, t: Floats, *, normalizer: float | list[float]) -> float:
    """The mean of |t - p| / normalizer, one number or one for each output; 0 where that is 0. TensorFlow's, not Keras 3's."""
    scale = np.broadcast_to(np.asarray(normalizer, np.float64), p.shape)
    return float(np.divide(np.abs(t - p), scale, out=np.zeros(p.shape), where=scale != 0).mean())


def mean_squared_logarithmic_error(p: Floats, t: Floats) -> float:
    """The mean squared difference of log(1 + x), x at least 1e-7."""
    return float(((np.log1p(np.maximum(p, _TINY)) - np.log1p(np.maximum(t, _TINY))) ** 2).mean())


def log_cosh(p: Floats, t: Floats) -> float:
    """The mean logarithm of the hyperbolic cosine of the difference."""
    return float((np.logaddexp(p - t, t - p) - np.log(2)).mean())


def huber(p: Floats, t: Floats, *, delta: Annotated[float, "> 0"] = 1.0) -> float:
    """Huber's loss (1964): a square up to an error of delta, a line beyond."""
    error = np.abs(p - t)
    return float(np.where(error <= delta, error**2 / 2, delta * error - delta**2 / 2).mean())


def cosine_similarity(p: Floats, t: Floats, *, axis: Literal[-1, 1] = -1) -> float:
    """The mean cosine between outputs and targets of a row; the loss of this name is its negative."""
    return float((_unit(p) * _unit(t)).sum(1).mean())


def negative_cosine_similarity(p: Floats, t: Floats, *, axis: Literal[-1, 1] = -1) -> float:
    """The loss `CosineSimilarity`: the negative of `cosine_similarity`."""
    return -cosine_similarity(p, t)


def kl_divergence(p: Floats, t: Floats) -> float:
    """The mean of sum t log(t / p), both kept between 1e-7 and 1."""
    t, p = np.clip(t, _TINY, 1), np.clip(p, _TINY, 1)
    return float((t * np.log(t / p)).sum(1).mean())


def poisson(p: Floats, t: Floats) -> float:
    """The mean of p - t log(p + 1e-7)."""
    return float((p - t * np.log(p + _TINY)).mean())


def hinge(p: Floats, t: Floats) -> float:
    """The mean of max(0, 1 - tp); targets of 0 and 1 are taken as -1 and 1."""
    return float(np.maximum(1 - _signed(t) * p, 0).mean())


def squared_hinge(p: Floats, t: Floats) -> float:
    """The mean of max(0, 1 - tp)^2; targets of 0 and 1 are taken as -1 and 1."""
    return float((np.maximum(1 - _signed(t) * p, 0) ** 2).mean())


def categorical_hinge(p: Floats, t: Floats) -> float:
    """The mean of max(0, max((1 - t) p) - sum tp + 1)."""
    return float(np.maximum(((1 - t) * p).max(1) - (t * p).sum(1) + 1, 0).mean())


def r2_score(
    p: Floats,
    t: Floats,
    *,
    class_aggregation: Literal["uniform_average", "variance_weighted_average"] = "uniform_average",
    num_regressors: Annotated[int, ">= 0"] = 0,
) -> float:
    """The explained share of the variance, averaged over outputs, by their variance or equally; adjusted if requested."""
    total = (t**2).sum(0) - t.sum(0) * t.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = 1 - ((t - p) ** 2).sum(0) / total
    scores = np.where(np.isinf(scores), 0.0, scores)
    uniform = class_aggregation == "uniform_average"
    score = scores.mean() if uniform else (total * scores).sum() / total.sum()
    if num_regressors and num_regressors < t.size - 1:
        score = 1 - (1 - score) * (t.size - 1) / (t.size - num_regressors - 1)
    return float(score)


def pearson_correlation(p: Floats, t: Floats, *, axis: Literal[0, 1, -1] = -1) -> float:
    """The mean of Pearson's correlation over the outputs of a row, or with `axis=0` over the rows of an output."""
    with np.errstate(divide="ignore", invalid="ignore"):
        of_both = [(values - values.mean(axis, keepdims=True)) / values.std(axis, keepdims=True) for values in (p, t)]
    return float((of_both[0] * of_both[1]).mean())


def concordance_correlation(p: Floats, t: Floats, *, axis: Literal[0, 1, -1] = -1) -> float:
    """Keras's concordance coefficient, the mean over the outputs of a row, or with `axis=0` over the rows of an output."""
    true_mean, mean = t.mean(axis, keepdims=True), p.mean(axis, keepdims=True)
    spread = t.var(axis, keepdims=True) + p.var(axis, keepdims=True) + (true_mean - mean) ** 2
    return float((2 * (t - mean) * (p - mean) / (spread + _TINY)).mean())


def true_positives(p: Floats, t: Floats, *, thresholds: Share | None = None) -> float:
    """How many entries are positive and lie above the threshold."""
    return _counts(p, t, thresholds).hits


def false_positives(p: Floats, t: Floats, *, thresholds: Share | None = None) -> float:
    """How many entries are negative and lie above the threshold."""
    return _counts(p, t, thresholds).false_alarms


def true_negatives(p: Floats, t: Floats, *, thresholds: Share | None = None) -> float:
    """How many entries are negative and do not lie above the threshold."""
    return _counts(p, t, thresholds).rejections


def false_negatives(p: Floats, t: Floats, *, thresholds: Share | None = None) -> float:
    """How many entries are positive and do not lie above the threshold."""
    return _counts(p, t, thresholds).misses


def precision(
    p: Floats,
    t: Floats,
    *,
    thresholds: Share | None = None,
    top_k: Annotated[int, ">= 1"] | None = None,
    class_id: Annotated[int, ">= 0"] | None = None,
) -> float:
    """The share of entries above the threshold (0.5), or among the k largest of a row, that are positive."""
    counts = _counts(p, t, thresholds, top_k, class_id)
    return float(_ratio(counts.hits, counts.hits + counts.false_alarms))


def recall(
    p: Floats,
    t: Floats,
    *,
    thresholds: Share | None = None,
    top_k: Annotated[int, ">= 1"] | None = None,
    class_id: Annotated[int, ">= 0"] | None = None,
) -> float:
    """The share of positive entries above the threshold (0.5), or among the k largest of a row."""
    counts = _counts(p, t, thresholds, top_k, class_id)
    return float(_ratio(counts.hits, counts.hits + counts.misses))


def fbeta_score(
    p: Floats,
    t: Floats,
    *,
    average: Literal["micro", "macro", "weighted"] = "macro",
    beta: Annotated[float, "> 0"] = 1.0,
    threshold: Annotated[float, "> 0", "<= 1"] | None = None,
) -> float:
    """The weighted harmonic mean of precision and recall; without a threshold a row's largest output is positive."""
    predictions = p > threshold if threshold is not None else (p >= p.max(1, keepdims=True)) & (np.abs(p) > 1e-9)
    axis = None if average == "micro" else 0
    hits, false_alarms, misses = (
        (factor * other).sum(axis) for factor, other in ((predictions, t), (predictions, 1 - t), (1.0 - predictions, t))
    )
    right, sensitivity = hits / (hits + false_alarms + _TINY), hits / (hits + misses + _TINY)
    scores = (1 + beta**2) * right * sensitivity / (beta**2 * right + sensitivity + _TINY)
    weights = t.sum(0) / (t.sum() + _TINY)
    return float((scores * weights).sum() if average == "weighted" else np.mean(scores))


def f1_score(
    p: Floats,
    t: Floats,
    *,
    average: Literal["micro", "macro", "weighted"] = "macro",
    threshold: Annotated[float, "> 0", "<= 1"] | None = None,
) -> float:
    """The harmonic mean of precision and recall."""
    return fbeta_score(p, t, average=average, threshold=threshold)


def auc(
    p: Floats,
    t: Floats,
    *,
    num_thresholds: Annotated[int, ">= 2"] = 200,
    curve: Literal["ROC", "PR"] = "ROC",
    summation_method: Literal["interpolation", "minoring", "majoring"] = "interpolation",
    thresholds: list[float] | None = None,
    multi_label: bool = False,
    num_labels: Annotated[int, ">= 1"] | None = None,
    label_weights: list[float] | None = None,
) -> float:
    """The area under a curve through the given thresholds, or `num_thresholds` of them; label by label, or for all together."""
    steps = _steps(num_thresholds, thresholds)
    if multi_label:
        areas = [
            _area(_Curve(scores, true, steps), curve, summation_method) for scores, true in zip(p.T, t.T, strict=True)
        ]
        return float(np.average(areas, weights=label_weights))
    weights = None if label_weights is None else np.broadcast_to(np.asarray(label_weights, np.float64), p.shape).ravel()
    return _area(_Curve(p.ravel(), t.ravel(), steps, weights), curve, summation_method)


def sensitivity_at_specificity(
    p: Floats,
    t: Floats,
    *,
    specificity: Share,
    num_thresholds: Annotated[int, ">= 1"] = 200,
    class_id: Annotated[int, ">= 0"] | None = None,
) -> float:
    """The best sensitivity at a threshold whose specificity is at least this; 0 where there is none."""
    at = _curve(p, t, num_thresholds, class_id)
    return _best(at.specificity, at.sensitivity, specificity)


def specificity_at_sensitivity(
    p: Floats,
    t: Floats,
    *,
    sensitivity: Share,
    num_thresholds: Annotated[int, ">= 1"] = 200,
    class_id: Annotated[int, ">= 0"] | None = None,
) -> float:
    """The best specificity at a threshold whose sensitivity is at least this; 0 where there is none."""
    at = _curve(p, t, num_thresholds, class_id)
    return _best(at.sensitivity, at.specificity, sensitivity)


def precision_at_recall(
    p: Floats,
    t: Floats,
    *,
    recall: Share,
    num_thresholds: Annotated[int, ">= 1"] = 200,
    class_id: Annotated[int, ">= 0"] | None = None,
) -> float:
    """The best precision at a threshold whose recall is at least this; 0 where there is none."""
    at = _curve(p, t, num_thresholds, class_id)
    return _best(at.sensitivity, at.precision, recall)


def recall_at_precision(
    p: Floats,
    t: Floats,
    *,
    precision: Share,
    num_thresholds: Annotated[int, ">= 1"] = 200,
    class_id: Annotated[int, ">= 0"] | None = None,
) -> float:
    """The best recall at a threshold whose precision is at least this; 0 where there is none."""
    at = _curve(p, t, num_thresholds, class_id)
    return _best(at.precision, at.sensitivity, precision)


def binary_io_u(p: Floats, t: Floats, *, target_class_ids: list[int] | None = None, threshold: float = 0.5) -> float:
    """The mean over classes 0 and 1 (or those named) of intersection over union of all entries."""
    classes = [0, 1] if target_class_ids is None else target_class_ids
    return _overlap((p >= threshold).astype(int).ravel(), t.astype(int).ravel(), classes)


def io_u(
    p: Floats,
    t: Floats,
    *,
    num_classes: Annotated[int, ">= 1"],
    target_class_ids: list[int],
    ignore_class: int | None = None,
    sparse_y_true: bool = True,
    sparse_y_pred: bool = True,
) -> float:
    """The mean over the named classes of intersection over union; values cut to whole numbers are classes where sparse."""
    predictions = p.astype(int).ravel() if sparse_y_pred else p.argmax(1)
    true = t.astype(int).ravel() if sparse_y_true else t.argmax(1)
    if len(predictions) != len(true):
        raise ValueError("outputs and targets are one number for each row, or one for each class: say so for both")
    mask = (predictions >= 0) & (predictions < num_classes) & (true >= 0) & (true < num_classes)
    mask &= true != (-1 if ignore_class is None else ignore_class)
    return _overlap(predictions[mask], true[mask], target_class_ids)


def mean_io_u(
    p: Floats,
    t: Floats,
    *,
    num_classes: Annotated[int, ">= 1"],
    ignore_class: int | None = None,
    sparse_y_true: bool = True,
    sparse_y_pred: bool = True,
) -> float:
    """The mean over all classes of intersection over union."""
    return io_u(
        p, t, num_classes=num_classes, target_class_ids=list(range(num_classes)), ignore_class=ignore_class,
        sparse_y_true=sparse_y_true, sparse_y_pred=sparse_y_pred,
    )  # fmt: skip


def one_hot_io_u(
    p: Floats,
    t: Floats,
    *,
    num_classes: Annotated[int, ">= 1"],
    target_class_ids: list[int],
    ignore_class: int | None = None,
) -> float:
    """The mean over the named classes of intersection over union of the rows' classes."""
    return io_u(
        p, t, num_classes=num_classes, target_class_ids=target_class_ids, ignore_class=ignore_class,
        sparse_y_true=False, sparse_y_pred=False,
    )  # fmt: skip


def one_hot_mean_io_u(
    p: Floats, t: Floats, *, num_classes: Annotated[int, ">= 1"], ignore_class: int | None = None
) -> float:
    """The mean over all classes of intersection over union of the rows' classes."""
    classes = list(range(num_classes))
    return one_hot_io_u(p, t, num_classes=num_classes, target_class_ids=classes, ignore_class=ignore_class)


# Every metric by its name.
METRICS: dict[str, Callable[..., float]] = {
    one.__name__: one
    for one in (
        accuracy, equal_values, binary_accuracy, categorical_accuracy, top_k_categorical_accuracy,
        categorical_crossentropy, sparse_categorical_crossentropy, binary_crossentropy, crossentropy,
        binary_focal_crossentropy, categorical_focal_crossentropy, categorical_generalized_cross_entropy, dice, tversky,
        mean_squared_error,
        root_mean_squared_error, mean_absolute_error, mean_absolute_percentage_error, mean_relative_error,
        mean_squared_logarithmic_error,
        log_cosh, huber, cosine_similarity, negative_cosine_similarity, kl_divergence, poisson, hinge, squared_hinge,
        categorical_hinge, r2_score, pearson_correlation, concordance_correlation, true_positives, false_positives,
        true_negatives, false_negatives, precision, recall, fbeta_score, f1_score, auc, sensitivity_at_specificity,
        specificity_at_sensitivity, precision_at_recall, recall_at_precision, binary_io_u, io_u, mean_io_u, one_hot_io_u,
        one_hot_mean_io_u,
    )
}  # fmt: skip
METRICS["sparse_categorical_accuracy"] = categorical_accuracy
METRICS["sparse_top_k_categorical_accuracy"] = top_k_categorical_accuracy


def problems(key: str, name: str, params: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every mistake in a metric and its parameters.

    Args:
        key: The configuration's key, for sentences; parameters are below it.
        name: The metric's name in snake case.
        params: Its parameters.
    """
    if name not in METRICS:
        fix = did_you_mean(name, METRICS, otherwise=f"there are {listing(METRICS, most=50)}")
        return [problem(f"{key}.import", "there is no such metric", got=name, fix=fix)]
    signature = signatures.read(f"{__name__}.{METRICS[name].__name__}")
    assert signature is not None
    return signature.problems(f"{key}.params", dict(params))


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _signed(t: Floats) -> Floats:
    return 2 * t - 1 if bool(((t == 0) | (t == 1)).all()) else t


def _ratio(part: Any, whole: Any) -> Any:
    """Return the quotient, 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(np.asarray(whole, np.float64)), where=np.asarray(whole) > 0)[()]


class _Counts:
    """Counts of entries on either side of a threshold."""

    def __init__(self, above: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> None:
        self.hits, self.false_alarms = float((above & true).sum()), float((above & ~true).sum())
        self.misses, self.rejections = float((~above & true).sum()), float((~above & ~true).sum())


def _counts(
    p: Floats, t: Floats, threshold: float | None, top_k: int | None = None, class_id: int | None = None
) -> _Counts:
    least = threshold if threshold is not None else 0.5 if top_k is None else _LEAST
    if top_k is not None:
        largest = np.argsort(-p, axis=1, kind="stable")[:, :top_k]
        mask = np.zeros(p.shape, bool)
        np.put_along_axis(mask, largest, True, axis=1)
        p = np.where(mask, p, _LEAST)
    if class_id is not None:
        p, t = p[:, [class_id]], t[:, [class_id]]
    return _Counts(p > least, t != 0)


def _steps(number: int, thresholds: list[float] | None = None) -> Floats:
    """Return thresholds from below 0 to above 1."""
    if number == 1 and thresholds is None:
        return np.array([0.5], np.float32)
    inside = sorted(thresholds) if thresholds is not None else [(step + 1) / (number - 1) for step in range(number - 2)]
    return np.array([-_TINY, *inside, 1 + _TINY], np.float32)


class _Curve:
    """Counts, weighted if entries have weights, above and below each of several thresholds."""

    def __init__(self, p: Floats, t: Floats, steps: Floats, weights: Floats | None = None) -> None:
        order = np.argsort(p, kind="stable")
        places = np.searchsorted(p[order].astype(np.float32), steps, side="right")
        true = (t != 0)[order]
        row_weights = np.ones(len(p)) if weights is None else weights[order]
        below = [np.concatenate([[0.0], np.cumsum(row_weights * of)])[places] for of in (true, ~true)]
        self.misses, self.rejections = below
        self.hits, self.false_alarms = (row_weights * true).sum() - below[0], (row_weights * ~true).sum() - below[1]
        self.sensitivity = _ratio(self.hits, self.hits + self.misses)
        self.specificity = _ratio(self.rejections, self.rejections + self.false_alarms)
        self.precision = _ratio(self.hits, self.hits + self.false_alarms)


def _curve(p: Floats, t: Floats, number: int, class_id: int | None) -> _Curve:
    if class_id is not None:
        p, t = p[:, [class_id]], t[:, [class_id]]
    return _Curve(p.ravel(), t.ravel(), _steps(number))


def _best(constrained: Floats, other: Floats, least: float) -> float:
    # Keras compares in single precision.
    return float(np.where(constrained.astype(np.float32) >= np.float32(least), other, 0).max(initial=0))


def _area(at: _Curve, curve: str, method: str) -> float:
    if curve == "PR" and method == "interpolation":
        return _interpolated(at)
    x, y = (1 - at.specificity, at.sensitivity) if curve == "ROC" else (at.sensitivity, at.precision)
    if curve == "ROC":
        x = _ratio(at.false_alarms, at.false_alarms + at.rejections)
    between = {
        "interpolation": (y[:-1] + y[1:]) / 2,
        "minoring": np.minimum(y[:-1], y[1:]),
        "majoring": np.maximum(y[:-1], y[1:]),
    }
    return float(((x[:-1] - x[1:]) * between[method]).sum())


def _interpolated(at: _Curve) -> float:
    """Return the area under the precision-recall curve, with hits linear in predicted positives (Davis and Goadrich 2006)."""
    positives = at.hits + at.false_alarms
    more_hits, more_said = at.hits[:-1] - at.hits[1:], positives[:-1] - positives[1:]
    slope = _ratio(more_hits, np.maximum(more_said, 0))
    intercept = at.hits[1:] - slope * positives[1:]
    both = (positives[:-1] > 0) & (positives[1:] > 0)
    ratio = np.divide(positives[:-1], positives[1:], out=np.ones(len(both)), where=both)
    return float(_ratio(slope * (more_hits + intercept * np.log(ratio)), at.hits[1:] + at.misses[1:]).sum())


def _overlap(predictions: npt.NDArray[Any], true: npt.NDArray[Any], classes: list[int]) -> float:
    both = np.array([((predictions == number) & (true == number)).sum() for number in classes], np.float64)
    either = np.array([((predictions == number) | (true == number)).sum() for number in classes], np.float64)
    return float(_ratio(both, either).sum() / max(int((either > 0).sum()), 1))
