"""Sinks of predictions: rows and maps of a project, arrays in HDF5, a file for each sample; each sink has `add`.

A sink is opened as a context and its file appears under its name when the context ends well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Predicted:
    """Predictions of a model for some samples.

    Attributes:
        ids: The samples' names, n of them.
        outputs: A row of fixed width for each, shape (n, outputs), float32: logits, numbers, or sums over its places.
        targets: Class numbers, shape (n,), or numbers, shape (n, outputs); of maps what `outputs` is compared with. None:
            nothing is known of them.
        arrays: What is predicted for every place of a sample, shape (n, outputs, *spatial): probabilities in 255ths, or
            values. None where a sample has a row alone.
        true: The true class numbers or values of every place, shape (n, ...); None where no sample has a target.
    """

    ids: Sequence[str]
    outputs: npt.NDArray[np.float32]
    targets: npt.NDArray[Any] | None = None
    arrays: npt.NDArray[Any] | None = None
    true: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)


class Sink(Protocol):
    """Takes what is predicted, batch by batch."""

    def add(self, predicted: Predicted) -> None:
        """Write what is predicted for some samples.

        Args:
            predicted: The samples and what a model gives for them.
        """
