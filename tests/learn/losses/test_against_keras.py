"""Keras itself against our losses and our way to its plateaus."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from torch.optim import SGD

from mlpipe.learn.losses import probabilities
from mlpipe.learn.lr_schedulers import schedules
from mlpipe.learn.lr_schedulers.schedules import Clock

LOSSES = {
    "elementwise_bce": "binary_crossentropy",
    "squared_error": "mean_squared_error",
    "absolute_error": "mean_absolute_error",
    "squared_log_error": "mean_squared_logarithmic_error",
    "percentage_error": "mean_absolute_percentage_error",
    "log_cosh": "log_cosh",
    "hinge": "hinge",
    "squared_hinge": "squared_hinge",
    "categorical_hinge": "categorical_hinge",
    "kl_divergence": "kl_divergence",
    "poisson": "poisson",
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    rng = np.random.default_rng(0)
    t, p = rng.integers(0, 2, (6, 4)).astype(np.float32), rng.uniform(0.05, 0.95, (6, 4)).astype(np.float32)
    theirs = keras.ops.convert_to_numpy(getattr(keras.losses, LOSSES[name])(t, p))
    ours = probabilities.EACH[name](torch.tensor(t), torch.tensor(p), torch.ones(6, 4)).numpy()
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("patience", [0, 1, 2, 5])
@pytest.mark.parametrize("cooldown", [0, 1, 4])
def test_plateaus(patience: int, cooldown: int) -> None:
    values = [1.0, *[0.9] * 7, *[0.8] * 4, *(0.5 + np.random.default_rng(1).random(60)).tolist()]
    callback = keras.callbacks.ReduceLROnPlateau(
        monitor="v", factor=0.5, patience=patience, cooldown=cooldown, min_delta=1e-4, mode="min"
    )
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
    callback.set_model(model)
    callback.on_train_begin()
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = schedules.plateau(
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
def test_schedules(theirs: str, given: dict[str, object], ours: str, native: dict[str, object]) -> None:
    schedule = getattr(keras.optimizers.schedules, theirs)(initial_learning_rate=0.2, **given)
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    own = getattr(schedules, ours)(optimizer, Clock(4, 10), **native)
    for step in range(40):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(float(schedule(step)), rel=1e-5, abs=1e-9), step
        optimizer.step()
        own.step()


def test_piecewise_schedules() -> None:
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([3, 10], [0.2, 0.05, 0.4])
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    own = schedules.piecewise(optimizer, Clock(4, 10), boundaries=[3, 10], ratios=[1.0, 0.25, 2.0], unit="step")
    for step in range(20):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(float(schedule(step)))
        optimizer.step()
        own.step()
