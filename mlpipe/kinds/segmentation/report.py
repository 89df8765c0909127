"""Masks are shown beside true ones and their images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from mlpipe.post.measures import mask_metrics
from mlpipe.reports.facts import Rows, TaskFacts
from mlpipe.reports.sections import classes, masks
from mlpipe.reports.sections.parts import Section
from mlpipe.reports.sections.pictures import Example, examples


def mistakes(rows: Rows, classes: Sequence[str], most: int) -> tuple[list[Example], list[Example]]:
    """The images whose masks are worst, by Dice; none is just right.

    Args:
        rows: Counts of pixels.
        classes: The names of the classes.
        most: How many at most.
    """
    dice = mask_metrics.of_images(rows.calibrated, rows.targets)
    worst = np.argsort(dice, kind="stable")[:most]
    return examples(rows, worst, [f"Dice {dice[row]:.2f}" for row in worst]), []


SECTIONS: Sequence[Callable[[TaskFacts], Section]] = (
    partial(classes.tables_of_classes, by_group="dice"),
    masks.masks,
)
MISTAKES = mistakes
DRAW = None
