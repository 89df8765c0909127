"""Predictions with one row per sample: columns, metrics, and the mean over models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mlpipe.post.ensembling.mixing import combine
from mlpipe.predicting.batches import Batch
from mlpipe.runs.sinks import Predicted


def kept(outputs: Tensor, batch: Batch, loss: nn.Module | None) -> Predicted:
    """Return the outputs, and the targets unchanged."""
    targets = None if batch.target is None else batch.target.cpu().numpy()
    return Predicted(batch.ids, outputs.cpu().numpy(), targets)


def measured(outputs: Tensor, target: Tensor, loss: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs and targets unchanged."""
    return outputs, target, loss(outputs, target)


def mean_of_classes(parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
    """Return mixed log-probabilities of classes, one distribution per sample or per place."""
    return _mixture(parts, weights, "classification", mixing)


def mean_of_labels(parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
    """Return mixed log-odds of labels."""
    return _mixture(parts, weights, "multilabel", mixing)


def mean_of_numbers(parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
    """Return the weighted mean of numbers."""
    return _mixture(parts, weights, "regression", "logits")


def score_of_class(outputs: Tensor, numbers: Tensor) -> Tensor:
    """Return the logit of the class; for two classes minus the other logit, because one of them may be fixed at zero."""
    own = score_of_output(outputs, numbers)
    return own - score_of_output(outputs, 1 - numbers) if outputs.shape[1] == 2 else own


def score_of_output(outputs: Tensor, numbers: Tensor) -> Tensor:
    """Return the logit or number of the output."""
    return outputs.gather(1, numbers[:, None])[:, 0]


def _mixture(parts: Sequence[Tensor], weights: Sequence[float], kind: str, mixing: str) -> Tensor:
    """Mix outputs as the rows of an ensemble; maps have a row for each place."""
    rows = [part.movedim(1, -1).reshape(-1, part.shape[1]).double().cpu().numpy() for part in parts]
    mixed = torch.from_numpy(np.asarray(combine(rows, weights, kind, mixing), np.float32))
    last = parts[0].movedim(1, -1)
    return mixed.reshape(last.shape).movedim(-1, 1).to(last.device)
