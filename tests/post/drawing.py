"""Drawn predictions for the tests of post."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def drawn(
    seed: int, n: int = 400, classes: int = 4, *, prior: npt.ArrayLike | None = None, distort: bool = True
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Logits that carry information but are not calibrated, and targets in which every class occurs."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(classes, n, p=None if prior is None else np.asarray(prior))
    targets[:classes] = np.arange(classes)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), targets] += 1.5
    # These are log-likelihoods up to 1.5: exactly calibrated before the distortion.
    logits = 1.5 * logits
    if prior is not None:
        logits += np.log(np.asarray(prior))
    if distort:
        shifts = np.random.default_rng(1000 + classes)
        logits = logits * 2.2 + shifts.normal(size=classes)
    return logits, targets


def models(
    seed: int, n: int = 120, classes: int = 3, count: int = 6
) -> tuple[list[npt.NDArray[np.float64]], npt.NDArray[np.int64]]:
    """Predictions of models of different strength, and targets."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    predictions = []
    for strength in rng.uniform(0.3, 2.5, count):
        logits = rng.normal(size=(n, classes))
        logits[np.arange(n), targets] += strength
        predictions.append(logits)
    return predictions, targets


# The prevalence of the unlabelled rows of `shifted`.
THERE = np.array([0.6, 0.05, 0.25, 0.1])


def shifted(seed: int, n: int = 2000) -> tuple[npt.NDArray[Any], ...]:
    """Labelled rows with even classes, unlabelled ones with others; both exactly calibrated for even classes."""
    logits, targets = drawn(seed, n, 4, distort=False)
    unlabelled, truth = drawn(seed + 100, n, 4, prior=THERE, distort=False)
    return logits, targets, unlabelled - np.log(THERE), truth
