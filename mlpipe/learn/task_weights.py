"""Weights of the losses of tasks that are trained together: given, or a learned uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mlpipe import kinds as kinds_of_tasks

UNCERTAINTY = "uncertainty"
_LOG_VARIANCES = "log_variances"

Weights = tuple[float, ...] | Literal["uncertainty"]


@dataclass(frozen=True)
class TaskWeights:
    """The weights of tasks that are trained together, the pivot first.

    Attributes:
        names: The tasks' names, for the history.
        kinds: The kind of each task.
        weights: The weight of each loss; or learned weights, `uncertainty`.
    """

    names: Sequence[str]
    kinds: Sequence[str]
    weights: Weights

    def weighed(self, losses: Tensor, network: nn.Module, once: float = 1.0) -> Tensor:
        """Return the total loss of all tasks.

        Args:
            losses: The mean loss of each task, shape (tasks,).
            network: The network that holds learned weights.
            once: As for `uncertainty`.
        """
        if self.weights == UNCERTAINTY:
            return uncertainty(losses, getattr(network, _LOG_VARIANCES), self.kinds, once)
        return (losses * losses.new_tensor(self.weights)).sum()

    def row(self, losses: Sequence[float], network: nn.Module) -> dict[str, float]:
        """Return the history's columns of an epoch: the mean loss of each task, and learned weights as log variances."""
        columns = {f"train/loss:{name}": value for name, value in zip(self.names, losses, strict=True)}
        if self.weights == UNCERTAINTY:
            learned = zip(self.names, log_variances(network), strict=True)
            columns |= {f"log_variance:{name}": value for name, value in learned}
        return columns


def uncertainty(losses: Tensor, log_variance: Tensor, kinds: Sequence[str], once: float = 1.0) -> Tensor:
    """Return the loss of several tasks with learned weights (Kendall, Gal & Cipolla 2018, equations 7 and 10).

    With s = log(sigma^2): exp(-s) L / 2 + s / 2 for numbers, exp(-s) L + s / 2 for classes and labels.

    Args:
        losses: The mean loss of each task, shape (tasks,).
        log_variance: s of each task, shape (tasks,).
        kinds: The kind of each task.
        once: Factor of s / 2, a term that occurs only once in a step of several batches.
    """
    factor = losses.new_tensor([1.0 if kinds_of_tasks.of(kind).has_probabilities else 0.5 for kind in kinds])
    return (factor * torch.exp(-log_variance) * losses + log_variance / 2 * once).sum()


def log_variances(network: nn.Module) -> list[float]:
    """Return the learned log variances of a network's tasks, the pivot's first."""
    values: Tensor = getattr(network, _LOG_VARIANCES)
    return [float(value) for value in values.detach().cpu()]


def with_log_variances(network: nn.Module, tasks: int) -> nn.Module:
    """Return the network with learned weights for `tasks` tasks."""
    network.register_parameter(_LOG_VARIANCES, nn.Parameter(torch.zeros(tasks)))
    return network
