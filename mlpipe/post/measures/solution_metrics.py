"""The metric of solutions of an equation without known solutions: the equation's loss.

The loss of each sample is enough. `outputs` (n, 1) holds it, `targets` (n, 1) is 1, NaN where a sample has nothing to judge
its solution by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Sums = npt.NDArray[Any]


def equation_loss(outputs: Sums, targets: Sums) -> float:
    """The mean of the samples' losses, as the equation computes them."""
    return float(outputs.astype(np.float64).mean())


METRICS: dict[str, Callable[[Sums, Sums], float]] = {"equation_loss": equation_loss}


def table(outputs: Sums, targets: Sums, channels: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row for the only channel: the number of samples, and their mean loss.

    Args:
        outputs: Shape (n, 1).
        targets: Shape (n, 1).
        channels: Its name.
    """
    return [
        {"class": name, "images": len(outputs), "equation_loss": equation_loss(outputs, targets)} for name in channels
    ]
