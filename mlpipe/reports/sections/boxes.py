"""Boxes of a task: precision-recall curves, and pictures of hits, misses and false alarms."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data import sources
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.errors import DataError, counted
from mlpipe.post.figures import number
from mlpipe.post.measures import box_metrics
from mlpipe.post.measures.box_metrics import OVERLAPS, Matches, boxes_of, detections_of, match_boxes
from mlpipe.reports import drawn_boxes, gallery
from mlpipe.reports.facts import Rows, Shown, TaskFacts
from mlpipe.reports.markup import Content, Markup, element, figure, heading, image, joined, paragraph, table
from mlpipe.reports.plots import probabilities, style
from mlpipe.reports.sections import masks
from mlpipe.reports.sections.parts import Section

# The longer side of a picture in the page.
_SIDE = 384
_SIZES = {"map_small": "below 32 x 32", "map_medium": "32 x 32 to 96 x 96", "map_large": "above 96 x 96"}

Boxes = npt.NDArray[np.float64]


def curves(facts: TaskFacts) -> Section:
    """Precision and recall of each class at falling score thresholds, and the average precision by size.

    Args:
        facts: A task of boxes.
    """
    rows = facts.shown.rows if facts.shown else None
    if rows is None or facts.shown is None:
        return Section("Precision and recall")
    matches, drawn = match_boxes(rows.calibrated, rows.targets, least=OVERLAPS[:1]), list[probabilities.Curve]()
    areas = box_metrics.average_precisions(matches, np.ones((1, len(rows))))[0, :, 0]
    for label, area in zip(matches.classes.tolist(), areas.tolist(), strict=True):
        curve = box_metrics.curve(matches, label)
        if curve is not None and len(curve.score):
            recall, precision = (
                np.concatenate([[0], curve.recall]),
                np.concatenate([curve.precision[:1], curve.precision]),
            )
            drawn.append(probabilities.Curve(facts.classes[label], area, *probabilities.thinned(recall, precision)))
    plots = []
    if drawn:
        mean = number(float(areas.mean()), len(rows))
        plots.append(
            style.Plot(
                f"{facts.name}_precision_recall",
                probabilities.curves(drawn, "recall", "precision", chance=False),
                f"Precision at each recall, class by class, on {facts.shown.where} images; a hit overlaps a true box of its "
                "class by half at least.",
                f"Precision-recall curves of {counted(len(drawn), 'class', 'classes')}: mean average precision {mean}.",
                ["name", "area", "x", "y"],
                [
                    [class_curve.name, class_curve.area, x, y]
                    for class_curve in drawn
                    for x, y in zip(class_curve.x.tolist(), class_curve.y.tolist(), strict=True)
                ],
            )
        )
    return Section("Precision and recall", [_by_size(rows)], plots)


def _by_size(rows: Rows) -> Content | None:
    """Return the average precision of small, medium and large boxes."""
    boxes = boxes_of(rows.targets)
    areas = np.prod(boxes[..., 2:4] - boxes[..., :2], axis=-1)
    cells = []
    for name, words in _SIZES.items():
        low, high = box_metrics.SIZES[name.removeprefix("map_")]
        count = int(((areas >= low) & (areas <= high)).sum())
        value = box_metrics.METRICS[name](rows.calibrated, rows.targets)
        cells.append([words, str(count), number(value, len(rows)) or "-"])
    return table("By size, in pixels of the files", ["true boxes", "how many", "map"], cells, numbers=range(1, 3))


@dataclass(frozen=True)
class _Judged:
    """Hits and mistakes in an image, at the score threshold of each class.

    Attributes:
        hits: Right detections, shape (k, 6).
        alarms: Wrong detections.
        missed: True boxes that no detection finds, shape (b, 5).
    """

    hits: Boxes
    alarms: Boxes
    missed: Boxes

    @property
    def words(self) -> str:
        """Describe them in words."""
        return (
            f"{counted(len(self.hits), 'hit')}, {len(self.missed)} missed, {counted(len(self.alarms), 'false alarm')}"
        )

    @property
    def wrong(self) -> tuple[float, int]:
        """A sort key for how bad they are: the share of mistakes, and their number."""
        wrong = len(self.missed) + len(self.alarms)
        return (wrong / max(1, wrong + len(self.hits)), wrong)


def pictures(facts: TaskFacts) -> Section:
    """Images with hits, misses and false alarms: the worst, some in the middle, and the best.

    Args:
        facts: A task of boxes.
    """
    subject = facts.shown
    rows = subject.rows if subject else None
    if subject is None or rows is None:
        return Section("Boxes")
    least = least_scores(facts, subject, rows)
    matches = match_boxes(rows.calibrated, rows.targets, least=OVERLAPS[:1])
    judged = [_judged_boxes(rows, matches, row, least) for row in range(len(rows))]
    order = sorted(range(len(rows)), key=lambda row: judged[row].wrong, reverse=True)
    cuts = ", ".join(f"{name} {value:.2f}" for name, value in zip(facts.classes, least.tolist(), strict=True))
    parts: list[Content | None] = [paragraph(*_legend(), f"Drawn are scores from {cuts} on.")]
    pixels, lost = _reader(facts), list[str]()
    for title, places in masks.chosen(order).items():
        figures = list[Markup]()
        for row in places:
            name, judgement = rows.ids[row], judged[row]
            uri = _picture_uri(pixels, name, judgement, facts.classes)
            if uri is None:
                lost.append(name)
                continue
            figures.append(figure(image(uri, f"{name}: {judgement.words}"), masks.caption(judgement.words, name)))
        if figures:
            parts += [heading(4, title), element("div", joined(figures), class_="pictures large")]
    if lost:
        parts.append(paragraph(masks.missing_sentence(lost)))
    return Section("Boxes", parts, is_wide=True)


def least_scores(facts: TaskFacts, subject: Shown, rows: Rows) -> npt.NDArray[np.float64]:
    """Return the score threshold of each class: the ensemble's, else the one with the best F1 on these rows; shape (classes,).

    Args:
        facts: The task.
        subject: The subject of the plots.
        rows: Its rows.
    """
    stored = (subject.ensemble.decide if subject.ensemble else {}).get("thresholds", {}).get("cuts")
    if stored is None:
        stored = {
            entry["class"]: entry["score"] for entry in box_metrics.table(rows.calibrated, rows.targets, facts.classes)
        }
    values = np.array([np.nan if stored.get(name) is None else stored[name] for name in facts.classes], np.float64)
    return np.asarray(np.where(np.isnan(values), 0.5, values))


def _judged_boxes(rows: Rows, matches: Matches, row: int, least: npt.NDArray[np.float64]) -> _Judged:
    # Rows have the stored precision, thresholds that of the means that they were chosen on.
    own = np.flatnonzero(matches.image == row)
    indices = own[matches.score[own] >= least[matches.label[own]] - 1e-9]
    detections, true = detections_of(rows.calibrated[row : row + 1])[0], boxes_of(rows.targets[row : row + 1])[0]
    is_hit, is_missed = matches.hit[indices, 0], ~np.isnan(true[:, 4])
    is_missed[matches.box[indices[is_hit], 0]] = False
    return _Judged(
        detections[matches.place[indices[is_hit]]], detections[matches.place[indices[~is_hit]]], true[is_missed]
    )


def _legend() -> list[Content]:
    colours = {
        "a hit": drawn_boxes.HIT,
        "a false alarm": drawn_boxes.ALARM,
        "a true box that was missed.": drawn_boxes.MISS,
    }
    boxes: list[Content] = [
        joined([element("span", "\u00a0\u00a0", style=f"background:rgb{colour};border:1px solid"), f" {name}  "])
        for name, colour in colours.items()
    ]
    return [*boxes, "A hit overlaps a true box of its class by half at least. "]


def _reader(facts: TaskFacts) -> Callable[[str], npt.NDArray[Any] | None]:
    """Return a function from a sample's name to its pixels, in the coordinates of boxes; None if the image is gone."""
    task = facts.task
    if task is None:
        return lambda sample: None
    row_of, read = {name: row for row, name in enumerate(task.samples.ids)}, sources.reader(task, task.channels)

    def pixels(sample: str) -> npt.NDArray[Any] | None:
        if sample not in row_of:
            return None
        try:
            return read(row_of[sample])
        except (UnreadableImageError, DataError, OSError, ValueError):
            return None

    return pixels


def _picture_uri(
    pixels: Callable[[str], npt.NDArray[Any] | None], sample: str, judged: _Judged, classes: list[str]
) -> str | None:
    """Return a picture with boxes as a data URI; None if the image is gone."""
    values = pixels(sample)
    if values is None:
        return None
    picture = gallery.picture(values)
    share = _SIDE / max(picture.size)
    picture = picture.resize((max(1, round(picture.width * share)), max(1, round(picture.height * share))))

    def scaled(boxes: Boxes) -> Boxes:
        return np.concatenate([boxes[:, :4] * share, boxes[:, 4:]], axis=1)

    drawn_boxes.draw(picture, scaled(judged.missed), [classes[int(box[4])] for box in judged.missed], drawn_boxes.MISS)
    for boxes, colour in ((judged.alarms, drawn_boxes.ALARM), (judged.hits, drawn_boxes.HIT)):
        drawn_boxes.draw(picture, scaled(boxes), [drawn_boxes.named(box, classes) for box in boxes], colour)
    out = io.BytesIO()
    picture.save(out, format="JPEG", quality=85, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"
