"""Average precision, fusion and score calibration of boxes; rows as in `mlpipe.post.measures.box_metrics`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mlpipe.errors import DataError, problem
from mlpipe.post.calibration import errors as calibration_errors
from mlpipe.post.calibration.labels import LabelCalibration, calibrate_labels, two_classes
from mlpipe.post.decision_options import DecisionOptions
from mlpipe.post.decisions import held_out_folds
from mlpipe.post.ensembling import box_fusion
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.intervals import forms
from mlpipe.post.intervals.forms import Ends, Known
from mlpipe.post.kind import Bools, Loss, Outputs, StoredTargets, Targets
from mlpipe.post.kind import neither_right_nor_wrong as right
from mlpipe.post.measures import box_metrics
from mlpipe.post.measures.box_metrics import LEAST_SCORE, METRICS, OVERLAPS, Matches, as_outputs, boxes_of, match_boxes
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

# The number of boxes of a class that are tried for a constant prediction.
_MOST_TRIED = 100
# The cost of a missed box in nats: that of a right detection with this score.
_MISSED = 1e-3


def details(outputs: Outputs, targets: Targets, classes: Sequence[str]) -> dict[str, Any]:
    """Return the table of classes."""
    return {"classes": box_metrics.table(outputs, targets, classes)}


def constant(
    learned: Targets, judged: Targets, classes: Sequence[str], stored: StoredTargets
) -> tuple[Outputs, str] | None:
    """Predict one box of each class: the training box that finds a box in the most training images.

    Its score is the share of images in which it overlaps a box of its class by at least half. Average precision ranks rows with
    equal scores by their order in the table; here those that the box does not find come first, so that no order flatters it.
    """
    rows = stored.rows()
    boxes = None if rows is None else boxes_of(rows)
    if boxes is None or not boxes.size or not (~np.isnan(boxes[..., 4])).any():
        return None
    true, detections = boxes_of(judged), []
    for number in np.unique(boxes[..., 4][~np.isnan(boxes[..., 4])]):
        tried = boxes[boxes[..., 4] == number]
        tried = tried[:: max(1, len(tried) // _MOST_TRIED)]
        best = np.stack([_largest_overlaps(box, boxes) for box in tried])
        place = int((best[..., None] >= OVERLAPS).mean(axis=(1, 2)).argmax())
        score = max(float((best[place] >= OVERLAPS[0]).mean()), LEAST_SCORE)
        scores = score * (1 - 1e-3 * _largest_overlaps(tried[place], true))
        detections.append(
            np.column_stack([np.tile(tried[place, :4], (len(true), 1)), scores, np.full(len(true), number)])
        )
    return as_outputs(np.stack(detections, axis=1)), "the most common box of each class"


def _largest_overlaps(box: Floats, boxes: Floats) -> Floats:
    """Return the largest overlap of a box with the boxes of its class in each image, shape (n,).

    Args:
        box: Shape (5,).
        boxes: Shape (n, B, 5).
    """
    if not boxes.shape[1]:
        return np.zeros(len(boxes))
    same = box_metrics.overlaps(box[None, None], boxes)[:, 0] * (boxes[..., 4] == box[4])
    return np.asarray(same.max(axis=1))


def errors(outputs: Outputs, targets: Targets) -> Floats:
    """Return one minus the F1 of each image."""
    return 1 - box_metrics.of_images(outputs, targets)


def sides(targets: Targets) -> list[Bools]:
    """Return the images that have each class, as masks."""
    labels = boxes_of(targets)[..., 4]
    return [(labels == number).any(axis=1) for number in np.unique(labels[~np.isnan(labels)])]


def statistic(name: str, outputs: Floats, targets: Targets) -> Statistic:
    """Return a metric as a function of weights: all detections are matched, each with the weight of its image."""
    if name == "score_loss":
        lost, counts = box_metrics.score_losses(outputs, targets)
        return Statistic(np.column_stack([counts, lost]).astype(np.float64), ratio)
    return Statistic(None, box_metrics.weighted(name, outputs, targets))


def ends(name: str, value: float, measure: Statistic, known: Known) -> Ends:
    """Return the bootstrap interval over images."""
    return forms.of_draws(measure, value, known, most=None if name == "score_loss" else 1.0)


class _Ensembling:
    """Fuses boxes, and chooses the score threshold of each class by F1 or by costs."""

    MIXES_COLUMNS = False

    def combine(self, parts: Sequence[Floats], weights: Sequence[float], mixing: str) -> Floats:
        return box_fusion.fused_boxes(parts, weights)

    def plain_mean(self, parts: Sequence[Floats]) -> Floats:
        return box_fusion.fused_boxes(parts, [1 / len(parts)] * len(parts))

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
        groups: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        evaluation = rows if estimate is None else estimate
        plain: dict[str, Any] = {"thresholds": _thresholds(rows, estimate, options, classes, groups)}
        known = labelled(evaluation.targets)
        both = [
            confidences(outputs[known], evaluation.targets[known])
            for outputs in (evaluation.raw, evaluation.calibrated)
        ]
        if len(both[0][0]):
            before, after = (calibration_errors.binned_error(*pair) for pair in both)
            plain["calibration_error"] = {"before": before, "after": after}
        return plain


class _Probabilities:
    """The score of a detection is the probability that it overlaps a true box of its class by at least half."""

    def learn(
        self, logits: Floats, targets: Targets, prior: Any, names: Sequence[str] | None, **how: Any
    ) -> dict[str, Any]:
        known = labelled(targets)
        matches = match_boxes(logits[known], targets[known], least=OVERLAPS[:1])
        classes = max(int(max(matches.label.max(initial=0), matches.classes.max(initial=0))) + 1, len(names or ()))
        odds, answers = np.zeros((len(matches.score), classes)), np.full((len(matches.score), classes), np.nan)
        if not any(len(np.unique(matches.hit[matches.label == number, 0])) > 1 for number in range(classes)):
            wrong = "no class has boxes that are right and boxes that are wrong"
            raise DataError(problem("calibration", wrong, fix="train longer, or with more images"))
        place = np.arange(len(matches.score))
        if how.get("groups") is not None:
            how = {**how, "groups": how["groups"][known][matches.image]}
        odds[place, matches.label] = _log_odds(matches.score)
        answers[place, matches.label] = matches.hit[:, 0]
        return calibrate_labels(odds, answers, None, names=names, **{**how, "base": None}).as_plain()

    def learned(self, plain: Mapping[str, Any]) -> Callable[[Floats], Floats]:
        return partial(_rescored, LabelCalibration.from_plain(plain))

    def each_loss(self, logits: Floats, targets: Targets) -> tuple[Floats, Integers]:
        indices = np.flatnonzero(labelled(targets))
        lost, _ = box_metrics.score_losses(logits[indices], targets[indices])
        return lost - np.log(_MISSED) * _missed_counts(logits[indices], targets[indices]), indices

    def questions(self, logits: Floats, targets: Targets) -> tuple[Floats, Floats]:
        score, hit = confidences(logits, targets)
        return score[:, None], hit[:, None]


ENSEMBLING, PROBABILITIES = _Ensembling(), _Probabilities()


def confidences(outputs: Outputs, targets: Targets) -> tuple[Floats, Floats]:
    """Return the score of each detection and whether it is right (1) or not (0), shape (d,) each.

    Args:
        outputs: Shape (n, K * 6).
        targets: Shape (n, 1 + B * 5).
    """
    matches = match_boxes(outputs, targets, least=OVERLAPS[:1])
    return matches.score, matches.hit[:, 0].astype(np.float64)


def _log_odds(score: Floats) -> Floats:
    within = np.clip(score, LEAST_SCORE, 1 - LEAST_SCORE)
    return np.asarray(np.log(within) - np.log1p(-within))


def _rescored(calibration: LabelCalibration, outputs: Floats) -> Floats:
    """Return rows with scores calibrated class by class; scores of classes without a calibration stay as they are."""
    detections = box_metrics.detections_of(outputs).copy()
    mask = detections[..., 4] > 0
    for number, label_calibration in enumerate(calibration.labels):
        own = mask & (detections[..., 5] == number)
        if label_calibration is None or not own.any():
            continue
        logs = label_calibration.apply(two_classes(_log_odds(detections[own, 4])))
        # A box with a score of 0 would no longer count as a detection.
        detections[own, 4] = np.clip(np.exp(logs[:, 1]), LEAST_SCORE, 1)
    return as_outputs(detections).astype(np.float64)


def _missed_counts(outputs: Outputs, targets: Targets) -> Floats:
    """Return the number of true boxes of each image that no detection finds, shape (n,)."""
    matches = match_boxes(outputs, targets, least=OVERLAPS[:1])
    return np.asarray(targets[:, 0] - np.bincount(matches.image[matches.hit[:, 0]], minlength=len(outputs)), np.float64)


def _thresholds(
    rows: Rows,
    estimate: Rows | None,
    options: DecisionOptions,
    classes: Sequence[str],
    groups: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Choose the score threshold of each class on some rows and measure it on others, by cross-validation if there are none."""
    by_cost = options.threshold == "cost"
    costs = (options.costs[0][1], options.costs[1][0]) if by_cost and options.costs is not None else None

    def cuts_of(outputs: Outputs, targets: Targets) -> list[float | None]:
        matches = match_boxes(outputs, targets, least=OVERLAPS[:1])
        curves = [box_metrics.curve(matches, number) for number in range(len(classes))]
        best = [None if curve is None else box_metrics.best_score(curve, costs) for curve in curves]
        # With a threshold above 1 there is no detection.
        return [None if score is None else min(score[0], 1.1) for score in best]

    known = labelled(rows.targets)
    cuts = cuts_of(rows.calibrated[known], rows.targets[known])
    plain: dict[str, Any] = {"criterion": "cost" if by_cost else "f1", "cuts": dict(zip(classes, cuts, strict=True))}
    evaluation = rows if estimate is None else estimate
    known = labelled(evaluation.targets)
    outputs, targets = evaluation.calibrated[known], evaluation.targets[known]
    ids = [evaluation.ids[place] for place in np.flatnonzero(known).tolist()]
    folds = held_out_folds(targets, ids, groups) if estimate is None else []
    if not known.any() or (estimate is None and not folds):
        return plain
    # For each image, the threshold of each class.
    least = np.tile(_scores_from(cuts), (len(targets), 1))
    for held in folds:
        least[held] = _scores_from(cuts_of(outputs[~held], targets[~held]))
    plain |= {"is_cross_validated": True} if folds else {}
    matches = match_boxes(outputs, targets, least=OVERLAPS[:1])
    of = partial(_mean_cost, costs, int(known.sum())) if costs is not None else _macro_f1
    values = {"by_cuts": of(matches, least), "without": of(matches, np.full_like(least, 0.5))}
    return {**plain, "measured": {"measure": "cost" if by_cost else "macro_f1", **values}}


def _scores_from(cuts: Sequence[float | None]) -> Floats:
    return np.array([0.5 if cut is None else cut for cut in cuts])


def _macro_f1(matches: Matches, least: Floats) -> float:
    """Return the mean F1 of the classes that have true boxes; `least` has a threshold for each image and class."""
    values = []
    for place, number in enumerate(matches.classes.tolist()):
        alarms = (matches.label == number) & (matches.score >= least[matches.image, number])
        values.append(2 * matches.hit[alarms, 0].sum() / (alarms.sum() + matches.true[:, place].sum()))
    return float(np.mean(values)) if values else float("nan")


def _mean_cost(costs: tuple[float, float], images: int, matches: Matches, least: Floats) -> float:
    """Return the mean cost per image of false alarms and missed boxes."""
    alarms = matches.score >= least[matches.image, matches.label]
    hits = matches.hit[alarms, 0].sum()
    return float((costs[0] * (alarms.sum() - hits) + costs[1] * (matches.true.sum() - hits)) / images)
