"""Report of solutions beside the problems that they solve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections import classes, target_images
from mlpipe.reports.sections.parts import Section

SECTIONS: Sequence[Callable[[TaskFacts], Section]] = (
    partial(classes.tables_of_classes, by_group="equation_loss"),
    target_images.solutions,
)
MISTAKES = None
DRAW = None
