"""Report of masks beside true masks and their images."""

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
    """Return the images with the worst masks by Dice; there are no right predictions with a small margin for masks.

    Args:
        rows: Counts of pixels.
        classes: The names of the classes.
        most: The largest number of images.
    """
    dice = mask_metrics.of_images(rows.calibrated, rows.targets)
    worst = np.argsort(dice, kind="stable")[:most]
    return examples(rows, worst, [f"Dice {dice[row]:.2f}" for row in worst]), []


SECTIONS: Sequence[Callable[[TaskFacts], Section]] = (
    partial(classes.tables_of_classes, by_group="dice"),
    masks.masks,
)
MISTAKES = mistakes
DRAW = masks.image_with_mask
