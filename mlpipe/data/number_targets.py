"""Targets with one number per output, NaN if unknown: code shared by the kinds with such targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def shape(samples: int, outputs: int) -> tuple[int, ...]:
    """Return (samples, outputs)."""
    return samples, outputs


def unknown(outputs: int) -> int | tuple[float, ...]:
    """Return NaN for each output."""
    return (float("nan"),) * outputs


def known_counts(targets: npt.NDArray[Any], outputs: int) -> npt.NDArray[np.int64]:
    """Return the number of targets with a known value of each output, shape (outputs,)."""
    return np.asarray((~np.isnan(targets)).sum(axis=0), np.int64)


def positive_counts(targets: npt.NDArray[Any], outputs: int) -> npt.NDArray[np.int64]:
    """Return the number of targets above 0 for each output, shape (outputs,)."""
    return np.asarray((targets > 0).sum(axis=0), np.int64)


def strata(targets: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return one stratum for all targets."""
    return np.zeros(len(targets), np.int64)


def damage(targets: npt.NDArray[Any], outputs: int) -> str:
    """Return a sentence if a number is infinite."""
    return "has targets that are infinite" if np.isinf(targets).any() else ""


def unremovable(outputs: int) -> str:
    """Return an empty text, because any output can be left out."""
    return ""


def unit(targets: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean and standard deviation of the known values of each output, shape (outputs,) each.

    An output with identical values has the deviation 1; one without known values also has the mean 0.

    Args:
        targets: Shape (n, outputs), NaN where unknown.
    """
    some = ~np.isnan(targets).all(axis=0)
    known = targets if some.all() else targets[:, some]
    mean, spread = np.zeros(targets.shape[1]), np.ones(targets.shape[1])
    if known.size:
        mean[some], deviation = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
        # Computed for equal numbers, it is often not zero but a rounding error, which must not become a divisor.
        differs = np.nanmax(known, axis=0) > np.nanmin(known, axis=0)
        spread[some] = np.where(differs & (deviation > 0), deviation, 1.0)
    return mean, spread
