"""Losses that are equations: they say of each output how far it is from solving one for its sample; no solution is known."""

from __future__ import annotations

from torch import Tensor, nn

from mlpipe.learn.losses.means import weighted_mean


class Equation(nn.Module):
    """The mean over samples of what an equation says of each one's output."""

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
