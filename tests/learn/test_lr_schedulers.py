"""Schedules against torch's own; warm-up; what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from mlpipe.errors import ConfigError
from mlpipe.learn import lr_schedulers
from mlpipe.learn.lr_schedulers import Clock

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
        own = rates(lr_schedulers.cosine(fresh(), CLOCK, interval=interval), ticks)  # type: ignore[arg-type]
        assert own == pytest.approx(rates(CosineAnnealingLR(fresh(), T_max=ticks), ticks), abs=1e-12)


def test_step_is_torchs() -> None:
    own = rates(lr_schedulers.step(fresh(), CLOCK, step_epochs=3, gamma=0.5), 8)
    assert own == pytest.approx(rates(StepLR(fresh(), step_size=3, gamma=0.5), 8))


def test_warm_up_rises_in_equal_steps_then_hands_over() -> None:
    own = rates(lr_schedulers.cosine(fresh(), CLOCK, warmup_epochs=1.0, min_ratio=0.1), 40)
    assert own[:6] == pytest.approx([0.1 * k / 6 for k in (1, 2, 3, 4, 5)] + [0.1])
    assert own[6:] == sorted(own[6:], reverse=True)
    assert own[-1] == pytest.approx(0.01, rel=0.1)
    assert set(rates(lr_schedulers.none(fresh(), CLOCK), 40)) == {0.1}


def test_one_cycle_peaks_at_the_optimizers_rate() -> None:
    own = rates(lr_schedulers.one_cycle(fresh(), CLOCK), 39)
    assert max(own) == pytest.approx(0.1, rel=0.02)
    assert own[0] == pytest.approx(0.1 / 25)


def test_plateau_follows_the_direction() -> None:
    clock = Clock(5, 8, "max")
    schedule = lr_schedulers.plateau(fresh(), clock, patience=0)
    for value in (0.5, 0.6, 0.55):
        schedule.step(value)
    assert schedule.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


def test_a_warm_up_longer_than_the_training_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lr_scheduler.warmup_epochs: is longer than the training, got 9"):
        lr_schedulers.cosine(fresh(), CLOCK, warmup_epochs=9)


def test_one_cycle_by_steps_is_torchs() -> None:
    from torch.optim.lr_scheduler import OneCycleLR

    own = rates(lr_schedulers.one_cycle(fresh(), CLOCK, pct_start=0.4, anneal="linear"), 39)
    reference = OneCycleLR(fresh(), max_lr=0.1, total_steps=40, pct_start=0.4, anneal_strategy="linear")
    assert own == pytest.approx(rates(reference, 39), abs=1e-15)


def test_warm_up_by_epochs_and_a_fraction_of_one() -> None:
    own = rates(lr_schedulers.none(fresh(), CLOCK, interval="epoch", warmup_epochs=2), 4)
    assert own == pytest.approx([0.1 / 3, 0.2 / 3, 0.1, 0.1])
    own = rates(lr_schedulers.step(fresh(), CLOCK, interval="step", step_epochs=1, gamma=0.5, warmup_epochs=0.4), 11)
    assert own == pytest.approx([0.1 / 3, 0.2 / 3, 0.1, 0.1, 0.1, *[0.05] * 5, 0.025])


def test_a_training_of_a_single_step() -> None:
    clock = Clock(steps_per_epoch=1, epochs=1)
    for schedule in (lr_schedulers.cosine, lr_schedulers.one_cycle):
        assert rates(schedule(fresh(), clock), 1)[0] > 0  # type: ignore[operator]


@pytest.mark.parametrize(("direction", "values"), [("min", [3.0, 2.0, 1.0]), ("max", [1.0, 2.0, 3.0])])
def test_plateau_leaves_the_rate_alone_while_it_gets_better(direction: Any, values: list[float]) -> None:
    schedule = lr_schedulers.plateau(fresh(), Clock(5, 8, direction), patience=0, factor=0.5, min_lr=0.03)
    for value in values:
        schedule.step(value)
    assert schedule.optimizer.param_groups[0]["lr"] == 0.1
    for _ in range(3):
        schedule.step(values[-1])
    assert schedule.optimizer.param_groups[0]["lr"] == 0.03
