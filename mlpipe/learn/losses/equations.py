"""Losses that are equations: they say of each output how far it is from solving one for its sample; no solution is known."""

from __future__ import annotations

from torch import Tensor, nn

from mlpipe import kinds
from mlpipe.config.components import Component
from mlpipe.learn.losses.means import weighted_mean


class Equation(nn.Module):
    """The mean over samples of what an equation says of each one's output.

    The function of `conf/loss` that builds one is annotated to return it: so a run is known to solve an equation.
    """

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean of the samples.

        Args:
            outputs: What the network gives, as for `of_samples`.
            target: What it is solved for.
            weight: How much each sample counts, shape (n,).

        Raises:
            ValueError: When the shapes do not fit.
        """
        each = self.of_samples(outputs, target)
        if weight is None:
            return each.mean()
        share = weight.to(each.dtype)
        return weighted_mean((each * share).sum(), share.sum())

    def of_samples(self, outputs: Tensor, target: Tensor) -> Tensor:
        """What the equation says of each sample, shape (n,); less is better.

        Args:
            outputs: What the network gives, shape (n, 1, ...).
            target: What it is solved for, shape (n, 1, ...).

        Raises:
            ValueError: When the shapes do not fit.
        """
        raise NotImplementedError


class EvolutionEquation(Equation):
    """An equation over time: samples are its initial values, one row, and the network decides at how many times it solves it."""


def is_over_time(task_kind: str, loss: Component) -> bool:
    """Whether a run solves an equation over time.

    Args:
        task_kind: `task.kind`.
        loss: The recipe's.
    """
    return kinds.decide(task_kind, loss) != task_kind and EvolutionEquation.__name__ in loss.gives
