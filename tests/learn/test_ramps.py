"""Ramps of the learning rate, Keras's plateau and the cycle in steps, against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CyclicLR

from mlpipe.errors import ConfigError
from mlpipe.learn import lr_schedulers, ramps
from mlpipe.learn.lr_schedulers import Clock


def optimizer(lr: float = 0.1) -> SGD:
    """An optimizer of one number."""
    return SGD([torch.zeros(1, requires_grad=True)], lr=lr)


def rates(one: SGD, schedule: object, steps: int) -> list[float]:
    """The rates of so many steps."""
    found = []
    for _ in range(steps):
        found.append(one.param_groups[0]["lr"])
        one.step()
        schedule.step()  # type: ignore[attr-defined]
    return found


def test_a_linear_ramp_follows_the_step_before() -> None:
    one = optimizer(0.1)
    schedule = lr_schedulers.variator(one, Clock(10, 1), from_lr=1.0, to_lr=2.0, steps=5)
    # The first step has the optimizer's rate; after batch b of the ramp the rate is 1 + b/4; then it stays.
    assert rates(one, schedule, 8) == pytest.approx([0.1, 1.0, 1.25, 1.5, 1.75, 2.0, 2.0, 2.0])


def test_a_ramp_repeats_and_another_follows() -> None:
    rate = ramps.rates({"from_lr": 0, "to_lr": 1, "steps": 2, "period_steps": 4}, 0.5, 4, 100)
    assert [rate(tick) for tick in range(8)] == pytest.approx([0.5, 0, 1, 1, 1, 0, 1, 1])
    rate = ramps.rates(
        {"from_lr": 0, "to_lr": 1, "steps": 2, "then": {"from_lr": 5, "to_lr": 6, "steps": 2}}, 0.5, 4, 9
    )
    assert [rate(tick) for tick in range(6)] == pytest.approx([0.5, 0, 1, 5, 6, 6])


def test_lengths_in_epochs_are_rounded_as_halves_up() -> None:
    rate = ramps.rates({"from_lr": 0, "to_lr": 1, "epochs": 0.5}, 1, 5, 100)
    assert [rate(tick) for tick in range(5)] == pytest.approx([1, 0, 0.5, 1, 1])


@pytest.mark.parametrize(
    ("style", "half"),
    [
        ("linear", 0.5),
        ("const", 0.0),
        ("sin", math.sin(math.pi / 4)),
        ("sin-", 1 - math.sin(math.pi / 4)),
        ("cos", math.cos(math.pi / 4)),
        ("cos+", 1 - math.cos(math.pi / 4)),
        (2, 0.25),
    ],
)
def test_curves(style: str | float, half: float) -> None:
    assert ramps.curve(style)(0.5) == pytest.approx(half)


@pytest.mark.parametrize("given", [{"style": "sine"}, {"steps": 1, "epochs": 1}, {"then": {"to": 1}, "steps": 1}])
def test_wrong_ramps_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="lr_scheduler"):
        ramps.rates(given, 0.1, 4, 10)


@pytest.mark.parametrize(("policy", "gamma"), [("triangular", 1.0), ("triangular2", 1.0), ("exp_range", 0.99)])
def test_a_cycle_in_steps_is_that_of_torch(policy: str, gamma: float) -> None:
    ours, theirs = optimizer(0.006), optimizer(0.006)
    schedule = lr_schedulers.cyclic(
        ours,
        Clock(7, 5),
        min_ratio=0.001 / 0.006,
        up_steps=5,
        policy=policy,
        gamma=gamma,  # type: ignore[arg-type]
    )
    mode: object = policy
    other = CyclicLR(theirs, 0.001, 0.006, step_size_up=5, mode=mode, gamma=gamma, cycle_momentum=False)  # type: ignore[arg-type]
    assert rates(ours, schedule, 30) == pytest.approx(rates(theirs, other, 30))


def keras_plateau(values: list[float], factor: float, patience: int, cooldown: int, min_delta: float) -> list[float]:
    """Keras 2's ReduceLROnPlateau (mode min), as its source defines it: the rate after each epoch."""
    rate, best, wait, cooling = 1.0, math.inf, 0, 0
    found = []
    for value in values:
        if cooling > 0:
            cooling, wait = cooling - 1, 0
        if value < best - min_delta:
            best, wait = value, 0
        elif cooling <= 0:
            wait += 1
            if wait >= patience:
                rate, cooling, wait = rate * factor, cooldown, 0
        found.append(rate)
    return found


@pytest.mark.parametrize("patience", [1, 2, 3, 5])
@pytest.mark.parametrize("cooldown", [0, 1, 2, 4])
def test_one_less_of_patience_and_cooldown_is_keras_counting(patience: int, cooldown: int) -> None:
    generator = torch.Generator().manual_seed(patience * 10 + cooldown)
    values = [1.0, *[0.9] * 7, *[0.8] * 4, *torch.rand(60, generator=generator).add(0.5).tolist()]
    one = optimizer(1.0)
    schedule = lr_schedulers.plateau(
        one, Clock(1, 99), factor=0.5, patience=patience - 1, cooldown=max(cooldown - 1, 0), threshold_mode="abs"
    )
    found = []
    for value in values:
        schedule.step(value)
        found.append(one.param_groups[0]["lr"])
    wanted = keras_plateau(values, 0.5, patience, cooldown, 1e-4)
    # torch leaves changes of the rate below 1e-8 out.
    assert found == pytest.approx(wanted, abs=1e-7)


def test_the_worked_example() -> None:
    one = optimizer(1.0)
    schedule = lr_schedulers.plateau(one, Clock(1, 99), factor=0.5, patience=1, threshold_mode="abs")
    found = []
    for value in [1, *[0.9] * 7, *[0.8] * 4]:
        schedule.step(value)
        found.append(one.param_groups[0]["lr"])
    assert found == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.125, 0.0625, 0.0625]
