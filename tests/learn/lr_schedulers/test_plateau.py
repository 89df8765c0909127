"""A plateau follows the metric's direction."""

from __future__ import annotations

from typing import Any

import pytest

from mlpipe.learn.lr_schedulers import plateau
from mlpipe.learn.lr_schedulers.clock import Clock
from tests.learn.lr_schedulers.conftest import fresh


def test_plateau_follows_the_direction() -> None:
    clock = Clock(5, 8, "max")
    schedule = plateau.plateau(fresh(), clock, patience=0)
    for value in (0.5, 0.6, 0.55):
        schedule.step(value)
    assert schedule.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


@pytest.mark.parametrize(("direction", "values"), [("min", [3.0, 2.0, 1.0]), ("max", [1.0, 2.0, 3.0])])
def test_plateau_leaves_the_rate_alone_while_it_gets_better(direction: Any, values: list[float]) -> None:
    schedule = plateau.plateau(fresh(), Clock(5, 8, direction), patience=0, factor=0.5, min_lr=0.03)
    for value in values:
        schedule.step(value)
    assert schedule.optimizer.param_groups[0]["lr"] == 0.1
    for _ in range(3):
        schedule.step(values[-1])
    assert schedule.optimizer.param_groups[0]["lr"] == 0.03
