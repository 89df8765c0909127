"""Predict masks: probabilities of classes for every pixel, and counts of pixels as rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mlpipe.learn.segmentation import counted
from mlpipe.predicting.batches import Batch
from mlpipe.predicting.rows import mean_of_classes as mean
from mlpipe.runs import maps
from mlpipe.runs.sinks import Predicted

__all__ = ["HAS_MAPS", "ROWS_ARE_LOSSES", "kept", "mean", "measured"]

HAS_MAPS = True
ROWS_ARE_LOSSES = False


def kept(outputs: Tensor, batch: Batch, loss: nn.Module | None) -> Predicted:
    """Counts of pixels, and probabilities in 255ths."""
    chances = outputs.softmax(1).cpu().numpy()
    target = batch.target
    # Where no sample has a mask, targets are shares of classes that are not known.
    true = target.cpu().numpy() if target is not None and target.dtype == torch.uint8 else None
    each = [
        maps.counts(one, None if true is None else true[place], chances.shape[1])
        for place, one in enumerate(chances.argmax(1))
    ]
    quantised = np.stack([maps.quantised(one) for one in chances])
    return Predicted(batch.ids, np.stack([one for one, _ in each]), np.stack([one for _, one in each]), quantised, true)


def measured(outputs: Tensor, target: Tensor, loss: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Counts of pixels."""
    target = target.long()
    return *counted(outputs.argmax(1), target, outputs.shape[1]), loss(outputs, target)
