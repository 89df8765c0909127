"""The protocol of `mlpipe.kinds.*.report`: sections, plots and words for a kind's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from mlpipe import kinds
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections.parts import Section
from mlpipe.reports.sections.pictures import Choose


class Part(Protocol):
    """The report of a kind.

    Attributes:
        SECTIONS: What makes the sections on results, between those on the training and those on ensembles.
        MISTAKES: What chooses the rows to look at first; None: rows are not right or wrong as a whole.
    """

    SECTIONS: Sequence[Callable[[TaskFacts], Section]]
    MISTAKES: Choose | None


def of(name: str) -> Part:
    """The part of a kind.

    Args:
        name: The kind's.
    """
    return cast(Part, kinds.part(name, "report"))
