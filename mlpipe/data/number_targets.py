"""Targets with one number per output, NaN where unknown: the code that kinds with such targets share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def shape(samples: int, outputs: int) -> tuple[int, ...]:
    """(samples, outputs)."""
    return samples, outputs


def unknown(outputs: int) -> int | tuple[float, ...]:
    """NaN for each output."""
    return (float("nan"),) * outputs


def known_counts(targets: npt.NDArray[Any], outputs: int) -> npt.NDArray[np.int64]:
    """The number of targets that know each output, shape (outputs,)."""
    return np.asarray((~np.isnan(targets)).sum(axis=0), np.int64)


def positive_counts(targets: npt.NDArray[Any], outputs: int) -> npt.NDArray[np.int64]:
    """The number of targets above 0 for each output, shape (outputs,)."""
    return np.asarray((targets > 0).sum(axis=0), np.int64)


def strata(targets: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """One stratum of all targets."""
    return np.zeros(len(targets), np.int64)


def damage(targets: npt.NDArray[Any], outputs: int) -> str:
    """Nothing: every number may be one."""
    return ""


def unremovable(outputs: int) -> str:
    """Nothing: any output can be left out."""
    return ""
