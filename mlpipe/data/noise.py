"""Label noise on purpose, drawn for each sample from a seed and its id, to measure how much of it a recipe bears."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.augment.samples import uniform
from mlpipe.data.sampling import sample_seeds
from mlpipe.data.task import Samples

Rows = npt.NDArray[np.int64]


def draws(what: str, seed: int, ids: Sequence[str]) -> npt.NDArray[np.float64]:
    """A number from 0 to 1 for each id that depends on nothing but it, the purpose and the seed; shape (ids,)."""
    return uniform(sample_seeds(tuple(f"{what} {seed} {name}" for name in ids)), 0)


def noisy(samples: Samples, pool: Rows, share: float, seed: int, n_classes: int) -> npt.NDArray[Any]:
    """The targets as training sees them when a share of the pool's are wrong, shaped as `Samples.targets`.

    A class number becomes one of the other classes, each as likely (symmetric noise, Patrini et al. 2017). Labels and
    numbers to predict are exchanged among the chosen samples, which keeps how often each value comes.

    Args:
        samples: The task's samples.
        pool: The rows that may train.
        share: How many of them, 0 to 1: the rounded share exactly.
        seed: Decides which, and what they become.
        n_classes: How many classes there are.
    """
    ids = [samples.ids[row] for row in pool]
    chosen = pool[np.argsort(draws("noise", seed, ids), kind="stable")[: round(share * len(pool))]]
    targets = samples.learned.copy()
    if targets.ndim == 2:
        targets[chosen] = targets[np.roll(chosen, 1)]
        return targets
    steps = 1 + np.floor(draws("class", seed, [samples.ids[row] for row in chosen]) * (n_classes - 1)).astype(np.int64)
    targets[chosen] = (targets[chosen] + steps) % n_classes
    return targets
