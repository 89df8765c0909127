"""Report of classes: confusion, one-against-rest curves, reliability, and the most confident mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.post import decisions
from mlpipe.post.calibration.errors import confidences
from mlpipe.post.figures import percent
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.reports.facts import Rows, Shown, TaskFacts
from mlpipe.reports.sections import breakdown, classes, diagnosis, pictures, trust
from mlpipe.reports.sections.diagnosis import Asked
from mlpipe.reports.sections.parts import Section
from mlpipe.reports.sections.pictures import Example, examples

# The number of most confident mistakes that are always shown, and of mistakes per confused pair that come before others.
_SUREST, _OF_EACH_PAIR = 24, 4


def mistakes(rows: Rows, classes: Sequence[str], most: int) -> tuple[list[Example], list[Example]]:
    """Return the most confident mistakes, and the right predictions with the smallest margin.

    Args:
        rows: Predictions with targets.
        classes: The names of the classes.
        most: The largest number of each.
    """
    probabilities = np.exp(log_softmax(rows.calibrated))
    places = np.arange(len(rows))
    predicted, own = probabilities.argmax(axis=1), probabilities[places, rows.targets]
    is_wrong = predicted != rows.targets
    sure = probabilities[places, predicted]
    worst = _mistakes_by_pair(np.flatnonzero(is_wrong)[np.argsort(-sure[is_wrong], kind="stable")], rows, predicted)[
        :most
    ]
    others = probabilities.copy()
    others[places, rows.targets] = -1
    second = others.argmax(axis=1)
    margin = own - others[places, second]
    close = np.flatnonzero(~is_wrong)[np.argsort(margin[~is_wrong], kind="stable")][:most]
    wrong = [
        Example(
            rows.ids[row],
            f"{classes[rows.targets[row]]}, taken for {classes[predicted[row]]} ({percent(sure[row])} sure)",
            (int(rows.targets[row]), classes[rows.targets[row]]),
            (int(predicted[row]), classes[predicted[row]]),
            float(sure[row]),
        )
        for row in worst
    ]
    near = [
        f"{classes[rows.targets[row]]} ({percent(own[row])}), nearly {classes[second[row]]} "
        f"({percent(others[row, second[row]])})"
        for row in close
    ]
    return wrong, examples(rows, close, near)


def _mistakes_by_pair(worst: npt.NDArray[Any], rows: Rows, predicted: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Order mistakes by confidence, but put a few of every confused pair before the rest of frequent pairs."""
    pair_counts, first, later = dict[tuple[int, int], int](), list[int](), list[int]()
    for row in worst.tolist():
        pair = int(rows.targets[row]), int(predicted[row])
        pair_counts[pair] = pair_counts.get(pair, 0) + 1
        (first if pair_counts[pair] <= _OF_EACH_PAIR or len(first) + len(later) < _SUREST else later).append(row)
    return np.array(first + later, np.int64)


def _against_rest(rows: Rows) -> classes.Question:
    scores = log_softmax(rows.calibrated)
    return lambda place: (scores[:, place], rows.targets == place)


def _one_against_rest(subject: Shown, rows: Rows, place: int) -> Asked:
    """Ask whether an image is of a class, answered by the most probable class or by the decision rule."""
    logs = log_softmax(rows.calibrated)
    others = np.delete(logs, place, axis=1)
    decide = subject.ensemble.decide if subject.ensemble else {}
    decided = decisions.classes_of(logs if "costs" in decide else rows.decided_by, decide)
    predictions = logs.argmax(axis=1) if decided is None else decided
    odds = logs[:, place] - np.logaddexp.reduce(others, axis=1)
    return Asked(odds, rows.targets == place, predictions == place, rows.ids)


def _confidences_and_errors(rows: Rows) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    sure, right = confidences(rows.calibrated, rows.targets)
    return sure, 1 - right


def _confidences(
    outputs: npt.NDArray[Any], targets: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    sure, right = confidences(outputs, targets)
    return sure, right, np.arange(len(targets))


SECTIONS: Sequence[Callable[[TaskFacts], Section]] = (
    classes.confusion_section,
    partial(classes.tables_of_classes, by_group="accuracy", is_share=True),
    partial(trust.reliability, confidences=_confidences, what="the predicted class"),
    partial(classes.ranking, questions=_against_rest, whose="one class against the rest", is_pair_alike=True),
    partial(diagnosis.certainty, certain=_confidences_and_errors),
    partial(diagnosis.diagnosis, question=_one_against_rest),
    partial(pictures.pictures, choose=mistakes, worst="The surest mistakes", nearest="Near misses"),
    breakdown.breakdown,
)
MISTAKES = mistakes
DRAW = None
