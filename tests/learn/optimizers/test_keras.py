"""Every step of every optimizer against Keras's."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

from mlpipe.errors import ConfigError
from mlpipe.learn.optimizers import keras as keras_optimizers

CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("sgd", "SGD", {}),
    ("sgd", "SGD", {"momentum": 0.9}),
    ("sgd", "SGD", {"momentum": 0.8, "nesterov": True}),
    ("sgd", "SGD", {"clipnorm": 0.5}),
    ("sgd", "SGD", {"clipvalue": 0.1, "momentum": 0.5}),
    ("sgd", "SGD", {"global_clipnorm": 0.5}),
    ("rmsprop", "RMSprop", {}),
    ("rmsprop", "RMSprop", {"rho": 0.8, "momentum": 0.7, "epsilon": 1e-3}),
    ("rmsprop", "RMSprop", {"centered": True, "momentum": 0.5}),
    ("adagrad", "Adagrad", {}),
    ("adagrad", "Adagrad", {"initial_accumulator_value": 0.5, "epsilon": 1e-2}),
    ("adadelta", "Adadelta", {}),
    ("adadelta", "Adadelta", {"rho": 0.8, "epsilon": 1e-4}),
    ("adam", "Adam", {}),
    ("adam", "Adam", {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-2}),
    ("adam", "Adam", {"amsgrad": True, "beta_2": 0.5, "clipnorm": 0.2}),
    ("adamw", "AdamW", {}),
    ("adamw", "AdamW", {"weight_decay": 0.3, "amsgrad": True, "beta_2": 0.5, "clipnorm": 0.2}),
    ("lion", "Lion", {}),
    ("lion", "Lion", {"weight_decay": 0.2, "beta_1": 0.5, "beta_2": 0.7, "global_clipnorm": 0.5}),
    ("adafactor", "Adafactor", {}),
    ("adafactor", "Adafactor", {"beta_2_decay": -0.5, "clip_threshold": 0.5, "weight_decay": 0.2, "clipnorm": 0.3}),
    ("adafactor", "Adafactor", {"epsilon_1": 1e-3, "epsilon_2": 2.0}),
    ("adamax", "Adamax", {}),
    ("adamax", "Adamax", {"beta_1": 0.5, "beta_2": 0.7, "epsilon": 1e-2}),
    ("nadam", "Nadam", {}),
    ("nadam", "Nadam", {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-2}),
    ("ftrl", "Ftrl", {}),
    ("ftrl", "Ftrl", {"l1_regularization_strength": 0.05, "l2_regularization_strength": 0.1, "beta": 0.1}),
    ("ftrl", "Ftrl", {"l2_shrinkage_regularization_strength": 0.1, "learning_rate_power": -0.7}),
]
SHAPES = ((4, 3), (5,), (2, 2, 2))


def steps(seed: int = 0) -> tuple[list[np.ndarray[Any, Any]], list[list[np.ndarray[Any, Any]]], list[float]]:
    """First values, the gradients of 12 steps (some tiny, some zero), and a rate that changes."""
    rng = np.random.default_rng(seed)
    first = [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]
    sizes = [1, 1, 1e-4, 1, 0, 10, 1, 1e-6, 1, 1, 0.1, 1]
    gradients = [[(size * rng.normal(size=shape)).astype(np.float32) for shape in SHAPES] for size in sizes]
    return first, gradients, [0.1, 0.1, 0.1, 0.02, 0.02, 0.05, 0.05, 0.05, 0.01, 0.2, 0.2, 0.001]


def _as_in_keras(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Inputs and outputs last, where torch has outputs and inputs first."""
    return np.moveaxis(values, (0, 1), (-1, -2)) if values.ndim > 1 else values


@pytest.mark.parametrize(("name", "theirs", "given"), CASES)
def test_every_step_is_kerass(name: str, theirs: str, given: dict[str, Any]) -> None:
    first, gradients, rates = steps()
    variables = [keras.Variable(_as_in_keras(value)) for value in first]
    oracle = getattr(keras.optimizers, theirs)(learning_rate=rates[0], **given)
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in first]
    ours = getattr(keras_optimizers, name)([{"params": parameters}], lr=rates[0], **given)
    for now, rate in zip(gradients, rates, strict=True):
        oracle.learning_rate = rate
        oracle.apply([keras.ops.convert_to_tensor(_as_in_keras(value)) for value in now], variables)
        ours.param_groups[0]["lr"] = rate
        for parameter, value in zip(parameters, now, strict=True):
            parameter.grad = torch.tensor(value)
        ours.step()
        for parameter, variable in zip(parameters, variables, strict=True):
            expected = (
                np.moveaxis(keras.ops.convert_to_numpy(variable), (-1, -2), (0, 1))
                if parameter.dim() > 1
                else (keras.ops.convert_to_numpy(variable))
            )
            # Keras has powers of beta_2 in single precision: 1 - 0.999 is off by 5e-5 of itself.
            assert parameter.detach().numpy() == pytest.approx(expected, rel=2e-5, abs=1e-5)


@pytest.mark.parametrize(
    "name", ["sgd", "rmsprop", "adagrad", "adadelta", "adam", "adamw", "adafactor", "adamax", "nadam", "ftrl"]
)
def test_the_defaults_are_kerass(name: str) -> None:
    theirs = next(case[1] for case in CASES if case[0] == name)
    config = getattr(keras.optimizers, theirs)().get_config()
    defaults = getattr(keras_optimizers, name).__kwdefaults__
    assert defaults["lr"] == pytest.approx(config["learning_rate"])
    # No decay is null in Keras.
    assert {key: config[key] or 0 for key in defaults if key != "lr"} == {
        k: v or 0 for k, v in defaults.items() if k != "lr"
    }


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamw", "adafactor", "lion", "nadam", "ftrl"])
def test_a_saved_state_goes_on_as_if_never_stopped(name: str) -> None:
    first, gradients, _ = steps(1)
    made = getattr(keras_optimizers, name)
    given = {"momentum": 0.9} if name in ("sgd", "rmsprop") else {}

    def run(stop_after: int | None) -> list[torch.Tensor]:
        parameters = [torch.nn.Parameter(torch.tensor(value)) for value in first]
        optimizer = made([{"params": parameters}], lr=0.05, **given)
        for number, now in enumerate(gradients):
            if number == stop_after:
                state = optimizer.state_dict()
                optimizer = made([{"params": parameters}], lr=0.05, **given)
                optimizer.load_state_dict(state)
            for parameter, value in zip(parameters, now, strict=True):
                parameter.grad = torch.tensor(value)
            optimizer.step()
        return [parameter.detach() for parameter in parameters]

    for one, other in zip(run(None), run(5), strict=True):
        assert torch.equal(one, other)


def test_bounds_of_values_come_before_those_of_norms() -> None:
    # TensorFlow's order, by hand: (3, 4) is cut to (3, 3), whose norm 18**.5 becomes 2.
    for name in ("clipnorm", "global_clipnorm"):
        parameter = torch.nn.Parameter(torch.zeros(2))
        optimizer = keras_optimizers.sgd([{"params": [parameter]}], lr=1.0, clipvalue=3.0, **{name: 2.0})
        parameter.grad = torch.tensor([3.0, 4.0])
        optimizer.step()
        assert parameter.tolist() == pytest.approx([-(2.0**0.5)] * 2)
    with pytest.raises(ConfigError, match=r"optimizer\.clipnorm: bounds the norm of each gradient and that of all"):
        keras_optimizers.sgd([{"params": [parameter]}], clipnorm=1.0, global_clipnorm=1.0)


def test_a_gradient_of_zeros_is_not_bounded_to_nothing() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = keras_optimizers.sgd([{"params": [parameter]}], lr=0.1, clipnorm=1.0)
    parameter.grad = torch.zeros(2)
    optimizer.step()
    assert parameter.tolist() == [1.0, 1.0]
