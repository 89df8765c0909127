"""Losses of numbers and of target images: squared and absolute errors, Huber and smooth L1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.learn.losses.labels import Labels, refuse_unless
from mlpipe.learn.losses.means import mean_of_known


def mse(labels: Labels) -> nn.Module:
    """Mean squared error of standardised numbers.

    Args:
        labels: Facts about the training images.
    """
    return _number_loss("mse", labels, lambda error: error**2)


def mae(labels: Labels) -> nn.Module:
    """Mean absolute error of standardised numbers.

    Args:
        labels: Facts about the training images.
    """
    return _number_loss("mae", labels, torch.abs)


def huber(labels: Labels, *, delta: Annotated[float, "> 0"] = 1.0) -> nn.Module:
    """Huber's loss (1964), torch.nn.HuberLoss: squared for small errors, linear for large ones.

    Args:
        labels: Facts about the training images.
        delta: The error at which it turns linear, in standard deviations of the target.
    """
    return _number_loss("huber", labels, lambda error: F.huber_loss(error, error * 0, reduction="none", delta=delta))


def smooth_l1(labels: Labels, *, beta: Annotated[float, "> 0"] = 1.0) -> nn.Module:
    """Smooth L1 (Girshick 2015), torch.nn.SmoothL1Loss: Huber's loss over beta.

    Args:
        labels: Facts about the training images.
        beta: The error at which it turns linear, in standard deviations of the target.
    """
    return _number_loss(
        "smooth_l1", labels, lambda error: F.smooth_l1_loss(error, error * 0, reduction="none", beta=beta)
    )


def _number_loss(name: str, labels: Labels, formula: Callable[[Tensor], Tensor]) -> nn.Module:
    refuse_unless(lambda its: its.of_numbers, name, labels)
    return Errors(formula)


class Errors(nn.Module):
    """The mean over known targets of a function of errors.

    Args:
        formula: Maps errors to values of the same shape.
    """

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._error_loss = formula

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean loss."""
        known = ~target.isnan()
        return mean_of_known(self._error_loss(outputs - target.nan_to_num(0.0)), known, weight)
