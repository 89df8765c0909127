"""Keras's random layers that are active in training only: noise, and dropout that keeps mean and variance."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mlpipe.arch.keras.layers.reading import Keys, Shape


class GaussianNoise(nn.Module):
    """Gaussian noise in training.

    Args:
        std: Its standard deviation.
        is_factor: Multiply by 1 plus the noise instead of adding it.
    """

    def __init__(self, std: float, is_factor: bool) -> None:
        super().__init__()
        self.std, self.is_factor = std, is_factor

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        if not self.training or self.std == 0:
            return x
        noise = self.std * torch.randn_like(x)
        return x * (1 + noise) if self.is_factor else x + noise


def gaussian_noise(keys: Keys, shape: Shape) -> nn.Module:
    """GaussianNoise."""
    std = keys.number("stddev")
    if std < 0:
        keys.wrong("stddev", "must be a number >= 0", got=std)
    return GaussianNoise(std, is_factor=False)


def gaussian_dropout(keys: Keys, shape: Shape) -> nn.Module:
    """GaussianDropout: factors with the variance of dropout at this rate (Srivastava et al. 2014)."""
    rate = share(keys)
    return GaussianNoise(math.sqrt(rate / (1 - rate)), is_factor=True)


def alpha_dropout(keys: Keys, shape: Shape) -> nn.Module:
    """AlphaDropout, for selu (Klambauer et al. 2017): keeps mean and variance."""
    keys.only("noise_shape")
    return nn.AlphaDropout(share(keys))


def share(keys: Keys, key: str = "rate", default: float = 0.5) -> float:
    """Return a share below 1.

    Args:
        keys: The layer's configuration.
        key: Name of the key.
        default: The value if the file has none.
    """
    rate = keys.number(key, default)
    if not 0 <= rate < 1:
        keys.wrong(key, "must be from 0 up to, not including, 1", got=rate)
    return rate
