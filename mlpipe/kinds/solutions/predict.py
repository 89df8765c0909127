"""Predictions of solutions of an equation: their values, and the loss of each as its row."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from mlpipe.errors import ConfigError, problem
from mlpipe.kinds.solutions.learn import scored
from mlpipe.predicting.batches import Batch
from mlpipe.predicting.in_hand import InHand, Shown
from mlpipe.predicting.kind import no_places as places
from mlpipe.predicting.pictures import write_values as write_new
from mlpipe.predicting.rows import mean_of_numbers as mean
from mlpipe.runs.sinks import Predicted

__all__ = [
    "NEW", "NOT_EXPORTED", "NOT_IN_HAND", "SCORE", "TABLE", "TENSORS",
    "kept", "mean", "measured", "places", "shown", "write_new",
]  # fmt: skip

NOT_IN_HAND = "solves an equation from arrays of initial values; use mml predict mode.source=FILE"
NOT_EXPORTED = NOT_IN_HAND
TENSORS = None
TABLE = SCORE = None
NEW = "images"


def kept(outputs: Tensor, batch: Batch, loss: nn.Module | None) -> Predicted:
    """Return the equation's loss of each sample, and its solution."""
    values, target = outputs.cpu().numpy().astype(np.float32), batch.target
    if target is None or target.ndim != outputs.ndim:
        nothing = np.full((len(values), 1), np.nan, np.float32)
        return Predicted(batch.ids, np.zeros_like(nothing), nothing, values)
    assert loss is not None
    lost, known = (part.cpu().numpy().astype(np.float32) for part in scored(loss, outputs, target))
    return Predicted(batch.ids, lost, known, values, target.cpu().numpy().astype(np.float32))


def shown(new: InHand) -> Shown:
    """Unsupported: see `NOT_IN_HAND`."""
    raise ConfigError(problem(f"task {new.pivot.name}", NOT_IN_HAND))


def measured(outputs: Tensor, target: Tensor, loss: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Return the equation's loss of each sample."""
    return *scored(loss, outputs, target), loss(outputs, target)
