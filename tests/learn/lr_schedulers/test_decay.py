"""Decays are Keras's."""

from __future__ import annotations

import keras
import pytest
import torch
from torch.optim import SGD

from mlpipe.learn.lr_schedulers import decay
from mlpipe.learn.lr_schedulers.clock import Clock
from tests.learn.lr_schedulers.conftest import CLOCK, STEPS, fresh, rates

SCHEDULES: list[tuple[str, dict[str, object], str, dict[str, object]]] = [
    *[
        ("ExponentialDecay", {"decay_steps": steps, "decay_rate": 0.7, "staircase": staircase},
         "exponential", {"interval": "step", "decay_steps": steps, "gamma": 0.7, "staircase": staircase})
        for steps in (1, 7, 2.5) for staircase in (False, True)
    ],
    *[
        ("ExponentialDecay", {"decay_steps": 7, "decay_rate": rate},
         "exponential", {"interval": "step", "decay_steps": 7, "gamma": rate}) for rate in (0.0, 1.0, 1.2)
    ],
    ("InverseTimeDecay", {"decay_steps": 7, "decay_rate": 0}, "inverse_time", {"decay_steps": 7, "decay_rate": 0}),
    ("PolynomialDecay", {"decay_steps": 9, "end_learning_rate": 0.5, "power": 2.0},
     "polynomial", {"decay_steps": 9, "end_ratio": 2.5, "power": 2.0}),
    ("PolynomialDecay", {"decay_steps": 9, "end_learning_rate": 0.02, "power": 0.0},
     "polynomial", {"decay_steps": 9, "end_ratio": 0.1, "power": 0.0}),
    *[
        ("InverseTimeDecay", {"decay_steps": steps, "decay_rate": 1.5, "staircase": staircase},
         "inverse_time", {"decay_steps": steps, "decay_rate": 1.5, "staircase": staircase})
        for steps in (1, 7) for staircase in (False, True)
    ],
    *[
        ("PolynomialDecay", {"decay_steps": 9, "end_learning_rate": 0.02, "power": power, "cycle": cycle},
         "polynomial", {"decay_steps": 9, "end_ratio": 0.1, "power": power, "cycle": cycle})
        for power in (1.0, 0.5, 2.0) for cycle in (False, True)
    ],
]  # fmt: skip


@pytest.mark.parametrize(("theirs", "given", "ours", "native"), SCHEDULES)
def test_decays_are_kerass(theirs: str, given: dict[str, object], ours: str, native: dict[str, object]) -> None:
    schedule = getattr(keras.optimizers.schedules, theirs)(initial_learning_rate=0.2, **given)
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    own = getattr(decay, ours)(optimizer, Clock(4, 10), **native)
    for step in range(40):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(float(schedule(step)), rel=1e-5, abs=1e-9), step
        optimizer.step()
        own.step()


def test_keras_exponential_and_inverse_time_decay() -> None:
    for staircase in (False, True):
        own = rates(
            decay.exponential(fresh(), CLOCK, interval="step", gamma=0.5, decay_epochs=1.4, staircase=staircase),
            40,
        )
        power = [step // 7 if staircase else step / 7 for step in STEPS]
        assert own == pytest.approx([0.1 * 0.5**value for value in power])
        own = rates(decay.inverse_time(fresh(), CLOCK, decay_rate=0.7, decay_epochs=1.4, staircase=staircase), 40)
        assert own == pytest.approx([0.1 / (1 + 0.7 * value) for value in power])


def test_keras_polynomial_decay() -> None:
    own = rates(decay.polynomial(fresh(), CLOCK, power=0.5, end_ratio=0.2, decay_epochs=2), 40)
    assert own == pytest.approx([(0.1 - 0.02) * (1 - min(step, 10) / 10) ** 0.5 + 0.02 for step in STEPS])
    own = rates(decay.polynomial(fresh(), CLOCK, power=0.5, end_ratio=0.2, decay_epochs=2, cycle=True), 40)
    length = [10 * max(1, -(-step // 10)) for step in STEPS]
    assert own == pytest.approx(
        [0.08 * (1 - step / whole) ** 0.5 + 0.02 for step, whole in zip(STEPS, length, strict=True)]
    )
