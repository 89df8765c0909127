"""Predictions with one row for each sample: columns, metrics, and the mean over models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mlpipe.post.ensembling.mixing import combine
from mlpipe.predicting.batches import Batch
from mlpipe.runs.sinks import Predicted


def kept(outputs: Tensor, batch: Batch, loss: nn.Module | None) -> Predicted:
    """The outputs, and the targets as they are."""
    targets = None if batch.target is None else batch.target.cpu().numpy()
    return Predicted(batch.ids, outputs.cpu().numpy(), targets)


def measured(outputs: Tensor, target: Tensor, loss: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs and targets themselves."""
    return outputs, target, loss(outputs, target)


def mean_of_classes(parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
    """Log-probabilities of classes, of which a sample, or each of its places, has one."""
    return _mixture(parts, weights, "classification", mixing)


def mean_of_labels(parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
    """Log-odds of labels."""
    return _mixture(parts, weights, "multilabel", mixing)


def mean_of_numbers(parts: Sequence[Tensor], weights: Sequence[float], mixing: str) -> Tensor:
    """Numbers."""
    return _mixture(parts, weights, "regression", "logits")


def score_of_class(outputs: Tensor, numbers: Tensor) -> Tensor:
    """The logit of the class asked for; of two classes less the other one's, since one of them may be held at zero."""
    own = score_of_output(outputs, numbers)
    return own - score_of_output(outputs, 1 - numbers) if outputs.shape[1] == 2 else own


def score_of_output(outputs: Tensor, numbers: Tensor) -> Tensor:
    """The logit or number asked for."""
    return outputs.gather(1, numbers[:, None])[:, 0]


def _mixture(parts: Sequence[Tensor], weights: Sequence[float], kind: str, mixing: str) -> Tensor:
    """Mixed as the rows of an ensemble are; what is predicted for places of samples has a row for each place."""
    rows = [part.movedim(1, -1).reshape(-1, part.shape[1]).double().cpu().numpy() for part in parts]
    mixed = torch.from_numpy(np.asarray(combine(rows, weights, kind, mixing), np.float32))
    last = parts[0].movedim(1, -1)
    return mixed.reshape(last.shape).movedim(-1, 1).to(last.device)
