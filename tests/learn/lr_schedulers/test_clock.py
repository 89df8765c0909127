"""Schedules against torch's own, at every step and once in an epoch; a training of a single step."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, lr_scheduler
from torch.optim.lr_scheduler import (
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
)

from mlpipe.errors import ConfigError
from mlpipe.learn.lr_schedulers import cosine, cycle, decay, step, variator, warmup
from mlpipe.learn.lr_schedulers.clock import Clock
from mlpipe.learn.lr_schedulers.step import multistep
from tests.learn.lr_schedulers.conftest import CLOCK, fresh, rates


def test_a_training_of_a_single_step() -> None:
    clock = Clock(steps_per_epoch=1, epochs=1)
    for schedule in (cosine.cosine, cycle.one_cycle):
        assert rates(schedule(fresh(), clock), 1)[0] > 0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("own", "torchs", "ticks"),
    [
        (
            lambda: multistep(fresh(), CLOCK, milestones=[2, 5], gamma=0.3),
            lambda o: MultiStepLR(o, milestones=[2, 5], gamma=0.3),
            8,
        ),
        (lambda: decay.exponential(fresh(), CLOCK, gamma=0.8), lambda o: ExponentialLR(o, gamma=0.8), 8),
        (
            lambda: cosine.cosine_restart(fresh(), CLOCK, interval="epoch", period_epochs=2, period_factor=2.0),
            lambda o: CosineAnnealingWarmRestarts(o, T_0=2, T_mult=2),
            16,
        ),
        (
            lambda: cosine.cosine_restart(fresh(), CLOCK, period_epochs=2, min_ratio=0.1),
            lambda o: CosineAnnealingWarmRestarts(o, T_0=10, eta_min=0.01),
            40,
        ),
        (
            lambda: warmup.warmup(fresh(), CLOCK, interval="epoch", warmup_epochs=4.0, start_ratio=0.2),
            lambda o: LinearLR(o, start_factor=0.2, total_iters=4),
            8,
        ),
        (
            lambda: cycle.cyclic(fresh(), CLOCK, min_ratio=0.1, up_epochs=1.0, down_epochs=2.0),
            lambda o: CyclicLR(o, 0.01, 0.1, step_size_up=5, step_size_down=10, cycle_momentum=False),
            40,
        ),
        (
            lambda: cycle.cyclic(fresh(), CLOCK, min_ratio=0.1, up_epochs=1.0, policy="triangular2"),
            lambda o: CyclicLR(o, 0.01, 0.1, step_size_up=5, mode="triangular2", cycle_momentum=False),
            40,
        ),
        (
            lambda: cycle.cyclic(fresh(), CLOCK, up_epochs=1.0, policy="exp_range", gamma=0.97),
            lambda o: CyclicLR(o, 0.01, 0.1, step_size_up=5, mode="exp_range", gamma=0.97, cycle_momentum=False),
            40,
        ),
        (
            lambda: decay.polynomial(fresh(), CLOCK, interval="epoch", power=2.0),
            lambda o: PolynomialLR(o, total_iters=8, power=2.0),
            8,
        ),
    ],
)
def test_torchs_own_schedules(own: Any, torchs: Any, ticks: int) -> None:
    assert rates(own(), ticks) == pytest.approx(rates(torchs(fresh()), ticks), abs=1e-12)


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (lambda o, c: step.step(o, c, step_epochs=2, gamma=0.1), lambda o: lr_scheduler.StepLR(o, 2, 0.1)),
        (
            lambda o, c: step.multistep(o, c, milestones=[2, 5], gamma=0.3),
            lambda o: lr_scheduler.MultiStepLR(o, [2, 5], 0.3),
        ),
        (lambda o, c: decay.exponential(o, c, gamma=0.8), lambda o: lr_scheduler.ExponentialLR(o, 0.8)),
        (
            lambda o, c: warmup.warmup(o, c, interval="epoch", warmup_epochs=5, start_ratio=0.2),
            lambda o: lr_scheduler.LinearLR(o, 0.2, 1.0, 5),
        ),
    ],
    ids=["step", "multistep", "exponential", "warmup"],
)
def test_the_rates_of_ten_epochs(ours: Callable[..., Any], torchs: Callable[..., Any]) -> None:
    rates = []
    for make in (lambda o: ours(o, Clock(7, 10)), torchs):
        optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.05)
        schedule = make(optimizer)
        rates.append([])
        for _ in range(10):
            rates[-1].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    assert rates[0] == pytest.approx(rates[1], rel=1e-9)


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        (
            lambda: cosine.cosine_restart(fresh(), CLOCK, period_epochs=1e-9),
            "lr_scheduler.period_epochs: is shorter than one step, got 1e-09; at least 0.2",
        ),
        (
            lambda: cosine.cosine_restart(fresh(), CLOCK, interval="epoch", period_epochs=0.5),
            "lr_scheduler.period_epochs: is shorter than one epoch, got 0.5; at least 1,",
        ),
        (
            lambda: cosine.cosine_decay(fresh(), CLOCK, decay_steps=1e-9, period_factor=1.0),
            "lr_scheduler.decay_steps: is shorter than one step, got 1e-09; at least 1,",
        ),
        (
            lambda: cycle.cyclic(fresh(), CLOCK, gamma=0.9),
            "lr_scheduler.gamma: is not of the policy triangular, got 0.9; add lr_scheduler.policy=exp_range",
        ),
        (
            lambda: cosine.cosine_decay(fresh(), CLOCK, peak_factor=0.5),
            "lr_scheduler.peak_factor: is of the half cosines after the first, and there is one, got 0.5",
        ),
        (
            lambda: decay.polynomial(fresh(), CLOCK, decay_epochs=2.0, decay_steps=3),
            "lr_scheduler.decay_steps: lr_scheduler.decay_epochs says how long it is too, got 3; leave one of the two out",
        ),
        (
            lambda: decay.exponential(fresh(), CLOCK, decay_epochs=2.0, decay_steps=3),
            "lr_scheduler.decay_steps: lr_scheduler.decay_epochs says how long it is too, got 3; leave one of the two out",
        ),
        (
            lambda: cycle.cyclic(fresh(), CLOCK, up_epochs=1.0, up_steps=3),
            "lr_scheduler.up_steps: lr_scheduler.up_epochs says how long it is too, got 3; leave one of the two out",
        ),
        (
            lambda: variator.variator(fresh(), CLOCK, plateau_from="start"),
            "lr_scheduler.plateau_from: there is no plateau, got 'start'",
        ),
        (
            lambda: cycle.cyclic(fresh(), CLOCK, up_epochs=1e-9),
            "lr_scheduler.up_epochs: is shorter than one step, got 1e-09; at least 0.1",
        ),
        (
            lambda: decay.exponential(fresh(), CLOCK, gamma=2.0, decay_epochs=1e-9),
            "lr_scheduler: gives no finite learning rate at the end of the training",
        ),
    ],
)
def test_lengths_without_a_meaning_are_refused(schedule: Callable[[], object], sentence: str) -> None:
    """The first took a step of a loop for each of a thousand million periods, the last ended in an error of Python."""
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        schedule()


def test_a_period_of_one_step_is_taken() -> None:
    """0.2 epochs of five steps, whatever rounding makes of it: each step begins a period, at the highest rate."""
    own = rates(cosine.cosine_restart(fresh(), CLOCK, period_epochs=1 / CLOCK.steps_per_epoch), 10)
    assert own == pytest.approx([0.1] * 10)
