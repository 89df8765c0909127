"""Sinks of predictions: rows and maps of a project, arrays in HDF5, a file for each sample; each sink has `add`.

A sink is opened as a context manager; its file appears under its name once the context exits without an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Predicted:
    """A model's predictions for some samples.

    Attributes:
        ids: The names of the n samples.
        outputs: One row of fixed width per sample, shape (n, outputs), float32: logits, numbers, or sums over its
            pixels.
        targets: Class numbers, shape (n,), or numbers, shape (n, outputs); for maps, what `outputs` is compared with.
            None: unknown.
        arrays: Predictions for every pixel of a sample, shape (n, outputs, *spatial): probabilities in 255ths, or
            values. None if a sample has only a row.
        true: The true class numbers or values of every pixel, shape (n, ...); None if no sample has a target.
    """

    ids: Sequence[str]
    outputs: npt.NDArray[np.float32]
    targets: npt.NDArray[Any] | None = None
    arrays: npt.NDArray[Any] | None = None
    true: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)


class Sink(Protocol):
    """A receiver of predictions, batch by batch."""

    def add(self, predicted: Predicted) -> None:
        """Write predictions for some samples.

        Args:
            predicted: The samples and their predictions.
        """
