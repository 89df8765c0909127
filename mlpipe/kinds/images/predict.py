"""Predictions of images: a value for every pixel, and sums of errors as rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from mlpipe.kinds.images.learn import summed
from mlpipe.predicting import output_tensors, pictures
from mlpipe.predicting.batches import Batch
from mlpipe.predicting.in_hand import InHand, Shown
from mlpipe.predicting.kind import no_places as places
from mlpipe.predicting.pictures import write_values as write_new
from mlpipe.predicting.rows import mean_of_numbers as mean
from mlpipe.runs import maps
from mlpipe.runs.sinks import Predicted

__all__ = [
    "NEW", "NOT_EXPORTED", "NOT_IN_HAND", "SCORE", "TABLE", "TENSORS",
    "kept", "mean", "measured", "places", "shown", "write_new",
]  # fmt: skip

NOT_IN_HAND = ""
NOT_EXPORTED = ""
TENSORS = output_tensors.Maps(output_tensors.numbers)
TABLE = SCORE = None
NEW = "images"


def shown(new: InHand) -> Shown:
    """Return predicted values in the size of each sample."""
    return pictures.shown(new, pictures.values_drawing(new.pivot, new.models, as_array=True))


def kept(outputs: Tensor, batch: Batch, loss: nn.Module | None) -> Predicted:
    """Return sums of errors, and the values."""
    values, target = outputs.cpu().numpy(), batch.target
    # If no sample has a target image, the rows are unknown numbers.
    true = target.cpu().numpy() if target is not None and target.ndim > 2 else None
    errors = [maps.errors(output, None if true is None else true[place]) for place, output in enumerate(values)]
    sums = np.stack([squared for squared, _ in errors]), np.stack([absolute for _, absolute in errors])
    # Half precision keeps values from 0 to 1 better than 8 bits would, but not those of 16 bits or of arrays.
    dtype: type[np.floating[Any]] = np.float16 if batch.are_bytes else np.float32
    kept_true: npt.NDArray[Any] | None = None if true is None else true.astype(dtype)
    return Predicted(batch.ids, *sums, values.astype(dtype), kept_true)


def measured(outputs: Tensor, target: Tensor, loss: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Return sums of errors."""
    return *summed(outputs, target), loss(outputs, target)
