"""Greedy choice of the models whose weights are averaged (Wortsman et al. 2022, "Model soups", recipe 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Places of models, in the order in which they were taken, to the loss of the mean of their weights.
Loss = Callable[[tuple[int, ...]], float]


@dataclass(frozen=True)
class Soup:
    """Models whose weights are averaged.

    Attributes:
        members: Their places, the best one first.
        loss: The loss of the mean.
        tried: Every set that was judged, with its loss, in order: first each model alone.
    """

    members: tuple[int, ...]
    loss: float
    tried: tuple[tuple[tuple[int, ...], float], ...]


def greedy(alone: Sequence[float], loss: Loss) -> Soup:
    """Begin with the best model, and take each next one, the better ones first, where the mean with it is no worse.

    Args:
        alone: The loss of each model on rows that none of them learned from.
        loss: That of the mean of several; NaN is worse than any.

    Returns:
        The models; the best alone where no mean is as good.
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
