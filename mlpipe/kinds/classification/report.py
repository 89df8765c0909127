"""Classes are shown by confusion, curves of one against the rest, reliability, and the surest mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from mlpipe.post.calibration.errors import confidences
from mlpipe.post.figures import percent
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.reports.facts import Rows, TaskFacts
from mlpipe.reports.sections import classes, pictures, trust
from mlpipe.reports.sections.parts import Section
from mlpipe.reports.sections.pictures import Example, examples


def mistakes(rows: Rows, classes: Sequence[str], most: int) -> tuple[list[Example], list[Example]]:
    """The mistakes that were surest, and right predictions with the least margin.

    Args:
        rows: Predictions with targets.
        classes: The names of the classes.
        most: How many of each at most.
    """
    probabilities = np.exp(log_softmax(rows.calibrated))
    places = np.arange(len(rows))
    predicted, own = probabilities.argmax(axis=1), probabilities[places, rows.targets]
    is_wrong = predicted != rows.targets
    sure = probabilities[places, predicted]
    worst = np.flatnonzero(is_wrong)[np.argsort(-sure[is_wrong], kind="stable")][:most]
    others = probabilities.copy()
    others[places, rows.targets] = -1
    second = others.argmax(axis=1)
    margin = own - others[places, second]
    close = np.flatnonzero(~is_wrong)[np.argsort(margin[~is_wrong], kind="stable")][:most]
    wrong = [
        f"{classes[rows.targets[row]]}, taken for {classes[predicted[row]]} ({percent(sure[row])} sure)"
        for row in worst
    ]
    near = [
        f"{classes[rows.targets[row]]} ({percent(own[row])}), nearly {classes[second[row]]} "
        f"({percent(others[row, second[row]])})"
        for row in close
    ]
    return examples(rows, worst, wrong), examples(rows, close, near)


def _against_rest(rows: Rows) -> classes.Question:
    scores = log_softmax(rows.calibrated)
    return lambda place: (scores[:, place], rows.targets == place)


SECTIONS: Sequence[Callable[[TaskFacts], Section]] = (
    classes.confused,
    partial(classes.tables_of_classes, by_group="accuracy", is_share=True),
    partial(trust.reliability, confidences=confidences, what="the predicted class"),
    partial(classes.ranking, questions=_against_rest, whose="one class against the rest", is_pair_alike=True),
    partial(pictures.pictures, choose=mistakes, worst="The surest mistakes", nearest="Near misses"),
)
