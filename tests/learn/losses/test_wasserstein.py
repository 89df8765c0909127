"""Whose turn it is, what each part learns by, and what holds the critic's slope."""

from __future__ import annotations

import pytest
import torch

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
