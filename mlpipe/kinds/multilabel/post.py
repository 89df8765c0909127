"""Metrics of labels where they are known, calibration label by label, and decisions by thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlpipe.post import decisions
from mlpipe.post.calibration.labels import LabelCalibration, calibrate_labels
from mlpipe.post.decision_options import DecisionOptions
from mlpipe.post.ensembling import mixing as losses
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.intervals import forms
from mlpipe.post.intervals.forms import Ends, Known
from mlpipe.post.kind import Bools, Loss, Outputs, StoredTargets, Targets
from mlpipe.post.kind import neither_right_nor_wrong as right
from mlpipe.post.measures import label_metrics
from mlpipe.post.rows import Floats, Integers
from mlpipe.post.sums import COUNTS, Statistic, rank_metric, ratio

__all__ = ["right"]

METRICS = label_metrics.METRICS | label_metrics.ELEMENTWISE
WITHOUT_INTERVAL = label_metrics.ELEMENTWISE
TRAIN = ["macro_f1"]
FINAL = ["accuracy", "exact_match", "macro_f1", "auroc", "average_precision", "nll"]
FURTHER: list[str] = []
HEADLINE = "auroc"
ERROR = "share of wrong labels"
CRITERIA = ("f1", "balanced_accuracy", "youden", "sensitivity", "specificity", "cost")


def details(outputs: Outputs, targets: Targets, classes: Sequence[str]) -> dict[str, Any]:
    """Return the table of labels."""
    return {"classes": label_metrics.table(outputs, targets, classes)}


def constant(
    learned: Targets, judged: Targets, classes: Sequence[str], stored: StoredTargets
) -> tuple[Outputs, str] | None:
    """Predict the log-odds of each label's share of the images for every image, which ranks no image before another."""
    known = (~np.isnan(learned)).sum(axis=0)
    if not known.all():
        return None
    # A label that all or no images have gets half an image of either sort, because its log-odds are infinite (Haldane 1956).
    rates = (np.nansum(learned, axis=0) + 0.5) / (known + 1)
    return np.tile(np.log(rates / (1 - rates)), (len(judged), 1)), "the share of images with each label"


def errors(outputs: Outputs, targets: Targets) -> Floats:
    """Return the share of wrong labels in each row, among those that are known."""
    known = ~np.isnan(targets)
    return np.asarray((known & ((outputs > 0) != (targets > 0.5))).sum(axis=1) / known.sum(axis=1), np.float64)


def sides(targets: Targets) -> list[Bools]:
    """Return the rows with and without each label, as masks."""
    return [column == answer for column in targets.T for answer in (0, 1)]


def statistic(name: str, outputs: Floats, targets: Targets) -> Statistic:
    """Return a metric as a function of weights: from ranks, from counts of each label, or from sums over known labels."""
    targets = targets.astype(np.float64)
    known, true, guess = ~np.isnan(targets), targets == 1, outputs > 0
    if name in ("auroc", "average_precision"):
        return Statistic(None, rank_metric(name, outputs, true, known))
    if name in ("macro_f1", "micro_f1"):
        contributions = np.hstack([guess & true, guess & known, true]).astype(np.float64)
        return Statistic(contributions, lambda sums: COUNTS[name](*np.split(sums, 3, axis=1)))
    if name == "exact_match":
        whole = known.all(axis=1)
        right = whole & (guess == true).all(axis=1)
        return Statistic(np.column_stack([whole, right]).astype(np.float64), ratio)
    if name == "accuracy":
        values = (guess == true).astype(np.float64)
    elif name == "nll":
        values = np.logaddexp(0, outputs) - outputs * true
    else:
        values = (0.5 * (1 + np.tanh(outputs / 2)) - true) ** 2
    return Statistic(np.column_stack([known.sum(axis=1), np.where(known, values, 0).sum(axis=1)]), ratio)


def ends(name: str, value: float, measure: Statistic, known: Known) -> Ends:
    """Return the interval by the form of the metric: a share, a mean of shares, an area or a loss."""
    targets, logits = known.targets.astype(np.float64), known.logits
    mask, true, guess = ~np.isnan(targets), targets == 1, logits > 0
    guess = guess & mask
    right = mask & (guess == true)
    if name == "accuracy":
        return forms.of_share(known.ratio(right.sum(axis=1), mask.sum(axis=1)), known)
    if name == "exact_match":
        whole = mask.all(axis=1)
        return forms.of_share(known.ratio(np.asarray(whole & right.all(axis=1)), np.asarray(whole)), known)
    if name == "micro_f1":
        both = known.ratio((true & guess).sum(axis=1), (true | guess).sum(axis=1))
        return forms.of_share(both, known, forms.f1_of_share)
    if name == "macro_f1":
        overlaps = [forms.overlap(true[:, k], guess[:, k], known) for k in range(targets.shape[1])]
        return forms.of_mean(overlaps, known, true.sum(axis=0), forms.f1_of_share)
    if name in ("auroc", "average_precision"):
        return forms.of_areas(name, value, measure, logits, targets, known)
    return forms.of_loss(name, known)


class _Ensembling:
    """Mixes log-odds, and decides by thresholds."""

    MIXES_COLUMNS = True

    def combine(self, parts: Sequence[Floats], weights: Sequence[float], mixing: str) -> Floats:
        if mixing == "logits":
            return losses.mixed(parts, weights)
        shares = losses.log_shares(weights)
        yes = np.logaddexp.reduce(
            [-np.logaddexp(0, -logits) + share for logits, share in zip(parts, shares, strict=True)], axis=0
        )
        no = np.logaddexp.reduce(
            [-np.logaddexp(0, logits) + share for logits, share in zip(parts, shares, strict=True)], axis=0
        )
        return np.asarray(yes - no)

    def plain_mean(self, parts: Sequence[Floats]) -> Floats:
        mean = np.clip(np.mean([0.5 * (1 + np.tanh(logits / 2)) for logits in parts], axis=0), 1e-12, 1 - 1e-12)
        return np.asarray(np.log(mean / (1 - mean)))

    def loss(self, outputs: Floats, targets: Targets) -> float:
        return losses.binary_cross_entropy(outputs, targets)

    def searched(self, parts: Sequence[Floats]) -> tuple[list[Floats], Loss]:
        return list(parts), self.loss

    def averaged(self, outputs: Floats) -> Floats:
        return np.asarray(np.exp(-np.logaddexp(0, -outputs)))

    def averaged_loss(self, averaged: Floats, targets: Targets) -> float:
        known = ~np.isnan(targets)
        own = np.where(targets == 1, averaged, 1 - averaged)[known]
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
        if options.threshold is None:
            return {}
        return {"thresholds": decisions.thresholds(rows, estimate, options, classes, None, prior, groups)}


class _Probabilities:
    """A probability of yes for each label."""

    def learn(
        self, logits: Floats, targets: Targets, prior: Any, names: Sequence[str] | None, **how: Any
    ) -> dict[str, Any]:
        return calibrate_labels(logits, targets, prior, names=names, **how).as_plain()

    def learned(self, plain: Mapping[str, Any]) -> Callable[[Floats], Floats]:
        return LabelCalibration.from_plain(plain).apply

    def each_loss(self, logits: Floats, targets: Targets) -> tuple[Floats, Integers]:
        known = ~np.isnan(targets)
        cross_entropy = np.logaddexp(0, logits) - logits * np.where(known, targets, 0)
        return np.asarray(cross_entropy[known]), np.nonzero(known)[0]

    def questions(self, logits: Floats, targets: Targets) -> tuple[Floats, Floats]:
        return logits, targets.astype(np.float64)


ENSEMBLING, PROBABILITIES = _Ensembling(), _Probabilities()
