"""Losses between every output and its class as 0 or 1, for networks that end in a softmax, a sigmoid or nothing."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.losses import Labels


def elementwise(
    labels: Labels,
    *,
    of: Literal["bce", "squared_error", "focal"] = "bce",
    outputs: Literal["softmax", "sigmoid", "linear"] = "softmax",
    gamma: Annotated[float, ">= 0"] = 2.0,
) -> nn.Module:
    """The mean over images and outputs of a loss between p, what outputs become, and t, 1 for the image's class, else 0.

    Args:
        labels: What is known of the training images.
        of: `bce` (torch.nn.BCELoss), `squared_error`, or `focal` (Lin et al. 2017), (1 - q)^gamma times the former, q being
            p where t is 1 and 1 - p where it is 0.
        outputs: What the network's outputs become.
        gamma: For `focal`.

    Raises:
        ConfigError: For tasks of other kinds, and for bce and focal of what is no probability.
    """
    if labels.kind != "classification":
        fix = "use loss=auto"
        raise ConfigError(problem("loss", f"elementwise is for classification, this task is {labels.kind}", fix=fix))
    if outputs == "linear" and of != "squared_error":
        fix = "use softmax or sigmoid"
        raise ConfigError(problem("loss.outputs", f"{of} takes probabilities", got=outputs, fix=fix))
    return _Elementwise(of, outputs, gamma)


class _Elementwise(nn.Module):
    def __init__(self, of: str, outputs: str, gamma: float) -> None:
        super().__init__()
        self._of, self._outputs, self._gamma = of, outputs, gamma

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        wanted = F.one_hot(target, outputs.shape[1]).to(outputs.dtype) if target.ndim == 1 else target
        values = self._values(outputs, wanted).mean(1)
        return values.mean() if weight is None else (values * weight).sum() / weight.sum().clamp(min=1e-12)

    def _values(self, outputs: Tensor, wanted: Tensor) -> Tensor:
        if self._of == "squared_error":
            return (self._probabilities(outputs) - wanted) ** 2
        if self._outputs == "sigmoid":
            values = F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none")
        else:
            values = F.binary_cross_entropy(outputs.softmax(1), wanted, reduction="none")
        if self._of == "bce":
            return values
        p = self._probabilities(outputs)
        return values * (1 - (p * wanted + (1 - p) * (1 - wanted))) ** self._gamma

    def _probabilities(self, outputs: Tensor) -> Tensor:
        match self._outputs:
            case "softmax":
                return outputs.softmax(1)
            case "sigmoid":
                return outputs.sigmoid()
        return outputs
