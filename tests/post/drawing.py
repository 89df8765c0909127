"""Drawn predictions for the tests of post."""

from __future__ import annotations

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
