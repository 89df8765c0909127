"""Cosines are torch's; a warm-up before them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from mlpipe.learn.lr_schedulers import cosine, warmup
from mlpipe.learn.lr_schedulers.clock import Clock
from tests.learn.lr_schedulers.conftest import CLOCK, fresh, rates


def test_cosine_is_torchs() -> None:
    for interval, ticks in (("step", 40), ("epoch", 8)):
        own = rates(cosine.cosine(fresh(), CLOCK, interval=interval), ticks)  # type: ignore[arg-type]
        assert own == pytest.approx(rates(CosineAnnealingLR(fresh(), T_max=ticks), ticks), abs=1e-12)


def test_warm_up_rises_in_equal_steps_then_hands_over() -> None:
    own = rates(cosine.cosine(fresh(), CLOCK, warmup_epochs=1.0, min_ratio=0.1), 40)
    assert own[:6] == pytest.approx([0.1 * k / 6 for k in (1, 2, 3, 4, 5)] + [0.1])
    assert own[6:] == sorted(own[6:], reverse=True)
    assert own[-1] == pytest.approx(0.01, rel=0.1)
    assert set(rates(warmup.none(fresh(), CLOCK), 40)) == {0.1}


def test_a_restart_begins_after_the_warm_up() -> None:
    own = rates(cosine.cosine_restart(fresh(), CLOCK, period_epochs=2, warmup_epochs=1.0), 40)
    assert [own[step] for step in (5, 15, 25)] == pytest.approx([0.1] * 3) and min(own[14], own[24]) < 0.01


@pytest.mark.parametrize(
    ("theirs", "given", "native"),
    [
        ("CosineDecay", {"decay_steps": 9}, {"decay_steps": 9}),
        ("CosineDecay", {"decay_steps": 9, "alpha": 0.3}, {"decay_steps": 9, "min_ratio": 0.3}),
        ("CosineDecay", {"decay_steps": 9, "alpha": 0.3, "warmup_target": 0.2, "warmup_steps": 7},
         {"decay_steps": 9, "min_ratio": 0.3, "warmup_steps": 7, "first_ratio": 1.0}),
        ("CosineDecayRestarts", {"first_decay_steps": 6}, {"decay_steps": 6, "period_factor": 2.0}),
        ("CosineDecayRestarts", {"first_decay_steps": 7, "t_mul": 1.0, "m_mul": 0.5, "alpha": 0.1},
         {"decay_steps": 7, "period_factor": 1.0, "peak_factor": 0.5, "min_ratio": 0.1}),
        ("CosineDecayRestarts", {"first_decay_steps": 5, "t_mul": 1.5, "m_mul": 0.8},
         {"decay_steps": 5, "period_factor": 1.5, "peak_factor": 0.8}),
    ],
)  # fmt: skip
def test_cosines_of_so_many_steps_are_kerass(theirs: str, given: dict[str, object], native: dict[str, object]) -> None:
    schedule = getattr(keras.optimizers.schedules, theirs)(initial_learning_rate=0.2, **given)
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    own = cosine.cosine_decay(optimizer, Clock(4, 10), **native)  # type: ignore[arg-type]
    for step in range(40):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(float(schedule(step)), rel=1e-5, abs=1e-8), step
        optimizer.step()
        own.step()


@pytest.mark.parametrize(("first", "target", "steps"), [(0.0, 0.2, 6), (0.05, 0.2, 10), (0.4, 0.2, 3), (0.1, 0.2, 0)])
def test_a_warm_up_of_so_many_steps_is_kerass(first: float, target: float, steps: int) -> None:
    """The line from the first rate to the target, and the cosine behind it."""
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=first, decay_steps=12, alpha=0.1, warmup_target=target, warmup_steps=steps
    )
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=target)
    own = cosine.cosine_decay(
        optimizer, Clock(4, 10), decay_steps=12, min_ratio=0.1, warmup_steps=steps, first_ratio=first / target
    )
    for step in range(40):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(float(schedule(step)), rel=1e-5, abs=1e-8), step
        optimizer.step()
        own.step()


@pytest.mark.parametrize(("periods", "alpha", "beta"), [(0.5, 0.0, 0.001), (2.0, 0.25, 0.0), (0.0, 0.0, 0.1)])
def test_linear_cosine_is_the_formula_of_tensorflow(periods: float, alpha: float, beta: float) -> None:
    """decayed = (alpha + linear) * cosine + beta, of `tf.keras.experimental.LinearCosineDecay`, which Keras 3 has no more."""
    native = {"decay_steps": 30.0, "half_waves": 2 * periods, "alpha": alpha, "beta": beta}
    own = rates(cosine.linear_cosine(fresh(), CLOCK, **native), 40)  # type: ignore[arg-type]
    step = np.minimum(np.arange(40), 30)
    linear, wave = (30 - step) / 30, 0.5 * (1 + np.cos(np.pi * 2 * periods * step / 30))
    assert own == pytest.approx(0.1 * ((alpha + linear) * wave + beta), abs=1e-12)
