"""Greedy choice of the models whose weights are averaged (Wortsman et al. 2022, "Model soups", recipe 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# The loss of the mean weights of models, given their places in the order in which they were added.
Loss = Callable[[tuple[int, ...]], float]


@dataclass(frozen=True)
class Soup:
    """Models whose weights are averaged.

    Attributes:
        members: Their places, the best one first.
        loss: The loss of the mean.
        tried: Every set that was tried, with its loss, in order: first each model alone.
    """

    members: tuple[int, ...]
    loss: float
    tried: tuple[tuple[tuple[int, ...], float], ...]


def greedy(alone: Sequence[float], loss: Loss) -> Soup:
    """Start with the best model, and add each next best one if the mean with it is no worse.

    Args:
        alone: The loss of each model on rows that none of them learned from.
        loss: The loss of the mean of several models; NaN is worse than any.

    Returns:
        The models; only the best one if no mean is as good.
    """
    order = sorted(range(len(alone)), key=lambda place: (alone[place] != alone[place], alone[place]))
    tried: list[tuple[tuple[int, ...], float]] = [((place,), alone[place]) for place in order]
    members, best = tried[0]
    for place in order[1:]:
        more = (*members, place)
        mixed_loss = loss(more)
        tried.append((more, mixed_loss))
        if mixed_loss <= best:
            members, best = more, mixed_loss
    return Soup(members, best, tuple(tried))
