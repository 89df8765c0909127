"""Boxes are measured by average precision, fused, and their scores calibrated; rows as `mlpipe.post.measures.box_metrics`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mlpipe.errors import DataError, problem
from mlpipe.post.calibration import errors as calibration_errors
from mlpipe.post.calibration.labels import LabelCalibration, calibrate_labels, two_classes
from mlpipe.post.decision_options import DecisionOptions
from mlpipe.post.ensembling import box_fusion
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.intervals import forms
from mlpipe.post.intervals.forms import Ends, Known
from mlpipe.post.kind import Bools, Loss, Outputs, StoredTargets, Targets
from mlpipe.post.kind import neither_right_nor_wrong as right
from mlpipe.post.measures import box_metrics
from mlpipe.post.measures.box_metrics import LEAST_SCORE, METRICS, OVERLAPS, Matches, as_outputs, boxes_of, matched
from mlpipe.post.metrics import labelled
from mlpipe.post.rows import Floats, Integers
from mlpipe.post.sums import Statistic, ratio

__all__ = ["METRICS", "right"]

WITHOUT_INTERVAL: list[str] = []
TRAIN = ["map50", "map"]
FINAL = ["map", "map50", "map75", "mar100", "score_loss"]
FURTHER = ["map_small", "map_medium", "map_large"]
HEADLINE = "map"
ERROR = "1 - F1 of an image, of boxes with a score of at least 0.5"
CRITERIA = ("f1", "cost")

# Boxes of a class that are tried for a constant prediction.
_MOST_TRIED = 100
# What a missed box costs in nats: as much as a detection of this score that is right.
_MISSED = 1e-3


def details(outputs: Outputs, targets: Targets, classes: Sequence[str]) -> dict[str, Any]:
    """The table of classes."""
    return {"classes": box_metrics.table(outputs, targets, classes)}


def constant(
    learned: Targets, judged: Targets, classes: Sequence[str], stored: StoredTargets
) -> tuple[Outputs, str] | None:
    """One box of each class, the one of the images learned from that finds a box in most of them.

    Its score is the share of images in which it overlaps a box of its class by half at least. Average precision ranks rows of
    one score by their order in a table: here those that it does not find come first, so that no order flatters it.
    """
    rows = stored.rows()
    boxes = None if rows is None else boxes_of(rows)
    if boxes is None or not boxes.size or not (~np.isnan(boxes[..., 4])).any():
        return None
    true, said = boxes_of(judged), []
    for number in np.unique(boxes[..., 4][~np.isnan(boxes[..., 4])]):
        tried = boxes[boxes[..., 4] == number]
        tried = tried[:: max(1, len(tried) // _MOST_TRIED)]
        best = np.stack([_largest_overlaps(one, boxes) for one in tried])
        place = int((best[..., None] >= OVERLAPS).mean(axis=(1, 2)).argmax())
        score = max(float((best[place] >= OVERLAPS[0]).mean()), LEAST_SCORE)
        scores = score * (1 - 1e-3 * _largest_overlaps(tried[place], true))
        said.append(np.column_stack([np.tile(tried[place, :4], (len(true), 1)), scores, np.full(len(true), number)]))
    return as_outputs(np.stack(said, axis=1)), "the most common box of each class"


def _largest_overlaps(box: Floats, boxes: Floats) -> Floats:
    """The largest overlap in each image of a box with those of its class, shape (n,).

    Args:
        box: Shape (5,).
        boxes: Shape (n, B, 5).
    """
    if not boxes.shape[1]:
        return np.zeros(len(boxes))
    same = box_metrics.overlaps(box[None, None], boxes)[:, 0] * (boxes[..., 4] == box[4])
    return np.asarray(same.max(axis=1))


def errors(outputs: Outputs, targets: Targets) -> Floats:
    """One less each image's F1."""
    return 1 - box_metrics.of_images(outputs, targets)


def sides(targets: Targets) -> list[Bools]:
    """The images that have each class."""
    labels = boxes_of(targets)[..., 4]
    return [(labels == number).any(axis=1) for number in np.unique(labels[~np.isnan(labels)])]


def statistic(name: str, outputs: Floats, targets: Targets) -> Statistic:
    """From the matches of all detections, each with the weight of its image."""
    if name == "score_loss":
        lost, many = box_metrics.score_losses(outputs, targets)
        return Statistic(np.column_stack([many, lost]).astype(np.float64), ratio)
    return Statistic(None, box_metrics.weighted(name, outputs, targets))


def ends(name: str, value: float, one: Statistic, known: Known) -> Ends:
    """By draws of images with replacement."""
    return forms.of_draws(one, value, known, most=None if name == "score_loss" else 1.0)


class _Ensembling:
    """Boxes are fused; the least score of each class is chosen by F1 or by costs."""

    MIXES_COLUMNS = False

    def combine(self, parts: Sequence[Floats], weights: Sequence[float], mixing: str) -> Floats:
        return box_fusion.fused(parts, weights)

    def plain_mean(self, parts: Sequence[Floats]) -> Floats:
        return box_fusion.fused(parts, [1 / len(parts)] * len(parts))

    def loss(self, outputs: Floats, targets: Targets) -> float:
        return float(PROBABILITIES.each_loss(outputs, targets)[0].mean())

    def searched(self, parts: Sequence[Floats]) -> tuple[list[Floats], Loss]:
        return list(parts), self.loss

    def averaged(self, outputs: Floats) -> Floats:
        return outputs

    def averaged_loss(self, averaged: Floats, targets: Targets) -> float:
        return self.loss(averaged, targets)

    def decisions(
        self,
        rows: Rows,
        prior: Floats | None,
        estimate: Rows | None,
        options: DecisionOptions,
        classes: Sequence[str],
        seed: int,
    ) -> dict[str, Any]:
        shown = rows if estimate is None else estimate
        plain: dict[str, Any] = {"thresholds": _thresholds(rows, shown, options, classes)}
        known = labelled(shown.targets)
        both = [confidences(one[known], shown.targets[known]) for one in (shown.raw, shown.calibrated)]
        if len(both[0][0]):
            before, after = (calibration_errors.binned_error(*one) for one in both)
            plain["calibration_error"] = {"before": before, "after": after}
        return plain


class _Probabilities:
    """The score of a detection is the probability that it overlaps a true box of its class by half at least."""

    def learn(
        self, logits: Floats, targets: Targets, prior: Any, names: Sequence[str] | None, **how: Any
    ) -> dict[str, Any]:
        known = labelled(targets)
        found = matched(logits[known], targets[known], least=OVERLAPS[:1])
        classes = max(int(max(found.label.max(initial=0), found.classes.max(initial=0))) + 1, len(names or ()))
        odds, answers = np.zeros((len(found.score), classes)), np.full((len(found.score), classes), np.nan)
        if not any(len(np.unique(found.hit[found.label == number, 0])) > 1 for number in range(classes)):
            wrong = "no class has boxes that are right and boxes that are wrong"
            raise DataError(problem("calibration", wrong, fix="train longer, or with more images"))
        place = np.arange(len(found.score))
        odds[place, found.label] = _log_odds(found.score)
        answers[place, found.label] = found.hit[:, 0]
        return calibrate_labels(odds, answers, None, names=names, **{**how, "base": None}).as_plain()

    def learned(self, plain: Mapping[str, Any]) -> Callable[[Floats], Floats]:
        return partial(_rescored, LabelCalibration.from_plain(plain))

    def each_loss(self, logits: Floats, targets: Targets) -> tuple[Floats, Integers]:
        there = np.flatnonzero(labelled(targets))
        lost, _ = box_metrics.score_losses(logits[there], targets[there])
        return lost - np.log(_MISSED) * _missed(logits[there], targets[there]), there

    def log_likelihoods(self, logits: Floats, targets: Targets) -> Floats:
        return -self.each_loss(logits, targets)[0]

    def questions(self, logits: Floats, targets: Targets) -> tuple[Floats, Floats]:
        score, hit = confidences(logits, targets)
        return score[:, None], hit[:, None]


ENSEMBLING, PROBABILITIES = _Ensembling(), _Probabilities()


def confidences(outputs: Outputs, targets: Targets) -> tuple[Floats, Floats]:
    """The score of each detection of some images and whether it is right (1) or not (0), shape (d,) each.

    Args:
        outputs: Shape (n, K * 6).
        targets: Shape (n, 1 + B * 5).
    """
    found = matched(outputs, targets, least=OVERLAPS[:1])
    return found.score, found.hit[:, 0].astype(np.float64)


def _log_odds(score: Floats) -> Floats:
    within = np.clip(score, LEAST_SCORE, 1 - LEAST_SCORE)
    return np.asarray(np.log(within) - np.log1p(-within))


def _rescored(calibration: LabelCalibration, outputs: Floats) -> Floats:
    """Rows whose scores went through the calibration of their class; classes that it does not know stay as they are."""
    found = box_metrics.detections_of(outputs).copy()
    there = found[..., 4] > 0
    for number, one in enumerate(calibration.labels):
        own = there & (found[..., 5] == number)
        if one is None or not own.any():
            continue
        logs = one.apply(two_classes(_log_odds(found[own, 4])))
        # A score of 0 would be no detection any more.
        found[own, 4] = np.clip(np.exp(logs[:, 1]), LEAST_SCORE, 1)
    return as_outputs(found).astype(np.float64)


def _missed(outputs: Outputs, targets: Targets) -> Floats:
    """How many true boxes of each image no detection finds, shape (n,)."""
    found = matched(outputs, targets, least=OVERLAPS[:1])
    return np.asarray(targets[:, 0] - np.bincount(found.image[found.hit[:, 0]], minlength=len(outputs)), np.float64)


def _thresholds(rows: Rows, shown: Rows, options: DecisionOptions, classes: Sequence[str]) -> dict[str, Any]:
    """The least score of each class, chosen on some rows and measured on others."""
    by_cost = options.threshold == "cost"
    costs = (options.costs[0][1], options.costs[1][0]) if by_cost and options.costs is not None else None
    known = labelled(rows.targets)
    found = matched(rows.calibrated[known], rows.targets[known], least=OVERLAPS[:1])
    cuts: dict[str, float | None] = {}
    for number, name in enumerate(classes):
        curve = box_metrics.curve(found, number)
        best = None if curve is None else box_metrics.best_score(curve, costs)
        # From a score above 1 on there is no detection.
        cuts[name] = None if best is None else min(best[0], 1.1)
    plain: dict[str, Any] = {"criterion": "cost" if by_cost else "f1", "cuts": cuts}
    known = labelled(shown.targets)
    if not known.any():
        return plain
    found = matched(shown.calibrated[known], shown.targets[known], least=OVERLAPS[:1])
    least = [0.5 if cut is None else cut for cut in cuts.values()]
    of = partial(_mean_cost, costs, int(known.sum())) if costs is not None else _macro_f1
    values = {"by_cuts": of(found, least), "without": of(found, [0.5] * len(classes))}
    return {**plain, "measured": {"measure": "cost" if by_cost else "macro_f1", **values}}


def _macro_f1(found: Matches, least: Sequence[float]) -> float:
    """The mean F1 of the classes that have true boxes."""
    values = []
    for place, number in enumerate(found.classes.tolist()):
        said = (found.label == number) & (found.score >= least[number])
        values.append(2 * found.hit[said, 0].sum() / (said.sum() + found.true[:, place].sum()))
    return float(np.mean(values)) if values else float("nan")


def _mean_cost(costs: tuple[float, float], images: int, found: Matches, least: Sequence[float]) -> float:
    """What false alarms and missed boxes of an image cost."""
    said = found.score >= np.asarray(least)[found.label]
    hits = found.hit[said, 0].sum()
    return float((costs[0] * (said.sum() - hits) + costs[1] * (found.true.sum() - hits)) / images)
