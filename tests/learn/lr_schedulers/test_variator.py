"""Ramps of the learning rate, Keras's plateau and the cycle in steps, against their definitions."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CyclicLR

from mlpipe.errors import ConfigError
from mlpipe.learn.lr_schedulers import cycle, plateau, variator
from mlpipe.learn.lr_schedulers.clock import Clock


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
    schedule = variator.variator(one, Clock(10, 1), from_lr=1.0, to_lr=2.0, steps=5)
    # The first step has the optimizer's rate; after batch b of the ramp the rate is 1 + b/4; then it stays.
    assert rates(one, schedule, 8) == pytest.approx([0.1, 1.0, 1.25, 1.5, 1.75, 2.0, 2.0, 2.0])


def test_a_ramp_repeats_and_another_follows() -> None:
    rate = variator.rates({"from_lr": 0, "to_lr": 1, "steps": 2, "period_steps": 4}, 0.5, 4, 100)
    assert [rate(tick) for tick in range(8)] == pytest.approx([0.5, 0, 1, 1, 1, 0, 1, 1])
    rate = variator.rates(
        {"from_lr": 0, "to_lr": 1, "steps": 2, "then": {"from_lr": 5, "to_lr": 6, "steps": 2}}, 0.5, 4, 9
    )
    assert [rate(tick) for tick in range(6)] == pytest.approx([0.5, 0, 1, 5, 6, 6])


def test_a_ramp_that_follows_begins_where_the_one_before_ended() -> None:
    rate = variator.rates({"from_lr": 0, "to_lr": 1, "steps": 2, "then": {"to_lr": 3, "steps": 3}}, 0.5, 4, 9)
    assert [rate(tick) for tick in range(7)] == pytest.approx([0.5, 0, 1, 1, 2, 3, 3])


def in_epochs(one: SGD, schedule: Any, steps: int, values: list[float]) -> list[list[float]]:
    """The rates of every step, by epoch; the schedule looks at a value after each."""
    found = []
    for value in values:
        found.append(rates(one, schedule, steps))
        plateau.look(schedule, value)
    return found


def keras_rates(steps: int, values: list[float], gate: int | None) -> list[list[float]]:
    """A ramp from 1 to 2 over two epochs and Keras's plateau (patience 1, factor .5), as callbacks of Keras would do it."""
    rate, best, step, found = 0.1, math.inf, 0, []
    for value in values:
        epoch = []
        for _ in range(steps):
            epoch.append(rate)
            if step < 2 * steps:
                rate = 1 + step / (2 * steps - 1)
            step += 1
        found.append(epoch)
        if gate is not None and step <= gate:
            continue
        if value < best - 1e-4:
            best = value
        else:
            rate *= 0.5
    return found


@pytest.mark.parametrize("start", ["start", "end"])
def test_a_plateau_lowers_what_a_ramp_left(start: Literal["start", "end"]) -> None:
    one, values = optimizer(0.1), [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.4]
    lowered: plateau.Plateau = {"patience": 0, "factor": 0.5, "threshold_mode": "abs"}
    clock = Clock(3, len(values))
    schedule = variator.variator(one, clock, from_lr=1.0, to_lr=2.0, epochs=2, plateau=lowered, plateau_from=start)
    found = in_epochs(one, schedule, 3, values)
    for ours, theirs in zip(found, keras_rates(3, values, 6 if start == "end" else None), strict=True):
        assert ours == pytest.approx(theirs)
    # The rate of the third epoch: from the start on the second one was no better, from the end on nobody looked.
    assert found[2][0] == pytest.approx(1.0 if start == "start" else 2.0)


def test_in_every_period_a_plateau_waits_for_the_ramp() -> None:
    one = optimizer(1.0)
    lowered: plateau.Plateau = {"patience": 0, "factor": 0.5, "threshold_mode": "abs"}
    schedule = variator.variator(one, Clock(2, 9), from_lr=1, to_lr=2, epochs=1, period_epochs=3, plateau=lowered)
    found = in_epochs(one, schedule, 2, [1.0] * 7)
    # The last epochs of a period look: the first one is the best so far, those after it are no better.
    assert [epoch[0] for epoch in found] == pytest.approx([1.0, 2.0, 2.0, 1.0, 2.0, 1.0, 0.5])


@pytest.mark.parametrize("stop", range(1, 7))
def test_a_ramp_and_a_plateau_go_on_from_a_saved_state(stop: int) -> None:
    values = [1.0, 1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]
    lowered: plateau.Plateau = {"patience": 1, "factor": 0.5, "cooldown": 1, "threshold_mode": "abs"}

    def begin() -> tuple[SGD, Any]:
        one = optimizer(0.1)
        return one, variator.variator(one, Clock(3, 8), from_lr=1.0, epochs=1, plateau=lowered)

    whole = in_epochs(*begin(), 3, values)
    one, schedule = begin()
    before = in_epochs(one, schedule, 3, values[:stop])
    kept = json.loads(json.dumps([one.state_dict(), schedule.state_dict()]))
    one, schedule = begin()
    one.load_state_dict(kept[0])
    schedule.load_state_dict(kept[1])
    assert before + in_epochs(one, schedule, 3, values[stop:]) == whole


def test_layers_keep_their_shares_of_the_rate() -> None:
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (0.1, 0.05)]
    one = SGD(groups)
    schedule = variator.variator(one, Clock(2, 3), from_lr=1.0, to_lr=2.0, epochs=1, plateau={"patience": 0})
    for _ in range(2):
        one.step()
        schedule.step()
    assert [group["lr"] for group in one.param_groups] == pytest.approx([2.0, 1.0])


def test_lengths_in_epochs_are_rounded_as_halves_up() -> None:
    rate = variator.rates({"from_lr": 0, "to_lr": 1, "epochs": 0.5}, 1, 5, 100)
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
    assert variator.curve(style)(0.5) == pytest.approx(half)


@pytest.mark.parametrize(
    "given", [{"style": "sine"}, {"steps": 1, "epochs": 1}, {"steps": 1, "then": {"style": "sine"}}]
)
def test_wrong_ramps_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="lr_scheduler"):
        variator.rates(given, 0.1, 4, 10)


@pytest.mark.parametrize(("policy", "gamma"), [("triangular", 1.0), ("triangular2", 1.0), ("exp_range", 0.99)])
def test_a_cycle_in_steps_is_that_of_torch(policy: str, gamma: float) -> None:
    ours, theirs = optimizer(0.006), optimizer(0.006)
    schedule = cycle.cyclic(
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
    schedule = plateau.plateau(
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
    schedule = plateau.plateau(one, Clock(1, 99), factor=0.5, patience=1, threshold_mode="abs")
    found = []
    for value in [1, *[0.9] * 7, *[0.8] * 4]:
        schedule.step(value)
        found.append(one.param_groups[0]["lr"])
    assert found == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.125, 0.0625, 0.0625]
