"""Schedules against torch's own; warm-up; what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)

from mlpipe.errors import ConfigError
from mlpipe.learn.lr_schedulers import schedules
from mlpipe.learn.lr_schedulers.schedules import Clock

CLOCK = Clock(steps_per_epoch=5, epochs=8)


def fresh() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)


def rates(schedule: Any, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return found


def test_cosine_is_torchs() -> None:
    for interval, ticks in (("step", 40), ("epoch", 8)):
        own = rates(schedules.cosine(fresh(), CLOCK, interval=interval), ticks)  # type: ignore[arg-type]
        assert own == pytest.approx(rates(CosineAnnealingLR(fresh(), T_max=ticks), ticks), abs=1e-12)


def test_step_is_torchs() -> None:
    own = rates(schedules.step(fresh(), CLOCK, step_epochs=3, gamma=0.5), 8)
    assert own == pytest.approx(rates(StepLR(fresh(), step_size=3, gamma=0.5), 8))


def test_warm_up_rises_in_equal_steps_then_hands_over() -> None:
    own = rates(schedules.cosine(fresh(), CLOCK, warmup_epochs=1.0, min_ratio=0.1), 40)
    assert own[:6] == pytest.approx([0.1 * k / 6 for k in (1, 2, 3, 4, 5)] + [0.1])
    assert own[6:] == sorted(own[6:], reverse=True)
    assert own[-1] == pytest.approx(0.01, rel=0.1)
    assert set(rates(schedules.none(fresh(), CLOCK), 40)) == {0.1}


def test_one_cycle_peaks_at_the_optimizers_rate() -> None:
    own = rates(schedules.one_cycle(fresh(), CLOCK), 39)
    assert max(own) == pytest.approx(0.1, rel=0.02)
    assert own[0] == pytest.approx(0.1 / 25)


def test_plateau_follows_the_direction() -> None:
    clock = Clock(5, 8, "max")
    schedule = schedules.plateau(fresh(), clock, patience=0)
    for value in (0.5, 0.6, 0.55):
        schedule.step(value)
    assert schedule.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


def test_a_warm_up_longer_than_the_training_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lr_scheduler.warmup_epochs: is longer than the training, got 9"):
        schedules.cosine(fresh(), CLOCK, warmup_epochs=9)


def test_one_cycle_by_steps_is_torchs() -> None:
    """F12: one_cycle named a key that was not there, and stepped by epochs."""
    from torch.optim.lr_scheduler import OneCycleLR

    own = rates(schedules.one_cycle(fresh(), CLOCK, pct_start=0.4, anneal="linear"), 39)
    reference = OneCycleLR(fresh(), max_lr=0.1, total_steps=40, pct_start=0.4, anneal_strategy="linear")
    assert own == pytest.approx(rates(reference, 39), abs=1e-15)


def test_warm_up_by_epochs_and_a_fraction_of_one() -> None:
    own = rates(schedules.none(fresh(), CLOCK, interval="epoch", warmup_epochs=2), 4)
    assert own == pytest.approx([0.1 / 3, 0.2 / 3, 0.1, 0.1])
    own = rates(schedules.step(fresh(), CLOCK, interval="step", step_epochs=1, gamma=0.5, warmup_epochs=0.4), 11)
    assert own == pytest.approx([0.1 / 3, 0.2 / 3, 0.1, 0.1, 0.1, *[0.05] * 5, 0.025])


def test_a_training_of_a_single_step() -> None:
    clock = Clock(steps_per_epoch=1, epochs=1)
    for schedule in (schedules.cosine, schedules.one_cycle):
        assert rates(schedule(fresh(), clock), 1)[0] > 0  # type: ignore[operator]


@pytest.mark.parametrize(("direction", "values"), [("min", [3.0, 2.0, 1.0]), ("max", [1.0, 2.0, 3.0])])
def test_plateau_leaves_the_rate_alone_while_it_gets_better(direction: Any, values: list[float]) -> None:
    schedule = schedules.plateau(fresh(), Clock(5, 8, direction), patience=0, factor=0.5, min_lr=0.03)
    for value in values:
        schedule.step(value)
    assert schedule.optimizer.param_groups[0]["lr"] == 0.1
    for _ in range(3):
        schedule.step(values[-1])
    assert schedule.optimizer.param_groups[0]["lr"] == 0.03


@pytest.mark.parametrize(
    ("own", "torchs", "ticks"),
    [
        (
            lambda: schedules.multistep(fresh(), CLOCK, milestones=[2, 5], gamma=0.3),
            lambda o: MultiStepLR(o, milestones=[2, 5], gamma=0.3),
            8,
        ),
        (lambda: schedules.exponential(fresh(), CLOCK, gamma=0.8), lambda o: ExponentialLR(o, gamma=0.8), 8),
        (
            lambda: schedules.cosine_restart(fresh(), CLOCK, interval="epoch", period_epochs=2, period_factor=2.0),
            lambda o: CosineAnnealingWarmRestarts(o, T_0=2, T_mult=2),
            16,
        ),
        (
            lambda: schedules.cosine_restart(fresh(), CLOCK, period_epochs=2, min_ratio=0.1),
            lambda o: CosineAnnealingWarmRestarts(o, T_0=10, eta_min=0.01),
            40,
        ),
        (
            lambda: schedules.warmup(fresh(), CLOCK, interval="epoch", warmup_epochs=4.0, start_ratio=0.2),
            lambda o: LinearLR(o, start_factor=0.2, total_iters=4),
            8,
        ),
        (
            lambda: schedules.cyclic(fresh(), CLOCK, min_ratio=0.1, up_epochs=1.0, down_epochs=2.0),
            lambda o: CyclicLR(o, 0.01, 0.1, step_size_up=5, step_size_down=10, cycle_momentum=False),
            40,
        ),
        (
            lambda: schedules.cyclic(fresh(), CLOCK, min_ratio=0.1, up_epochs=1.0, policy="triangular2"),
            lambda o: CyclicLR(o, 0.01, 0.1, step_size_up=5, mode="triangular2", cycle_momentum=False),
            40,
        ),
        (
            lambda: schedules.cyclic(fresh(), CLOCK, up_epochs=1.0, policy="exp_range", gamma=0.97),
            lambda o: CyclicLR(o, 0.01, 0.1, step_size_up=5, mode="exp_range", gamma=0.97, cycle_momentum=False),
            40,
        ),
        (
            lambda: schedules.polynomial(fresh(), CLOCK, interval="epoch", power=2.0),
            lambda o: PolynomialLR(o, total_iters=8, power=2.0),
            8,
        ),
    ],
)
def test_torchs_own_schedules(own: Any, torchs: Any, ticks: int) -> None:
    assert rates(own(), ticks) == pytest.approx(rates(torchs(fresh()), ticks), abs=1e-12)


STEPS = range(40)


def test_keras_exponential_and_inverse_time_decay() -> None:
    for staircase in (False, True):
        own = rates(
            schedules.exponential(fresh(), CLOCK, interval="step", gamma=0.5, decay_epochs=1.4, staircase=staircase),
            40,
        )
        power = [step // 7 if staircase else step / 7 for step in STEPS]
        assert own == pytest.approx([0.1 * 0.5**value for value in power])
        own = rates(schedules.inverse_time(fresh(), CLOCK, decay_rate=0.7, decay_epochs=1.4, staircase=staircase), 40)
        assert own == pytest.approx([0.1 / (1 + 0.7 * value) for value in power])


def test_keras_polynomial_decay() -> None:
    own = rates(schedules.polynomial(fresh(), CLOCK, power=0.5, end_ratio=0.2, decay_epochs=2), 40)
    assert own == pytest.approx([(0.1 - 0.02) * (1 - min(step, 10) / 10) ** 0.5 + 0.02 for step in STEPS])
    own = rates(schedules.polynomial(fresh(), CLOCK, power=0.5, end_ratio=0.2, decay_epochs=2, cycle=True), 40)
    length = [10 * max(1, -(-step // 10)) for step in STEPS]
    assert own == pytest.approx(
        [0.08 * (1 - step / whole) ** 0.5 + 0.02 for step, whole in zip(STEPS, length, strict=True)]
    )


def test_keras_piecewise_constant_decay() -> None:
    own = rates(schedules.piecewise(fresh(), CLOCK, boundaries=[0.6, 4.0], ratios=[1.0, 0.5, 0.1]), 40)
    # Keras keeps the first value up to the boundary itself.
    assert own == pytest.approx([0.1 if step <= 3 else 0.05 if step <= 20 else 0.01 for step in STEPS])
    for boundaries, ratios in (([1.0], [1.0]), ([2.0, 1.0], [1.0, 0.5, 0.1])):
        with pytest.raises(ConfigError, match=r"lr_scheduler\.ratios: do not fit the boundaries"):
            schedules.piecewise(fresh(), CLOCK, boundaries=boundaries, ratios=ratios)


def test_a_restart_begins_after_the_warm_up() -> None:
    own = rates(schedules.cosine_restart(fresh(), CLOCK, period_epochs=2, warmup_epochs=1.0), 40)
    assert [own[step] for step in (5, 15, 25)] == pytest.approx([0.1] * 3) and min(own[14], own[24]) < 0.01
