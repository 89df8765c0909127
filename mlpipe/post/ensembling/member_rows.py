"""Predictions of the same rows by one member of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Predictions of the same rows by one member, ordered by sample id.

    Attributes:
        ids: Names, n of them.
        targets: As `mlpipe.data.task.Samples.targets`.
        raw: Logits or numbers of the networks, shape (n, outputs).
        calibrated: Calibrated logits or numbers, of the same shape.
        moved: If `calibrated` is meant for another prevalence than that of validation, `raw` moved there without calibration;
            None: `raw` itself.
    """

    ids: list[str]
    targets: Array
    raw: Array
    calibrated: Array
    moved: Array | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, ids: Sequence[str]) -> Rows:
        """Return some of the rows, in the given order."""
        if list(ids) == self.ids:
            return self
        place = {name: row for row, name in enumerate(self.ids)}
        chosen = np.array([place[name] for name in ids], np.int64)
        moved = None if self.moved is None else self.moved[chosen]
        return Rows(list(ids), self.targets[chosen], self.raw[chosen], self.calibrated[chosen], moved)

    def uncalibrated(self) -> Rows:
        """Return the rows without calibration: raw, or only moved to the requested prevalence."""
        return replace(self, calibrated=self.raw if self.moved is None else self.moved)
