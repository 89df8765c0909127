"""Protocol of the data part of a kind, which `mlpipe/kinds/*/data.py` implements with pure functions of arrays.

Targets are those of `mlpipe.data.task.Samples`: class numbers of shape (n,), or numbers of shape (n, outputs), NaN if
unknown. Targets in files (masks, images) are represented by numbers that summarise them.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from mlpipe import kinds

# The default kind of a task.
DEFAULT = "classification"


class Part(Protocol):
    """The targets of one kind.

    Attributes:
        DTYPE: The dtype of targets.
        OF_TASKS: Whether a task may have this kind; an equation is only made by a loss, from a task of images.
        IS_CLASS_NUMBER: Whether a target is the number of one class; else there is a number for each output.
        IS_LABELS: Whether each output is a label that holds (1) or does not (0).
        KEPT: Why tags cannot change targets, and what to do instead; None: they can.
    """

    DTYPE: type[np.int64] | type[np.float64]
    OF_TASKS: bool
    IS_CLASS_NUMBER: bool
    IS_LABELS: bool
    KEPT: tuple[str, str] | None

    def shape(self, samples: int, outputs: int) -> tuple[int, ...]:
        """Return the shape of the targets of this many samples."""
        ...

    def unknown(self, outputs: int) -> int | tuple[float, ...]:
        """Return the target of a sample without a target."""
        ...

    def counts(self, targets: npt.NDArray[Any], outputs: int) -> npt.NDArray[np.int64]:
        """Return the number of targets of each class, label or other output, shape (outputs,)."""
        ...

    def strata(self, targets: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return a stratum number for each target, shape (n,); strata lose equal shares when samples are taken."""
        ...

    def damage(self, targets: npt.NDArray[Any], outputs: int) -> str:
        """Return impossible values in stored targets of the right shape, in a few words; empty: none."""
        ...

    def unremovable(self, outputs: int) -> str:
        """Return why none of this many outputs can be left out; empty: one can."""
        ...


def of(name: str) -> Part:
    """Return the data part of a kind.

    Args:
        name: The kind's name, one of `kinds.names()`.
    """
    return cast(Part, kinds.part(name, "data"))


def names() -> tuple[str, ...]:
    """Return the kinds that a task may have."""
    return tuple(name for name in kinds.names() if of(name).OF_TASKS)
