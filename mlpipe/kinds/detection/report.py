"""Boxes are shown by a table and curves of classes, the reliability of scores, and pictures of hits and mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from mlpipe.kinds.detection.post import confidences
from mlpipe.reports import drawn_boxes
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections import boxes, classes, trust
from mlpipe.reports.sections.parts import Section


def reliability(facts: TaskFacts) -> Section:
    """Reliability of the scores, of networks that draw boxes at all.

    Args:
        facts: A task of boxes.
    """
    rows = facts.shown.rows if facts.shown else None
    if rows is None or not len(confidences(rows.raw, rows.targets)[0]):
        return Section("Calibration")
    return trust.reliability(facts, confidences, "a box")


SECTIONS: Sequence[Callable[[TaskFacts], Section]] = (
    partial(classes.tables_of_classes, by_group="map50"),
    boxes.curves,
    reliability,
    boxes.pictures,
)
MISTAKES = None
DRAW = drawn_boxes.image_with_boxes
