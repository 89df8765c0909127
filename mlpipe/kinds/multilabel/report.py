"""Report of labels: curves of each label, reliability of all labels, and the most confident mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.post.figures import percent
from mlpipe.reports.facts import Rows, Shown, TaskFacts
from mlpipe.reports.sections import breakdown, classes, diagnosis, pictures, trust
from mlpipe.reports.sections.diagnosis import Asked
from mlpipe.reports.sections.parts import Section
from mlpipe.reports.sections.pictures import Example, examples

_MOST = 24


def mistakes(rows: Rows, classes: Sequence[str], most: int) -> tuple[list[Example], list[Example]]:
    """Return the most confident wrong labels, and the right ones with the smallest margin.

    Args:
        rows: Predictions with targets.
        classes: The names of the labels.
        most: The largest number of each.
    """
    chance = 0.5 * (1 + np.tanh(rows.calibrated / 2))
    known = ~np.isnan(rows.targets)
    own = np.where(rows.targets == 1, chance, 1 - chance)
    own[~known] = 1.0
    worst = np.argsort(own.min(axis=1), kind="stable")
    least = own.min(axis=1)
    wrong, near = worst[least[worst] < 0.5][: min(most, _MOST)], worst[least[worst] >= 0.5][:most]

    def words(row: int) -> str:
        column = int(own[row].argmin())
        true = "yes" if rows.targets[row, column] == 1 else "no"
        return f"{classes[column]}: {true}, predicted {percent(float(chance[row, column]))}"

    of_wrong, of_near = ([words(int(row)) for row in places] for places in (wrong, near))
    return examples(rows, wrong, of_wrong), examples(rows, near, of_near)


def _label_question(rows: Rows) -> classes.Question:
    def of_label(place: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        known = ~np.isnan(rows.targets[:, place])
        return rows.calibrated[known, place], rows.targets[known, place] == 1

    return of_label


def _confidences(
    outputs: npt.NDArray[Any], targets: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    known = ~np.isnan(targets)
    return 0.5 * (1 + np.tanh(outputs[known] / 2)), targets[known].astype(np.float64), np.nonzero(known)[0]


def _label(subject: Shown, rows: Rows, place: int) -> Asked:
    """Ask whether an image has a label, answered by the label's threshold if there is one."""
    odds, positive = _label_question(rows)(place)
    known = ~np.isnan(rows.targets[:, place])
    cuts = list((subject.ensemble.decide if subject.ensemble else {}).get("thresholds", {}).get("cuts", {}).values())
    cut = cuts[place] if place < len(cuts) and cuts[place] is not None else 0.5
    predictions = 0.5 * (1 + np.tanh(rows.decided_by[known, place] / 2)) > cut
    return Asked(odds, positive, predictions, [rows.ids[row] for row in np.flatnonzero(known)])


SECTIONS: Sequence[Callable[[TaskFacts], Section]] = (
    partial(classes.tables_of_classes, by_group="accuracy"),
    partial(trust.reliability, confidences=_confidences, what="a label", nouns=("answer", "answers")),
    partial(classes.ranking, questions=_label_question, whose="label by label"),
    partial(diagnosis.diagnosis, question=_label),
    partial(pictures.pictures, choose=mistakes, worst="The surest mistakes", nearest="Near misses"),
    breakdown.breakdown,
)
MISTAKES = mistakes
DRAW = None
