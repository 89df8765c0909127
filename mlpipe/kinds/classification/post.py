"""Metrics, calibration and ensembling of classes, and decisions by costs, thresholds or prediction sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from mlpipe.post import conformal, decisions, prior, threshold
from mlpipe.post.calibration import errors as calibration_errors
from mlpipe.post.calibration.calibrate import calibrate
from mlpipe.post.calibration.values import Calibration
from mlpipe.post.decision_options import DecisionOptions
from mlpipe.post.ensembling import mixing as losses
from mlpipe.post.ensembling.member_mixture import at_own_prevalence, own_shares
from mlpipe.post.ensembling.member_rows import Array, Rows
from mlpipe.post.intervals import forms
from mlpipe.post.intervals.forms import Ends, Known
from mlpipe.post.kind import Bools, Loss, Outputs, StoredTargets, Targets
from mlpipe.post.measures import class_metrics
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.rows import Floats, Integers
from mlpipe.post.sums import AGREEMENT, COUNTS, Statistic, cells, rank_metric, ratio

METRICS = class_metrics.METRICS | class_metrics.ELEMENTWISE
WITHOUT_INTERVAL = class_metrics.ELEMENTWISE
TRAIN = ["accuracy"]
FINAL = ["accuracy", "balanced_accuracy", "macro_f1", "auroc", "nll", "brier"]
FURTHER = ["mcc", "kappa", "average_precision"]
HEADLINE = "accuracy"
ERROR = "share of wrong classes"
CRITERIA = ("f1", "balanced_accuracy", "youden", "sensitivity", "specificity")
# With more classes most cells of the matrix are empty (a thousand classes take 8 MB in each record).
_MOST_IN_A_MATRIX = 100

_CALIBRATION_ERRORS: dict[str, Callable[[Array, Array], float]] = {
    "expected (15 bins of equal width)": calibration_errors.expected_calibration_error,
    "adaptive (15 bins of equal mass)": calibration_errors.adaptive_calibration_error,
    "class-wise": calibration_errors.classwise_calibration_error,
    "L2, debiased": calibration_errors.debiased_error,
    "root Brier score (upper bound)": calibration_errors.root_brier,
}


def details(outputs: Outputs, targets: Targets, classes: Sequence[str]) -> dict[str, Any]:
    """Return the table of classes and the confusion matrix; with many classes only the cells that are not 0."""
    table = class_metrics.table(outputs, targets, classes)
    if len(classes) > _MOST_IN_A_MATRIX:
        return {"classes": table, "confused_pairs": class_metrics.confused_pairs(outputs, targets)}
    return {"classes": table, "confusion": class_metrics.confusion_matrix(outputs, targets).tolist()}


def errors(outputs: Outputs, targets: Targets) -> Floats:
    """Return 1 for each wrong row, else 0."""
    return np.asarray(outputs.argmax(axis=1) != targets, np.float64)


def constant(
    learned: Targets, judged: Targets, classes: Sequence[str], stored: StoredTargets
) -> tuple[Outputs, str] | None:
    """Predict the shares of the classes for every row; the most frequent class has the largest."""
    counts = np.bincount(learned[learned >= 0], minlength=len(classes))
    if not counts.sum():
        return None
    shares = np.log(np.maximum(counts, 1e-9) / counts.sum())
    return np.tile(shares, (len(judged), 1)), classes[int(counts.argmax())]


def right(outputs: Outputs, targets: Targets) -> Bools | None:
    """Return whether the largest output of each row is that of the target."""
    return np.asarray(outputs.argmax(axis=1) == targets)


def sides(targets: Targets) -> Iterator[Bools]:
    """Yield the rows of each class that occurs, as masks."""
    return (targets == number for number in np.unique(targets))


def statistic(name: str, outputs: Floats, targets: Targets) -> Statistic:
    """Return a metric as a function of weights: from ranks, sums of a loss, or counts of each class."""
    rows, classes, true = np.arange(len(outputs)), outputs.shape[1], targets.astype(np.int64)
    if name in ("auroc", "average_precision"):

        @cache
        def measure() -> Callable[[Floats], Floats]:
            """Build the metric only when needed: some intervals do without it, and its arrays are as large as the outputs."""
            is_true = true[:, None] == np.arange(classes)
            known = np.broadcast_to(np.True_, is_true.shape)
            return rank_metric(name, np.exp(log_softmax(outputs)), is_true, known)

        return Statistic(None, lambda weights: measure()(weights))
    if name in ("nll", "brier"):
        values = log_softmax(outputs)
        loss = -np.maximum(values[rows, true], np.log(1e-12))
        if name == "brier":
            np.exp(values, out=values)
            values[rows, true] -= 1
            loss = np.square(values, out=values).sum(axis=1)
        return Statistic(np.column_stack([np.ones_like(loss), loss]), ratio)
    guess = outputs.argmax(axis=1)
    if name == "accuracy":
        return Statistic(np.column_stack([np.ones(len(rows)), guess == true]), ratio)
    return Statistic(cells(guess, true, classes), lambda sums: COUNTS[name](*np.split(sums, 3, axis=1)))


def ends(name: str, value: float, measure: Statistic, known: Known) -> Ends:
    """Return the interval by the form of the metric: a share, a mean of shares, agreement, an area or a loss."""
    true, classes = known.targets.astype(np.int64), known.logits.shape[1]
    guess, counts = known.logits.argmax(axis=1), np.bincount(true, minlength=classes)
    if name == "accuracy":
        return forms.of_share(known.ratio(true == guess, np.ones(len(true))), known)
    if name == "balanced_accuracy":
        shares = [known.ratio((true == k) & (guess == k), true == k) for k in range(classes)]
        return forms.of_mean(shares, known, counts)
    if name == "macro_f1":
        overlaps = [forms.overlap(true == k, guess == k, known) for k in range(classes)]
        return forms.of_mean(overlaps, known, counts, forms.f1_of_share)
    if name in AGREEMENT:
        return forms.of_agreement(name, measure, true, guess, classes, known)
    if name in ("auroc", "average_precision"):
        scores, truth = PROBABILITIES.questions(known.logits, known.targets)
        # With two classes, both have the same area under the ROC curve.
        columns = slice(1, None) if name == "auroc" and classes == 2 else slice(None)
        return forms.of_areas(name, value, measure, scores[:, columns], truth[:, columns], known)
    return forms.of_loss(name, known)


class _Ensembling:
    """Mixes log-probabilities, and decides by costs, thresholds and prediction sets."""

    MIXES_COLUMNS = True

    def combine(self, parts: Sequence[Floats], weights: Sequence[float], mixing: str) -> Floats:
        if mixing == "logits":
            return log_softmax(losses.mixed(parts, weights))
        shares = losses.log_shares(weights)
        mixture = log_softmax(parts[0])
        mixture += shares[0]
        for logits, share in zip(parts[1:], shares[1:], strict=True):
            own = log_softmax(logits)
            own += share
            np.logaddexp(mixture, own, out=mixture)
        return mixture

    def plain_mean(self, parts: Sequence[Floats]) -> Floats:
        total = np.exp(log_softmax(parts[0]))
        for logits in parts[1:]:
            total += np.exp(log_softmax(logits))
        return np.asarray(np.log(np.maximum(total / len(parts), 1e-12)))

    def loss(self, outputs: Floats, targets: Targets) -> float:
        return losses.cross_entropy(outputs, targets)

    def searched(self, parts: Sequence[Floats]) -> tuple[list[Floats], Loss]:
        return [np.ascontiguousarray(logits.T) for logits in parts], losses.column_cross_entropy

    def averaged(self, outputs: Floats) -> Floats:
        return np.asarray(np.exp(log_softmax(outputs)))

    def averaged_loss(self, averaged: Floats, targets: Targets) -> float:
        own = averaged[np.arange(len(targets)), targets.astype(np.int64)]
        return float(-np.log(np.maximum(own, 1e-15)).mean())

    def decisions(
        self,
        rows: Rows,
        prior: Floats | None,
        estimate: Rows | None,
        options: DecisionOptions,
        classes: Sequence[str],
        seed: int,
        groups: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        plain, own = dict[str, Any](), at_own_prevalence(rows, prior)
        if options.threshold is not None:
            class_shares = own_shares(rows.targets, len(classes)) if prior is None else prior
            plain["thresholds"] = decisions.thresholds(rows, estimate, options, classes, class_shares, prior, groups)
        evaluation = estimate if estimate is not None else own
        known = evaluation.targets >= 0
        if known.any():
            raw, calibrated, targets = evaluation.raw[known], evaluation.calibrated[known], evaluation.targets[known]
            errors = {name: [of(raw, targets), of(calibrated, targets)] for name, of in _CALIBRATION_ERRORS.items()}
            before, after = next(iter(errors.values()))
            plain["calibration_error"] = {"before": before, "after": after, "measures": errors}
            if options.costs is not None:
                plain["costs"] = _costs(calibrated, targets, options.costs)
        # Thresholds apply to probabilities at the prior, which those at the rows' own prevalence are not.
        plain["sets"] = _prediction_sets(rows, rows if estimate is None else estimate, prior, options)
        if options.deploy_prior is not None:
            plain["at_deploy_prior"] = _performance_at_prior(own, options.deploy_prior, len(classes))
        return plain


class _Probabilities:
    """One distribution over all classes."""

    def learn(
        self, logits: Floats, targets: Targets, prior: Any, names: Sequence[str] | None, **how: Any
    ) -> dict[str, Any]:
        return calibrate(logits, targets, prior, **how).as_plain()

    def learned(self, plain: Mapping[str, Any]) -> Callable[[Floats], Floats]:
        return Calibration.from_plain(plain).apply

    def each_loss(self, logits: Floats, targets: Targets) -> tuple[Floats, Integers]:
        indices = np.flatnonzero(targets >= 0)
        own = logits if len(indices) == len(logits) else logits[indices]
        return -log_softmax(own)[np.arange(len(indices)), targets[indices]], indices

    def questions(self, logits: Floats, targets: Targets) -> tuple[Floats, Targets]:
        scores = log_softmax(logits)
        return np.exp(scores, out=scores), targets.astype(np.int64)[:, None] == np.arange(logits.shape[1])


ENSEMBLING, PROBABILITIES = _Ensembling(), _Probabilities()


def _prediction_sets(rows: Rows, evaluation: Rows, prior: Floats | None, options: DecisionOptions) -> dict[str, Any]:
    """Learn prediction sets from rows and evaluate them on other rows."""
    # Class-conditional coverage holds at any prevalence.
    arguments: dict[str, Any] = {"class_conditional": True} if options.set_coverage == "class" else {"prior": prior}
    sets = conformal.conformal(rows.calibrated, rows.targets, alpha=options.alpha, score=options.set_score, **arguments)
    plain, known = sets.as_plain(), evaluation.targets >= 0
    if prior is not None and not sets.by_class:
        plain["prior"] = np.asarray(prior).tolist()
    if not known.any():
        return plain
    targets = evaluation.targets[known]
    inside = sets.sets(evaluation.calibrated[known])
    hits = inside[np.arange(len(targets)), targets]
    counts, held = (np.bincount(rows, minlength=inside.shape[1]) for rows in (targets, targets[hits]))
    by_class = [
        float(part / count) if count else None for part, count in zip(held.tolist(), counts.tolist(), strict=True)
    ]
    observed = {"observed_coverage": float(hits.mean()), "observed_by_class": by_class}
    return {**plain, **observed, "mean_size": float(inside.sum(axis=1).mean())}


def _costs(log_probabilities: Array, targets: Array, costs: list[list[float]]) -> dict[str, Any]:
    """Return the cost of decisions on rows: the least-cost decisions, and those for the most probable class."""
    table = np.asarray(costs, np.float64)
    cost = threshold.expected_cost(log_probabilities, targets, table)
    constant = float((own_shares(targets, len(table)) @ table).min())
    plainly = float(table[targets, log_probabilities.argmax(axis=1)].mean())
    normalised = cost / constant if constant > 0 else None
    return {"table": costs, "each": cost, "most_probable": plainly, "normalised": normalised}


def _performance_at_prior(own: Rows, deploy_prior: list[float], classes: int) -> dict[str, Any]:
    """Return the performance expected at another prevalence, with probabilities moved to it."""
    shares = np.maximum(deploy_prior, prior.LEAST_SHARE)
    moved = prior.move_prior(own.calibrated, own_shares(own.targets, classes), shares)
    return {"prior": deploy_prior, **prior.expected_performance(moved, own.targets, deploy_prior)}
