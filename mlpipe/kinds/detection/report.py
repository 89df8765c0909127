"""Report of boxes: a table and curves of classes, reliability of scores, and pictures of hits and mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.post.measures.box_metrics import OVERLAPS, match_boxes
from mlpipe.reports import drawn_boxes
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections import boxes, classes, trust
from mlpipe.reports.sections.parts import Section


def reliability(facts: TaskFacts) -> Section:
    """Return the reliability section of the scores, for networks that predict boxes at all.

    Args:
        facts: A task of boxes.
    """
    rows = facts.shown.rows if facts.shown else None
    if rows is None or not len(_confidences(rows.raw, rows.targets)[0]):
        return Section("Calibration")
    return trust.reliability(facts, _confidences, "a box", ("box", "boxes"))


def _confidences(
    outputs: npt.NDArray[Any], targets: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    matches = match_boxes(outputs, targets, least=OVERLAPS[:1])
    return matches.score, matches.hit[:, 0].astype(np.float64), matches.image


SECTIONS: Sequence[Callable[[TaskFacts], Section]] = (
    partial(classes.tables_of_classes, by_group="map50"),
    boxes.curves,
    reliability,
    boxes.pictures,
)
MISTAKES = None
DRAW = drawn_boxes.image_with_boxes
