"""The training images that a network takes for most alike: by the cosine of its features."""

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
    """Whether a network gives an image one vector of features."""
    return isinstance(network, Classifier)


def features(
    model: Model, batches: Iterable[Batch], check: Callable[[], None] = lambda: None
) -> npt.NDArray[np.float32]:
    """What the heads of a model are given of samples, scaled to length 1, shape (n, features).

    Args:
        model: Of one network that `has_features`.
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
    """The nearest of some vectors of length 1, the nearest first, of equal ones the first.

    Args:
        queries: Shape (m, features).
        known: Shape (n, features).
        count: How many of each at most.

    Returns:
        Their places among `known` and their distances, one less the cosine, shape (m, min(count, n)) each.
    """
    cosines = queries @ known.T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return order, np.clip(1 - np.take_along_axis(cosines, order, 1), 0, 2)
