"""Metrics of boxes: average precision at one and at ten overlaps, by class and by size, as COCO computes them.

A row of `outputs` is an image's K detections (x0, y0, x1, y1, score, class number), flattened, by falling score; a score of
0 marks an empty place. A row of `targets` begins with the number of true boxes (NaN where it is not known), then come B boxes
(x0, y0, x1, y1, class number), flattened and padded with NaN. Coordinates are pixels of the network's input.

Detections are matched with true boxes of their class from the highest score on, each with the unmatched box that it overlaps
most; the precision is made monotonic and sampled at 101 recalls (Lin et al. 2014, as in pycocotools). A class without
a true box is in no mean. Every metric is a function of the weights of images, so that bootstrap draws are fast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.post.rows import Floats, Integers
from mlpipe.post.sums import mean_of_defined

Rows = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

DETECTION, BOX = 6, 5
# The least overlaps (intersection over union) of a hit.
OVERLAPS = np.linspace(0.5, 0.95, 10)
HALF, THREE_QUARTERS = 0, 5
# Sizes of boxes in square pixels of the network's input, divided as in COCO.
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
_EVERY = (0.0, 1e10)
_RECALLS = np.linspace(0, 1, 101)
# Scores are clipped to this distance from 0 and 1, so that logarithms stay finite.
LEAST_SCORE = 1e-6
# The most entries of one block of detections, overlaps and boxes, or of draws and detections, to bound memory.
_BLOCK = 4_000_000


def as_outputs(detections: Rows) -> npt.NDArray[np.float32]:
    """Return detections as rows, shape (n, K * 6): the highest score first, zeros where there is none.

    Args:
        detections: Shape (n, K, 6), NaN where there is none.
    """
    boxes = np.asarray(detections, np.float32)
    boxes = np.where((boxes[..., 4:5] > 0) & np.isfinite(boxes).all(axis=-1, keepdims=True), boxes, np.float32(0))
    order = np.argsort(-boxes[..., 4], axis=1, kind="stable")
    ordered = np.take_along_axis(boxes, order[..., None], axis=1)
    return np.ascontiguousarray(ordered).reshape(len(boxes), boxes.shape[1] * DETECTION)


def as_targets(boxes: Rows) -> npt.NDArray[np.float32]:
    """Return true boxes as rows, shape (n, 1 + B * 5), NaN in all of a row where nothing is known.

    Args:
        boxes: Shape (n, B, 5), padded with NaN; an image of which nothing is known has class -1 in its first row.
    """
    values = np.asarray(boxes, np.float32)
    mask = np.isfinite(values).all(axis=-1)
    unknown = (values[:, :1, 4] < 0).any(axis=1)
    rows = np.concatenate([mask.sum(axis=1, dtype=np.float32)[:, None], values.reshape(len(values), -1)], axis=1)
    rows[unknown] = np.nan
    return rows


def detections_of(outputs: Rows) -> Floats:
    """Return the detections of rows, shape (n, K, 6), of score 0 where there is none.

    Args:
        outputs: Rows, shape (n, K * 6).
    """
    # The shape also gives the number of detections where there are no images.
    return np.asarray(outputs, np.float64).reshape(len(outputs), outputs.shape[1] // DETECTION, DETECTION)


def boxes_of(targets: Rows) -> Floats:
    """Return the true boxes of rows, shape (n, B, 5), padded with NaN.

    Args:
        targets: Rows, shape (n, 1 + B * 5).
    """
    return np.asarray(targets[:, 1:], np.float64).reshape(len(targets), (targets.shape[1] - 1) // BOX, BOX)


def overlaps(first: Floats, second: Floats) -> Floats:
    """Return the intersection over union of each pair of boxes, shape (..., k, b); 0 where a box is NaN or empty.

    Args:
        first: Shape (..., k, 4 or more), of which x0, y0, x1, y1 count.
        second: Shape (..., b, 4 or more).
    """
    boxes, other = first[..., :, None, :4], second[..., None, :, :4]
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = np.maximum(boxes[..., :2], other[..., :2]), np.minimum(boxes[..., 2:], other[..., 2:])
        inside = np.prod(np.maximum(high - low, 0), axis=-1)
        sizes = (np.prod(box[..., 2:] - box[..., :2], axis=-1) for box in (boxes, other))
        share = inside / (sum(sizes) - inside)
    return np.asarray(np.where(np.isfinite(share), share, 0.0))


@dataclass(frozen=True)
class Matches:
    """All detections of some images, the highest score first, and their matches.

    Attributes:
        image: The image of each, shape (d,).
        place: Its place in the image's row, shape (d,).
        label: Its class number, shape (d,).
        score: Shape (d,).
        hit: Whether it matches a true box at each overlap, shape (d, overlaps).
        counts: Whether it counts at all: not if it, or its match, has another size; shape (d, overlaps).
        box: The place of the true box that it matches at each overlap, -1 for none, shape (d, overlaps).
        classes: Numbers of the classes that have true boxes.
        true: The number of true boxes of these classes in each image, shape (n, classes).
    """

    image: Integers
    place: Integers
    label: Integers
    score: Floats
    hit: Bools
    counts: Bools
    box: Integers
    classes: Integers
    true: Floats


def match_boxes(
    outputs: Rows, targets: Rows, *, least: Floats = OVERLAPS, size: tuple[float, float] = _EVERY
) -> Matches:
    """Match detections with true boxes.

    Args:
        outputs: Shape (n, K * 6).
        targets: Shape (n, 1 + B * 5).
        least: The least overlaps of a hit, shape (overlaps,).
        size: The least and the largest size that counts, in square pixels.
    """
    detections, boxes = detections_of(outputs), boxes_of(targets)
    most = int((detections[..., 4] > 0).sum(axis=1).max(initial=0))
    detections = detections[:, :most]
    with np.errstate(invalid="ignore"):
        areas = np.prod(boxes[..., 2:4] - boxes[..., :2], axis=-1)
        other_size = (areas < size[0]) | (areas > size[1])
        own = np.prod(detections[..., 2:4] - detections[..., :2], axis=-1)
    took = np.full((*detections.shape[:2], len(least)), -1, np.int64)
    step = max(1, _BLOCK // max(1, len(least) * boxes.shape[1]))
    for start in range(0, len(detections), step):
        some = slice(start, start + step)
        took[some] = _matched_boxes(detections[some], boxes[some], other_size[some], least)
    ignored = np.zeros(took.shape, bool)
    if boxes.shape[1]:
        flat = np.maximum(took, 0).reshape(len(took), 1, took.shape[1] * took.shape[2])
        theirs = np.take_along_axis(other_size[:, None], flat, 2)
        ignored = theirs.reshape(took.shape) & (took >= 0)
    ignored |= ((own < size[0]) | (own > size[1]))[..., None] & (took < 0)
    image, place = np.nonzero(detections[..., 4] > 0)
    order = np.argsort(-detections[image, place, 4], kind="stable")
    image, place = image[order], place[order]
    known = ~np.isnan(boxes[..., 4])
    classes = np.unique(boxes[..., 4][known]).astype(np.int64)
    true = ((boxes[..., 4, None] == classes) & ~other_size[..., None]).sum(axis=1).astype(np.float64)
    label, score = detections[image, place, 5].astype(np.int64), detections[image, place, 4]
    box = took[image, place]
    return Matches(image, place, label, score, box >= 0, ~ignored[image, place], box, classes, true)


def _matched_boxes(detections: Floats, boxes: Floats, other_size: Bools, least: Floats) -> Integers:
    """Return the true box that each detection takes at each overlap, -1 for none, shape (n, K, overlaps)."""
    n, most = detections.shape[:2]
    took = np.full((n, most, len(least)), -1, np.int64)
    if not boxes.shape[1]:
        return took
    free = np.repeat(~np.isnan(boxes[..., 4])[:, None], len(least), axis=1)
    last = boxes.shape[1] - 1
    for k in range(most):
        rows = np.flatnonzero(detections[:, k, 4] > 0)
        share = overlaps(detections[rows, k : k + 1], boxes[rows])[:, 0]
        share[detections[rows, k, 5, None] != boxes[rows, :, 4]] = -1
        open_boxes = np.where(free[rows] & (share[:, None] >= least[:, None]), share[:, None], -1.0)
        # A box of another size is taken only if there is none of the right size; among equals the last, as COCO does.
        right = np.where(other_size[rows][:, None], -1.0, open_boxes)
        chosen = np.where((right >= 0).any(axis=2, keepdims=True), right, open_boxes)
        place = last - chosen[:, :, ::-1].argmax(axis=2)
        is_hit = np.take_along_axis(chosen, place[..., None], 2)[..., 0] >= 0
        took[rows, k] = np.where(is_hit, place, -1)
        hit_rows, at = np.nonzero(is_hit)
        free[rows[hit_rows], at, place[hit_rows, at]] = False
    return took


@dataclass(frozen=True)
class _OfClass:
    """The hits of one class at each overlap, for sums over weighted images.

    Attributes:
        image: The image of each detection, up to the last hit.
        hits: At each overlap the places of hits in it.
        absent: At each overlap which detections do not count; None: all do.
        true: The number of true boxes of each image.
    """

    image: Integers
    hits: list[Integers]
    absent: list[Bools | None]
    true: Floats


def _class_matches(matches: Matches, number: int) -> _OfClass:
    own = matches.label == matches.classes[number]
    hit, counts = matches.hit[own] & matches.counts[own], matches.counts[own]
    until = int(np.flatnonzero(hit.any(axis=1)).max(initial=-1)) + 1
    columns = range(hit.shape[1])
    return _OfClass(
        matches.image[own][:until],
        [np.flatnonzero(hit[:until, at]) for at in columns],
        [None if counts[:until, at].all() else ~counts[:until, at] for at in columns],
        matches.true[:, number],
    )


def _blocks(weights: Floats, wide: int) -> list[slice]:
    step = max(1, _BLOCK // max(1, wide))
    return [slice(start, start + step) for start in range(0, len(weights), step)]


def average_precisions(matches: Matches, weights: Floats) -> Floats:
    """Return the average precision at each overlap of each class, NaN without a true box; shape (draws, classes, overlaps).

    Args:
        matches: The matches of detections.
        weights: The weight of each image, shape (draws, n).
    """
    out = np.full((len(weights), len(matches.classes), matches.hit.shape[1]), np.nan)
    for number in range(len(matches.classes)):
        class_matches = _class_matches(matches, number)
        for some in _blocks(weights, len(class_matches.image)):
            out[some, number] = _areas(class_matches, weights[some])
    return out


def _areas(class_matches: _OfClass, weights: Floats) -> Floats:
    """Return the average precisions of a class, shape (draws, overlaps)."""
    every = weights @ class_matches.true
    # The detection axis comes first so that the next steps move contiguous memory.
    own = np.ascontiguousarray(weights.T)[class_matches.image]
    total = own.cumsum(axis=0)
    out = np.zeros((len(weights), len(class_matches.hits)))
    for at, (hits, absent) in enumerate(zip(class_matches.hits, class_matches.absent, strict=True)):
        if not len(hits):
            continue
        detection_counts = total if absent is None else np.where(absent[:, None], 0, own).cumsum(axis=0)
        right = own[hits].cumsum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = right / (detection_counts[hits] + np.spacing(1))
            recall = right / every
        falling = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        # The precision at each recall is that of the first hit that reaches it.
        upto = np.searchsorted(_RECALLS, np.nan_to_num(recall).ravel(), side="right").reshape(recall.shape)
        upto[recall <= 0] = 0
        out[:, at] = (np.diff(upto, axis=0, prepend=0) * falling).sum(axis=0) / len(_RECALLS)
    out[every <= 0] = np.nan
    return out


def recalls(matches: Matches, weights: Floats) -> Floats:
    """Return the share of true boxes found at each overlap, for each class; shape (draws, classes, overlaps).

    Args:
        matches: The matches of detections.
        weights: The weight of each image, shape (draws, n).
    """
    out = np.full((len(weights), len(matches.classes), matches.hit.shape[1]), np.nan)
    for number, label in enumerate(matches.classes):
        own = matches.label == label
        hits = np.zeros((len(matches.true), matches.hit.shape[1]))
        np.add.at(hits, matches.image[own], (matches.hit[own] & matches.counts[own]).astype(np.float64))
        every = weights @ matches.true[:, number]
        np.divide(weights @ hits, every[:, None], out=out[:, number], where=every[:, None] > 0)
    return out


def weighted(name: str, outputs: Rows, targets: Rows) -> Callable[[Floats], Floats]:
    """Return a metric of `METRICS` except `score_loss` as a function of the weights of images, shape (draws, n) to (draws,).

    Args:
        name: The metric's.
        outputs: Shape (n, K * 6).
        targets: Shape (n, 1 + B * 5).
    """
    size = SIZES.get(name.removeprefix("map_"), _EVERY)
    least = OVERLAPS[_ONLY[name]] if name in _ONLY else OVERLAPS
    matches = match_boxes(outputs, targets, least=least, size=size)
    of = recalls if name == "mar100" else average_precisions
    return lambda weights: mean_of_defined(of(matches, weights).mean(axis=2))


_ONLY = {"map50": slice(HALF, HALF + 1), "map75": slice(THREE_QUARTERS, THREE_QUARTERS + 1)}


def _weighted_metric(name: str, outputs: Rows, targets: Rows) -> float:
    return float(weighted(name, outputs, targets)(np.ones((1, len(outputs))))[0])


def score_losses(outputs: Rows, targets: Rows) -> tuple[Floats, Integers]:
    """Return the number of detections of each image, and their summed negative log-likelihood; shape (n,) each.

    A detection is right if it overlaps a true box of its class by at least half.

    Args:
        outputs: Shape (n, K * 6).
        targets: Shape (n, 1 + B * 5).
    """
    matches = match_boxes(outputs, targets, least=OVERLAPS[:1])
    score = np.clip(matches.score, LEAST_SCORE, 1 - LEAST_SCORE)
    lost = -np.log(np.where(matches.hit[:, 0], score, 1 - score))
    sums = np.zeros(len(outputs))
    np.add.at(sums, matches.image, lost)
    return sums, np.bincount(matches.image, minlength=len(outputs))


def score_loss(outputs: Rows, targets: Rows) -> float:
    """Return the mean negative log-likelihood of detections being right or wrong; NaN without any."""
    lost, counts = score_losses(outputs, targets)
    return float(lost.sum() / counts.sum()) if counts.any() else float("nan")


METRICS: dict[str, Callable[[Rows, Rows], float]] = {
    **{
        name: partial(_weighted_metric, name)
        for name in ("map", "map50", "map75", *(f"map_{size}" for size in SIZES), "mar100")
    },
    "score_loss": score_loss,
}


def of_images(outputs: Rows, targets: Rows, least: float = 0.5) -> Floats:
    """Return each image's F1 of detections with a score from `least` on, 1 if there is nothing and nothing is found; shape (n,).

    Args:
        outputs: Shape (n, K * 6).
        targets: Shape (n, 1 + B * 5).
        least: The score threshold.
    """
    matches = match_boxes(outputs, targets, least=OVERLAPS[:1])
    mask = matches.score >= least
    hits = np.bincount(matches.image[mask], matches.hit[mask, 0], len(outputs))
    both = np.bincount(matches.image[mask], minlength=len(outputs)) + np.asarray(targets[:, 0], np.float64)
    return np.asarray(np.where(both > 0, 2 * hits / np.maximum(both, 1), 1.0))


@dataclass(frozen=True)
class Curve:
    """The precision and recall of a class at falling score thresholds, at an overlap of one half.

    Attributes:
        score: The threshold, falling, shape (levels,).
        precision: The share of detections that are right.
        recall: The share of true boxes that are found.
        alarms: The number of wrong detections.
        true: The number of true boxes.
    """

    score: Floats
    precision: Floats
    recall: Floats
    alarms: Floats
    true: int


def curve(matches: Matches, label: int) -> Curve | None:
    """Return precision and recall of a class at every score; None without a true box of it.

    Args:
        matches: The matches of detections; the first overlap counts.
        label: The class number.
    """
    place = np.flatnonzero(matches.classes == label)
    if not len(place):
        return None
    true = int(matches.true[:, place[0]].sum())
    own = matches.label == label
    levels, which = np.unique(-matches.score[own], return_inverse=True)
    hits = np.bincount(which, matches.hit[own, 0], len(levels)).cumsum()
    detection_counts = np.bincount(which, minlength=len(levels)).cumsum()
    return Curve(-levels, hits / np.maximum(detection_counts, 1), hits / true, detection_counts - hits, true)


def best_score(class_curve: Curve, costs: tuple[float, float] | None = None) -> tuple[float, int] | None:
    """Return the score threshold with the highest F1, or the least cost, and its place in the curve; None without a detection.

    Args:
        class_curve: The curve of a class.
        costs: The costs of a false alarm and of a missed box; None: F1 chooses.
    """
    if not len(class_curve.score):
        return None
    if costs is None:
        gain = (
            2
            * class_curve.precision
            * class_curve.recall
            / np.maximum(class_curve.precision + class_curve.recall, 1e-12)
        )
    else:
        gain = -(costs[0] * class_curve.alarms + costs[1] * class_curve.true * (1 - class_curve.recall))
        if gain.max() < -costs[1] * class_curve.true:
            # Every detection costs more than it saves.
            return float("inf"), -1
    place = int(gain.argmax())
    return float(class_curve.score[place]), place


def table(outputs: Rows, targets: Rows, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per class: images, boxes, average precision, and precision and recall at the threshold with the best F1.

    Args:
        outputs: Shape (n, K * 6).
        targets: Shape (n, 1 + B * 5).
        classes: Their names.
    """
    matches = match_boxes(outputs, targets)
    areas = average_precisions(matches, np.ones((1, len(outputs))))[0]
    rows = []
    for number, name in enumerate(classes):
        place = np.flatnonzero(matches.classes == number)
        own = areas[place[0]] if len(place) else np.full(len(OVERLAPS), np.nan)
        true = matches.true[:, place[0]] if len(place) else np.zeros(len(outputs))
        row: dict[str, Any] = {
            "class": name,
            "images": int((true > 0).sum()),
            "boxes": int(true.sum()),
            "ap": float(own.mean()),
            "ap50": float(own[HALF]),
            "ap75": float(own[THREE_QUARTERS]),
        }
        class_curve = curve(matches, number)
        best = None if class_curve is None else best_score(class_curve)
        at = dict.fromkeys(("precision", "recall", "f1", "score"), float("nan"))
        if class_curve is not None and best is not None:
            precision, recall = float(class_curve.precision[best[1]]), float(class_curve.recall[best[1]])
            both = precision + recall
            f1 = 2 * precision * recall / both if both else 0.0
            at = {"precision": precision, "recall": recall, "f1": f1, "score": best[0]}
        rows.append(row | at)
    return rows
