"""Class numbers as targets, shape (n,), int64; -1 where unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.task import NO_TARGET

DTYPE, OF_TASKS, IS_CLASS_NUMBER, IS_LABELS, KEPT = np.int64, True, True, False, None


def shape(samples: int, outputs: int) -> tuple[int, ...]:
    """(samples,)."""
    return (samples,)


def unknown(outputs: int) -> int | tuple[float, ...]:
    """Return -1, the class number of unknown targets."""
    return NO_TARGET


def counts(targets: npt.NDArray[Any], outputs: int) -> npt.NDArray[np.int64]:
    """Return the number of targets of each class, shape (outputs,)."""
    return np.bincount(targets[targets >= 0], minlength=outputs).astype(np.int64)


def strata(targets: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the class numbers themselves."""
    return targets


def damage(targets: npt.NDArray[Any], outputs: int) -> str:
    """Return a sentence if some targets are not class numbers, else an empty string."""
    if not len(targets) or NO_TARGET <= targets.min() <= targets.max() < outputs:
        return ""
    return f"has class numbers beyond its {outputs} classes"


def unremovable(outputs: int) -> str:
    """Return a sentence if there are only two classes, neither of which can be removed."""
    return "a single class would be left" if outputs <= 2 else ""
