"""Boxes are shown by a table and curves of classes, the reliability of scores, and pictures of hits and mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from mlpipe.kinds.detection.post import confidences
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections import boxes, classes, trust
from mlpipe.reports.sections.parts import Section

SECTIONS: Sequence[Callable[[TaskFacts], Section]] = (
    partial(classes.tables_of_classes, by_group="map50"),
    boxes.curves,
    partial(trust.reliability, confidences=confidences, what="a box"),
    boxes.pictures,
)
