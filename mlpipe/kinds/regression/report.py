"""Report of numbers: predicted against true values, residuals, coverage of intervals, and the largest errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from mlpipe.reports.facts import Rows, TaskFacts
from mlpipe.reports.sections import breakdown, classes, pictures, trust
from mlpipe.reports.sections.parts import Section
from mlpipe.reports.sections.pictures import Example, examples

_MOST = 24


def mistakes(rows: Rows, classes: Sequence[str], most: int) -> tuple[list[Example], list[Example]]:
    """Return the largest errors; there are no right predictions with a small margin for numbers.

    Args:
        rows: Predictions with targets.
        classes: The names of the numbers.
        most: The largest number of mistakes.
    """
    off = rows.calibrated - rows.targets
    # Errors are divided by the spread so that numbers of different units can be compared.
    scaled = np.abs(off) / np.maximum(np.nanstd(rows.targets, axis=0), 1e-12)
    scaled[np.isnan(scaled)] = -1
    worst = np.argsort(-scaled.max(axis=1), kind="stable")[: min(most, _MOST)]
    words = []
    for row in worst:
        column = int(scaled[row].argmax())
        words.append(f"{classes[column]} {rows.targets[row, column]:.4g}, predicted {rows.calibrated[row, column]:.4g}")
    return examples(rows, worst, words), []


SECTIONS: Sequence[Callable[[TaskFacts], Section]] = (
    trust.of_numbers,
    partial(classes.tables_of_classes, by_group="rmse"),
    partial(pictures.pictures, choose=mistakes, worst="The largest errors"),
    breakdown.breakdown,
)
MISTAKES = mistakes
DRAW = None
