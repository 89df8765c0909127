"""The random search is the loop of the reference, and its combinations are those of a list."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.post.ensembling.mixing import cross_entropy
from mlpipe.post.ensembling.random_search import Combinations, combination, random_search
from tests.post.drawing import models


def plain_search(predictions, targets, rng, *, budget, weights_budget, size, temperature, weights_temperature):
    """The reference's loop: every combination in a list, one loss at a time."""
    single = [cross_entropy(one, targets) for one in predictions]
    order = [int(place) for place in np.argsort(single, kind="stable")]
    lists = {k: list(itertools.combinations(order, k)) for k in range(2, size + 1)}
    best = (None, None, float("inf"))
    while budget > 0 and any(lists.values()):
        k = rng.choice([k for k, some in lists.items() if some])
        place = 0 if rng.random() > temperature else rng.integers(len(lists[k]))
        members = lists[k].pop(place)
        if weights_budget:
            alphas = max(1 - weights_temperature, 1e-3) / np.array([single[m] for m in members])
            draws = rng.dirichlet(alphas, size=weights_budget)
        else:
            draws = [np.full(k, 1 / k)]
        for weights in draws:
            loss = cross_entropy(sum(w * predictions[m] for w, m in zip(weights, members, strict=True)), targets)
            if loss < best[2]:
                best = (members, weights, loss)
            budget -= 1
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_search_is_the_plain_loop(seed: int) -> None:
    predictions, targets = models(seed)
    settings = {
        "budget": [40, 200, 7][seed % 3],
        "weights_budget": [10, 3, 0][seed % 3],
        "temperature": [0.3, 0.0, 1.0, 0.7][seed % 4],
        "weights_temperature": [0.5, 0.0, 1.0][(seed // 3) % 3],
    }
    size = 2 + seed % 4
    rng = np.random.default_rng(seed)
    members, weights, loss = plain_search(predictions, targets, rng, size=size, **settings)
    again = np.random.default_rng(seed)
    found = random_search(
        predictions, targets, cross_entropy, again, max_ensemble_size=size, include_single=False, **settings
    )
    assert found.members == members
    assert found.weights == pytest.approx(weights, abs=1e-14)
    assert found.loss == pytest.approx(loss, abs=1e-12)
    assert again.random() == rng.random()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 1000))
def test_combinations_are_taken_as_from_a_list(things: int, size: int, seed: int) -> None:
    if size > things:
        return
    rng = np.random.default_rng(seed)
    plain, lazy = list(itertools.combinations(range(things), size)), Combinations(things, size)
    assert [combination(rank, things, size) for rank in range(len(plain))] == plain
    while plain:
        assert len(lazy) == len(plain)
        place = int(rng.integers(len(plain)))
        assert lazy.take(place) == plain.pop(place)
    with pytest.raises(IndexError):
        lazy.take(0)


def test_many_models_need_no_lists() -> None:
    """F3: all combinations of 60 models were in memory."""
    lazy = Combinations(60, 5)
    assert len(lazy) == math.comb(60, 5) == 5_461_512
    assert lazy.take(len(lazy) - 1) == (55, 56, 57, 58, 59)
    assert lazy.take(len(lazy) - 1) == (54, 56, 57, 58, 59)


def test_weights_are_drawn_around_one_over_the_loss() -> None:
    """The reference's Dirichlet, checked by its mean for losses .2, .4, .8."""
    alphas = 0.5 / np.array([0.2, 0.4, 0.8])
    assert np.random.default_rng(0).dirichlet(alphas, size=20_000).mean(axis=0) == pytest.approx(
        [0.570, 0.286, 0.145], abs=0.006
    )
