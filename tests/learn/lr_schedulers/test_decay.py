"""Decays are Keras's."""

from __future__ import annotations

import pytest

from mlpipe.learn.lr_schedulers import decay
from tests.learn.lr_schedulers.conftest import CLOCK, STEPS, fresh, rates


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
