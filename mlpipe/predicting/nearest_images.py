"""The most similar training images, by the cosine similarity of a network's features."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mlpipe.arch.classifier import Classifier
from mlpipe.predicting.batches import Batch
from mlpipe.predicting.model import Model


def has_features(network: nn.Module) -> bool:
    """Return whether a network computes one feature vector per image."""
    return isinstance(network, Classifier)


def features(
    model: Model, batches: Iterable[Batch], check: Callable[[], None] = lambda: None
) -> npt.NDArray[np.float32]:
    """Return the inputs of a model's heads for samples, scaled to length 1, shape (n, features).

    Args:
        model: A model of one network that `has_features`.
        batches: The samples, or their features.
        check: Called after every batch; raises to stop.
    """
    network, parts = model.networks[0], []
    assert isinstance(network, Classifier)
    with torch.inference_mode():
        for batch in batches:
            inputs = batch.inputs.to(model.device)
            values = network.features(inputs.float()) if inputs.ndim > 2 else inputs
            parts.append(nn.functional.normalize(values.float(), dim=1).cpu().numpy())
            check()
    return np.concatenate(parts)


def nearest(
    queries: npt.NDArray[np.float32], known: npt.NDArray[np.float32], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the nearest of some vectors of length 1, the nearest first; among equals the first one comes first.

    Args:
        queries: Shape (m, features).
        known: Shape (n, features).
        count: The largest number of neighbours of each.

    Returns:
        Their places among `known` and their distances, one minus the cosine, shape (m, min(count, n)) each.
    """
    cosines = queries @ known.T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return order, np.clip(1 - np.take_along_axis(cosines, order, 1), 0, 2)
