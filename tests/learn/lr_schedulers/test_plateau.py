"""A plateau follows the metric's direction, and falls where Keras's does."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch.optim import SGD

from mlpipe.learn.lr_schedulers import plateau
from mlpipe.learn.lr_schedulers.clock import Clock
from tests.learn.lr_schedulers.conftest import fresh


@pytest.mark.parametrize("patience", [0, 1, 2, 5])
@pytest.mark.parametrize("cooldown", [0, 1, 4])
def test_plateaus_are_kerass(patience: int, cooldown: int) -> None:
    values = [1.0, *[0.9] * 7, *[0.8] * 4, *(0.5 + np.random.default_rng(1).random(60)).tolist()]
    callback = keras.callbacks.ReduceLROnPlateau(
        monitor="v", factor=0.5, patience=patience, cooldown=cooldown, min_delta=1e-4, mode="min"
    )
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
    callback.set_model(model)
    callback.on_train_begin()
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = plateau.plateau(
        optimizer,
        Clock(1, 99),
        factor=0.5,
        patience=max(patience - 1, 0),
        cooldown=max(cooldown - 1, 0),
        threshold_mode="abs",
    )
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"v": value})
        schedule.step(value)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(float(model.optimizer.learning_rate), abs=1e-7)


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
