"""A weighted sum of losses as one module, and losses of probabilities as modules of outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.learn.losses import probabilities as probability_losses
from mlpipe.learn.losses.means import probabilities, weighted_mean


class OnProbabilities(nn.Module):
    """A loss of probabilities, called with outputs: softmax for classes, sigmoid for labels, numbers as they are.

    Args:
        name: A name in `probability_losses.EACH` or `TOGETHER`.
        kind: What is predicted.
    """

    def __init__(self, name: str, kind: str) -> None:
        super().__init__()
        self._kind = kind
        self.weighs = name in probability_losses.EACH
        self._loss = probability_losses.EACH.get(name) or probability_losses.TOGETHER[name]
        self._on_logits = name == "lovasz"

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean over images, each with its weight; or the batch's one number."""
        wanted = F.one_hot(target, outputs.shape[1]) if target.ndim == 1 and self._kind == "classification" else target
        wanted = wanted.to(outputs.dtype)
        known = (~wanted.isnan()).to(outputs.dtype)
        said = outputs if self._on_logits else probabilities(outputs, self._kind)
        values = self._loss(wanted.nan_to_num(0.0), said, known)
        if not self.weighs:
            return values
        some = (known.sum(1) > 0).to(values.dtype) * (1.0 if weight is None else weight.to(values.dtype))
        return weighted_mean((values * some).sum(), some.sum())


class Sum(nn.Module):
    """A weighted sum of losses.

    Args:
        weights: The weight of each.
        losses: The losses, called with outputs, targets and weights of images.
    """

    def __init__(self, weights: Sequence[float], losses: Sequence[nn.Module]) -> None:
        super().__init__()
        self._weights, self.losses = list(weights), nn.ModuleList(losses)

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The sum for a batch."""
        values = [
            share * (loss(outputs, target) if weight is None else loss(outputs, target, weight))
            for share, loss in zip(self._weights, self.losses, strict=True)
        ]
        total: Tensor = sum(values[1:], values[0])
        return total


class BatchSum(Sum):
    """The same where a part is one number of a whole batch, which cannot weigh images.

    Args:
        weights: The weight of each.
        losses: The losses.
        unweighing: The names of those that are one number.
    """

    def __init__(self, weights: Sequence[float], losses: Sequence[nn.Module], unweighing: Sequence[str]) -> None:
        super().__init__(weights, losses)
        self.unweighing = tuple(unweighing)

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        """The sum for a batch."""
        return super().forward(outputs, target)
