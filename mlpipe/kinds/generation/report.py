"""Report of drawn images: samples epoch by epoch, and their distance to real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections import drawn_images
from mlpipe.reports.sections.parts import Section

SECTIONS: Sequence[Callable[[TaskFacts], Section]] = (drawn_images.drawn_images,)
MISTAKES = None
DRAW = None
