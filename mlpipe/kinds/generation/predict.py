"""Predictions for real images that drawn images are judged by: scores of the critic and features, as rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from mlpipe.errors import ConfigError, problem
from mlpipe.kinds.generation.learn import rows, validated
from mlpipe.predicting.batches import Batch
from mlpipe.predicting.in_hand import InHand, Shown
from mlpipe.predicting.kind import no_places as places
from mlpipe.predicting.new_samples import NewSamples
from mlpipe.predicting.rows import mean_of_numbers as mean
from mlpipe.runs.sinks import Predicted

__all__ = [
    "NEW", "NOT_EXPORTED", "NOT_IN_HAND", "SCORE", "TABLE", "TENSORS",
    "kept", "mean", "measured", "places", "shown", "write_new",
]  # fmt: skip

NOT_IN_HAND = "draws images from noise, and predicts nothing of others; use mml predict mode.samples=64"
NOT_EXPORTED = NOT_IN_HAND
TENSORS = None
TABLE = SCORE = None
NEW = "images"


def kept(outputs: Tensor, batch: Batch, loss: nn.Module | None) -> Predicted:
    """Return scores and features, with ones as targets."""
    values = outputs.float().cpu().numpy()
    return Predicted(batch.ids, values, np.ones((len(values), 1), np.float32))


def measured(outputs: Tensor, target: Tensor, loss: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores and features, and the distance over all of them."""
    scores, ones = rows(loss, outputs, target)
    return scores, ones, validated(loss, scores, ones)[0]


def shown(new: InHand) -> Shown:
    """Unsupported: see `NOT_IN_HAND`."""
    raise ConfigError(problem(f"task {new.pivot.name}", NOT_IN_HAND))


def write_new(new: NewSamples) -> dict[str, Any]:
    """Unsupported: images are drawn from noise, not from other images."""
    fix = "use mode.samples=64 mode.seed=1"
    raise ConfigError(problem("mode.source", "a generator draws images from noise", got=new.source, fix=fix))
