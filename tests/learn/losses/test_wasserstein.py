"""Whose turn it is, what each part learns by, and what holds the critic's slope."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from mlpipe.arch.gan import Gan, seeds_of
from mlpipe.errors import ConfigError
from mlpipe.learn.losses.labels import Labels
from mlpipe.learn.losses.wasserstein import Wasserstein, wasserstein
from tests.arch.test_gan import images, made

LABELS = Labels("classification", torch.zeros(2, dtype=torch.long), 8)


def test_turns_follow_steps() -> None:
    loss, network = Wasserstein(3, 10.0, None), made()
    turns = []
    for step in range(9):
        loss.before_step(network, step)
        turns.append(network.generators_turn)
    assert turns == [False, False, False, True, False, False, False, True, False]


def test_the_critic_and_the_generator_pull_in_opposite_directions() -> None:
    loss, network = Wasserstein(1, 10.0, None), made()
    outputs, target = torch.tensor([[3.0, 1.0, 0.5], [5.0, 2.0, 0.1]]), torch.zeros(2)
    loss.before_step(network, 0)
    assert float(loss(outputs, target)) == pytest.approx(1.5 - 4 + 10 * 0.3)
    loss.before_step(network, 1)
    assert float(loss(outputs, target)) == pytest.approx(-1.5)
    assert loss.of_epoch() == pytest.approx({"loss": 1.5 - 4 + 3, "critic_gap": 2.5, "penalty": 0.3})
    assert loss.of_epoch() == {}


def test_bounded_weights_have_no_penalty() -> None:
    loss, network = wasserstein(LABELS, penalty=0.0, clip=0.01), made()
    loss.before_step(network, 0)  # type: ignore[operator]
    loss(network(images(4))["target"], torch.zeros(4))
    assert network.bound == 0.01 and not network.penalized
    assert set(loss.of_epoch()) == {"loss", "critic_gap"}  # type: ignore[operator]


@pytest.mark.parametrize(("penalty", "clip", "words"), [(0.0, None, "nothing holds"), (10.0, 0.01, "bounded by 0.01")])
def test_one_thing_holds_the_slope(penalty: float, clip: float | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        wasserstein(LABELS, penalty=penalty, clip=clip)


def _mixture_cdf(x: np.ndarray) -> np.ndarray:
    return np.asarray(0.3 * stats.norm.cdf(x, -2, 0.3) + 0.7 * stats.norm.cdf(x, 1, 0.3))


def _distance_to_mixture(drawn: np.ndarray) -> float:
    """The Wasserstein distance of numbers to the mixture: the area between the distribution functions."""
    x = np.linspace(-12, 12, 24001)
    empirical = np.searchsorted(np.sort(drawn), x, side="right") / len(drawn)
    return float(np.trapezoid(np.abs(empirical - _mixture_cdf(x)), x))


@pytest.mark.program
def test_two_modes_of_unequal_weight_are_learned() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)

    def layers(given: int) -> nn.Sequential:
        parts = [nn.Flatten(), nn.Linear(given, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2)]
        return nn.Sequential(*parts, nn.Linear(64, 1))

    generator = nn.Sequential(layers(4), nn.Unflatten(1, (1, 1, 1)))
    network = Gan(generator, layers(1), nn.Flatten(), 4, (1, 1, 1), 1.0, signed=False, target="target")
    loss = Wasserstein(critic_steps=5, penalty=1.0, clip=None)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, betas=(0.0, 0.9))
    seeds = seeds_of(1, 5000)
    before = _distance_to_mixture(network.draw(seeds).numpy().ravel())
    for step in range(6 * 800):
        numbers = np.where(rng.random(256) < 0.3, -2.0, 1.0) + 0.3 * rng.standard_normal(256)
        network.train()
        loss.before_step(network, step)
        optimizer.zero_grad(set_to_none=True)
        real = torch.from_numpy(numbers.astype(np.float32)).view(-1, 1, 1, 1)
        loss(network(real)["target"], real).backward()
        optimizer.step()
    drawn = network.draw(seeds).numpy().ravel()
    assert before > 0.9 and _distance_to_mixture(drawn) < 0.35
    # Both modes are there, about as often as they are true.
    assert 0.15 < (drawn < -0.5).mean() < 0.45
