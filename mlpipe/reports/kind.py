"""The protocol of `mlpipe.kinds.*.report`: sections, plots and words for a kind's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from mlpipe import kinds
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections.parts import Section
from mlpipe.reports.sections.pictures import Choose

# A function that draws the objects of a sample on its pixels.
Draw = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[np.uint8]]


class Part(Protocol):
    """The report of a kind.

    Attributes:
        SECTIONS: Functions that make the sections on results, between those on training and on ensembles.
        MISTAKES: Chooses the rows to look at first; None: rows are not right or wrong as a whole.
        DRAW: Draws targets with places in an image on its pixels, see `mlpipe.reports.drawn_targets`; None: targets have no
            places.
    """

    SECTIONS: Sequence[Callable[[TaskFacts], Section]]
    MISTAKES: Choose | None
    DRAW: Draw | None


def of(name: str) -> Part:
    """Return the report part of a kind.

    Args:
        name: The kind's.
    """
    return cast(Part, kinds.part(name, "report"))
