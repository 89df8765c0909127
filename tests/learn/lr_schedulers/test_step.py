"""Steps are torch's and Keras's."""

from __future__ import annotations

import keras
import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from mlpipe.errors import ConfigError
from mlpipe.learn.lr_schedulers.clock import Clock
from mlpipe.learn.lr_schedulers.step import piecewise, step
from tests.learn.lr_schedulers.conftest import CLOCK, STEPS, fresh, rates


def test_pieces_are_kerass() -> None:
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([3, 10], [0.2, 0.05, 0.4])
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    own = piecewise(optimizer, Clock(4, 10), boundaries=[3, 10], ratios=[1.0, 0.25, 2.0], unit="step")
    for tick in range(20):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(float(schedule(tick)))
        optimizer.step()
        own.step()


def test_step_is_torchs() -> None:
    own = rates(step(fresh(), CLOCK, step_epochs=3, gamma=0.5), 8)
    assert own == pytest.approx(rates(StepLR(fresh(), step_size=3, gamma=0.5), 8))


def test_keras_piecewise_constant_decay() -> None:
    own = rates(piecewise(fresh(), CLOCK, boundaries=[0.6, 4.0], ratios=[1.0, 0.5, 0.1]), 40)
    # Keras keeps the first value up to the boundary itself.
    assert own == pytest.approx([0.1 if step <= 3 else 0.05 if step <= 20 else 0.01 for step in STEPS])
    for boundaries, ratios in (([1.0], [1.0]), ([2.0, 1.0], [1.0, 0.5, 0.1])):
        with pytest.raises(ConfigError, match=r"lr_scheduler\.ratios: do not fit the boundaries"):
            piecewise(fresh(), CLOCK, boundaries=boundaries, ratios=ratios)
