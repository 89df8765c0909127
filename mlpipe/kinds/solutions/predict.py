"""Predict solutions of an equation: their values, and the loss of each as its row."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from mlpipe.kinds.solutions.learn import scored
from mlpipe.predicting.batches import Batch
from mlpipe.predicting.kind import no_places as places
from mlpipe.predicting.pictures import write_values as write_new
from mlpipe.predicting.rows import mean_of_numbers as mean
from mlpipe.runs.sinks import Predicted

__all__ = ["NEW", "ROWS_ARE_LOSSES", "SCORE", "TABLE", "kept", "mean", "measured", "places", "write_new"]

ROWS_ARE_LOSSES = True
TABLE = SCORE = None
NEW = "images"


def kept(outputs: Tensor, batch: Batch, loss: nn.Module | None) -> Predicted:
    """The equation's loss of each sample, and its solution."""
    values, target = outputs.cpu().numpy().astype(np.float32), batch.target
    if target is None or target.ndim != outputs.ndim:
        nothing = np.full((len(values), 1), np.nan, np.float32)
        return Predicted(batch.ids, np.zeros_like(nothing), nothing, values)
    assert loss is not None
    lost, known = (part.cpu().numpy().astype(np.float32) for part in scored(loss, outputs, target))
    return Predicted(batch.ids, lost, known, values, target.cpu().numpy().astype(np.float32))


def measured(outputs: Tensor, target: Tensor, loss: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """The equation's loss of each sample."""
    return *scored(loss, outputs, target), loss(outputs, target)
