"""The protocol of a kind's data part: `mlpipe/kinds/*/data.py` implements it with pure functions of arrays.

Targets are those of `mlpipe.data.task.Samples`: class numbers of shape (n,), or numbers of shape (n, outputs), NaN where
one is unknown. Targets that lie in files (masks, images) are there as numbers that sum them up.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from mlpipe import kinds

# The kind of a task where none is given.
DEFAULT = "classification"


class Part(Protocol):
    """The targets of one kind.

    Attributes:
        DTYPE: The type of targets.
        OF_TASKS: Whether a task may be of it; an equation is what a loss makes of a task of images.
        IS_CLASS_NUMBER: Whether a target is the number of one class; else there is a number for each output.
        IS_LABELS: Whether each output is a label that holds (1) or does not (0).
        KEPT: Why no tag changes what targets say, and what to do in place of it; None: tags do.
    """

    DTYPE: type[np.int64] | type[np.float64]
    OF_TASKS: bool
    IS_CLASS_NUMBER: bool
    IS_LABELS: bool
    KEPT: tuple[str, str] | None

    def shape(self, samples: int, outputs: int) -> tuple[int, ...]:
        """The shape of the targets of so many samples."""
        ...

    def unknown(self, outputs: int) -> int | tuple[float, ...]:
        """The target of a sample that has none."""
        ...

    def counts(self, targets: npt.NDArray[Any], outputs: int) -> npt.NDArray[np.int64]:
        """The number of targets of each class, label or other output, shape (outputs,)."""
        ...

    def strata(self, targets: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """A number for each target, alike for those that lose the same share where some samples are taken; shape (n,)."""
        ...

    def damage(self, targets: npt.NDArray[Any], outputs: int) -> str:
        """Impossible values in stored targets of the right shape, in a few words; empty: none."""
        ...

    def unremovable(self, outputs: int) -> str:
        """Why none of so many outputs can be left out; empty: one can."""
        ...


def of(name: str) -> Part:
    """The targets of a kind.

    Args:
        name: The kind's name, one of `kinds.names()`.
    """
    return cast(Part, kinds.part(name, "data"))


def names() -> tuple[str, ...]:
    """The kinds that a task may be of."""
    return tuple(name for name in kinds.names() if of(name).OF_TASKS)
