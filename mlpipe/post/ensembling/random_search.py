"""The random search for an ensemble: combinations of models and weights tried within a budget, reproducible by seed.

The next combination is drawn among those not yet tried without ever listing them, so that sixty models in
fives (5,461,512 combinations) cost no more memory than ten.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from mlpipe.errors import ConfigError, problem
from mlpipe.post.ensembling.mixing import mixed
from mlpipe.post.kind import Loss
from mlpipe.post.rows import Floats

_LEAST_SPREAD, _LEAST_LOSS, _MOST_CONCENTRATION = 1e-3, 1e-12, 1e6


@dataclass(frozen=True)
class BestCombination:
    """The best combination: places in the list of predictions, their weights, its loss, and how many were tried."""

    members: tuple[int, ...]
    weights: tuple[float, ...]
    loss: float
    tried: int


class Combinations:
    """All combinations of `size` out of `models` things in lexicographic order, each of which can be taken once."""

    def __init__(self, models: int, size: int) -> None:
        self.models, self.size = models, size
        self._taken_ranks: list[int] = []

    def __len__(self) -> int:
        return comb(self.models, self.size) - len(self._taken_ranks)

    def take(self, place: int) -> tuple[int, ...]:
        """Remove and return the combination at a place among those left.

        Args:
            place: From 0, below the number that are left.

        Raises:
            IndexError: There is no such place.
        """
        if not 0 <= place < len(self):
            raise IndexError(place)
        # The rank r of the place-th one left solves r = place + number of taken ranks <= r.
        low, high = 0, len(self._taken_ranks)
        while low < high:
            middle = (low + high) // 2
            if self._taken_ranks[middle] - middle <= place:
                low = middle + 1
            else:
                high = middle
        rank = place + low
        self._taken_ranks.insert(bisect_right(self._taken_ranks, rank), rank)
        return combination(rank, self.models, self.size)


def combination(rank: int, models: int, size: int) -> tuple[int, ...]:
    """Return the combination of this rank, from 0, in lexicographic order (the combinatorial number system).

    Args:
        rank: Below the number of combinations.
        models: The number of things.
        size: How many of them.
    """
    chosen: list[int] = []
    candidate = 0
    for left in range(size - 1, -1, -1):
        while rank >= (block := comb(models - candidate - 1, left)):
            rank -= block
            candidate += 1
        chosen.append(candidate)
        candidate += 1
    return tuple(chosen)


def random_search(
    predictions: Sequence[Floats],
    targets: Floats,
    loss: Loss,
    rng: np.random.Generator,
    *,
    budget: int = 1000,
    weights_budget: int = 10,
    max_ensemble_size: int = 5,
    temperature: float = 0.3,
    weights_temperature: float = 0.5,
    include_single: bool = True,
) -> BestCombination:
    """Return the combination and weights with the least loss among `budget` tries; predictions are mixed as they are.

    Models are ordered by their own loss. Each round draws a size, then, with probability `temperature`, any combination
    left, otherwise the first one; then `weights_budget` weight vectors from a Dirichlet distribution whose mean is
    proportional to 1 / loss and whose concentration is (1 - weights_temperature) times that.

    Args:
        predictions: Two or more arrays of one shape, the first axis the rows.
        targets: What `loss` compares them with.
        loss: From mixed predictions and targets to a number, less is better.
        rng: The random generator; the same state gives the same result.
        budget: How many weighted combinations to try; the last combination may exceed it.
        weights_budget: How many weights to try for each combination; 0: equal weights.
        max_ensemble_size: The largest number of members.
        temperature: From 0 (best models first) to 1 (any combination).
        weights_temperature: From 0 (weights near 1 / loss) to 1 (far from it).
        include_single: Whether each single model is a candidate too, outside the budget.

    Raises:
        ConfigError: A number is out of its range.
    """
    _check(budget, weights_budget, max_ensemble_size, temperature, weights_temperature)
    single = np.array([loss(prediction, targets) for prediction in predictions])
    order = np.argsort(single, kind="stable")
    best = BestCombination((int(order[0]),), (1.0,), float(single[order[0]]), 0)
    if not include_single:
        best = BestCombination((), (), float("inf"), 0)
    # Combinations are of places in `order`, best model first, so the first one left is the most promising; none is
    # tried twice.
    left = {size: Combinations(len(order), size) for size in range(2, min(max_ensemble_size, len(order)) + 1)}
    spread = max(1 - weights_temperature, _LEAST_SPREAD)
    tried = 0
    while tried < budget:
        sizes = [size for size, some in left.items() if len(some)]
        if not sizes:
            break
        size = int(rng.choice(sizes))
        wild = rng.random() <= temperature
        chosen = left[size].take(int(rng.integers(len(left[size]))) if wild else 0)
        members = tuple(int(order[place]) for place in chosen)
        # Weights are drawn around 1 / loss: the better a model, the larger its share, and the narrower the draws.
        alphas = np.minimum(spread / np.maximum(single[list(members)], _LEAST_LOSS), _MOST_CONCENTRATION)
        weights = rng.dirichlet(alphas, size=weights_budget) if weights_budget else np.full((1, size), 1 / size)
        parts = [predictions[member] for member in members]
        for vector in weights:
            value = loss(mixed(parts, vector), targets)
            if value < best.loss:
                best = BestCombination(members, tuple(vector.tolist()), value, 0)
        tried += len(weights)
    return BestCombination(best.members, best.weights, best.loss, tried)


def _check(budget: int, weights_budget: int, max_ensemble_size: int, temperature: float, wide: float) -> None:
    rules = [
        ("budget", budget, budget >= 1, "must be 1 or more"),
        ("weights_budget", weights_budget, weights_budget >= 0, "must be 0 or more"),
        ("max_ensemble_size", max_ensemble_size, max_ensemble_size >= 1, "must be 1 or more"),
        ("temperature", temperature, 0 <= temperature <= 1, "must be from 0 to 1"),
        ("weights_temperature", wide, 0 <= wide <= 1, "must be from 0 to 1"),
    ]
    wrong = [problem(f"mode.{key}", rule, got=value, fix="change it") for key, value, right, rule in rules if not right]
    if wrong:
        raise ConfigError(wrong)
