"""Plot of a learning rate range test in the style of Musket's finder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlpipe.errors import DataError, problem


@dataclass(frozen=True)
class Finder:
    """The curve of a range test.

    Attributes:
        lrs: The learning rates.
        losses: The loss of each step.
    """

    lrs: list[float]
    losses: list[float]

    def plot_loss(self, n_skip_beginning: int = 10, n_skip_end: int = 5) -> Any:
        """Plot the loss against the learning rate on the current axes.

        Args:
            n_skip_beginning: Number of steps to skip at the beginning.
            n_skip_end: Number of steps to skip at the end.
        """
        return self._plot(self.losses, "loss", n_skip_beginning, n_skip_end)

    def plot_loss_change(
        self,
        sma: int = 1,
        n_skip_beginning: int = 10,
        n_skip_end: int = 5,
        y_lim: tuple[float, float] = (-0.01, 0.01),
    ) -> Any:
        """Plot the change of the loss against the learning rate on the current axes.

        Args:
            sma: Number of steps over which the change is averaged.
            n_skip_beginning: Number of steps to skip at the beginning.
            n_skip_end: Number of steps to skip at the end.
            y_lim: Limits of the y axis.
        """
        axes = self._plot(self.loss_change(sma), "rate of loss change", n_skip_beginning, n_skip_end)
        axes.set_ylim(*y_lim)
        return axes

    def loss_change(self, sma: int = 1) -> list[float]:
        """Return the mean change of the loss over `sma` steps; zero for the first ones.

        Raises:
            DataError: When sma is less than 1.
        """
        if sma < 1:
            raise DataError(problem("sma", "must be at least 1", got=sma, fix="use 1"))
        later = [(now - before) / sma for before, now in zip(self.losses, self.losses[sma:], strict=False)]
        return [0.0] * min(sma, len(self.losses)) + later

    def _plot(self, values: Sequence[float], label: str, first: int, last: int) -> Any:
        import matplotlib.pyplot as plt

        end = len(self.lrs) - last
        axes = plt.gca()
        axes.plot(self.lrs[first:end], values[first:end])
        axes.set(xscale="log", xlabel="learning rate (log scale)", ylabel=label)
        return axes
