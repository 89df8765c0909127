"""Activations by their Keras names, in any case: as a layer, as `Activation`, or inside another layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mlpipe.errors import ConfigError, did_you_mean, problem


@dataclass(frozen=True)
class Activation:
    """A function of a tensor with channels in its second axis.

    Attributes:
        name: Its name in `NAMES`.
        function: The function.
    """

    name: str
    function: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """Return the activated tensor."""
        return self.function(x)


def linear(x: Tensor) -> Tensor:
    """Return the tensor itself."""
    return x


def old_hard_sigmoid(x: Tensor) -> Tensor:
    """Hard sigmoid of Keras 2: 0.2 x + 0.5, clipped to 0 and 1."""
    return (0.2 * x + 0.5).clamp(0, 1)


def relu(x: Tensor, *, most: float | None, slope: float, threshold: float) -> Tensor:
    """General ReLU of Keras: x above the threshold, slope (x - threshold) below it, at most `most`."""
    if threshold == 0 and slope == 0:
        return F.relu(x) if most is None else x.clamp(0, most)
    y = torch.where(x >= threshold, x, slope * (x - threshold))
    return y if most is None else y.clamp(max=most)


# By name without underscores.
NAMES: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": linear,
    "relu": F.relu,
    "relu6": F.relu6,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "sigmoid": torch.sigmoid,
    "hardsigmoid": F.hardsigmoid,
    "tanh": torch.tanh,
    "hardtanh": F.hardtanh,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "silu": F.silu,
    "hardsilu": F.hardswish,
    "mish": F.mish,
    "celu": F.celu,
    "exponential": torch.exp,
    "softmax": partial(torch.softmax, dim=1),
    "logsoftmax": partial(torch.log_softmax, dim=1),
    "logsigmoid": F.logsigmoid,
    "leakyrelu": partial(F.leaky_relu, negative_slope=0.2),
    "tanhshrink": F.tanhshrink,
}
_SYNONYMS = {"swish": "silu", "hardswish": "hardsilu", "logsoftmaxv2": "logsoftmax", "softmaxv2": "softmax"}


def named(value: Any, place: str, keras: int = 3) -> Activation:
    """Return the activation with a Keras name.

    `leaky_relu`, the function's name, has a slope of 0.2; `LeakyReLU`, the layer's name, one of 0.3, as in Keras.

    Args:
        value: A name, or Keras's mapping for one.
        place: The key, for error messages.
        keras: The major version of Keras: version 2's `hard_sigmoid` is steeper.

    Raises:
        ConfigError: When there is no such activation.
    """
    if isinstance(value, Mapping):
        config = value.get("config")
        inside = config.get("name") if isinstance(config, Mapping) else config
        value = inside if value.get("class_name") in ("function", "Function") else value.get("class_name")
        if isinstance(config, Mapping) and set(config) - {"name", "dtype", "trainable"}:
            raise ConfigError(problem(place, "must be a name", got=value, fix="use a layer of its own for its options"))
    key = canonical(value) if isinstance(value, str) else ""
    if key not in NAMES:
        fix = did_you_mean(str(value), NAMES, otherwise="use one such as relu")
        raise ConfigError(problem(place, "unknown activation", got=value, fix=fix))
    if key == "hardsigmoid" and keras == 2:
        return Activation(key, old_hard_sigmoid)
    if key == "leakyrelu" and "_" not in str(value):
        return Activation(key, partial(F.leaky_relu, negative_slope=0.3))
    return Activation(key, NAMES[key])


def canonical(name: str) -> str:
    """Return the spelling of a name in `NAMES`, or the name itself if it is not there."""
    plain = name.split(">")[-1].replace("_", "").lower()
    return _SYNONYMS.get(plain, plain)
