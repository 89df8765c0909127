"""Keras's losses, with weights and label smoothing, against Keras itself."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

from mlpipe.errors import ConfigError
from mlpipe.learn import record_losses
from mlpipe.learn.losses import Labels

COUNTS = torch.tensor([2, 2, 2])
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 3)).astype(np.float32)
WEIGHTS = RNG.uniform(0, 3, 6).astype(np.float32)
CLASSES = np.array([0, 1, 2, 0, 1, 2])
ONE_HOT = np.eye(3, dtype=np.float32)[CLASSES]


@pytest.mark.parametrize("weight", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", ["categorical_crossentropy", "binary_crossentropy"])
def test_cross_entropies(name: str, smoothing: float, weight: Any) -> None:
    kind = "classification" if name.startswith("cat") else "multilabel"
    theirs = {"categorical_crossentropy": "CategoricalCrossentropy", "binary_crossentropy": "BinaryCrossentropy"}[name]
    oracle = getattr(keras.losses, theirs)(from_logits=True, label_smoothing=smoothing)
    expected = float(oracle(ONE_HOT, LOGITS, sample_weight=weight))
    loss = record_losses.keras(Labels(kind, COUNTS, 6), name=name, label_smoothing=smoothing)  # type: ignore[arg-type]
    target = torch.tensor(CLASSES) if kind == "classification" else torch.tensor(ONE_HOT)
    given = None if weight is None else torch.tensor(weight)
    assert float(loss(torch.tensor(LOGITS), target, given)) == pytest.approx(expected, rel=1e-5)


NUMBERS = {
    "mean_squared_error": "MeanSquaredError",
    "mean_absolute_error": "MeanAbsoluteError",
    "mean_absolute_percentage_error": "MeanAbsolutePercentageError",
    "mean_squared_logarithmic_error": "MeanSquaredLogarithmicError",
    "log_cosh": "LogCosh",
    "huber": "Huber",
    "kl_divergence": "KLDivergence",
    "poisson": "Poisson",
    "cosine_similarity": "CosineSimilarity",
    "categorical_hinge": "CategoricalHinge",
}


@pytest.mark.parametrize("weight", [None, WEIGHTS])
@pytest.mark.parametrize("name", NUMBERS)
def test_losses_of_numbers(name: str, weight: Any) -> None:
    target = ONE_HOT if name == "categorical_hinge" else RNG.uniform(0.1, 2, (6, 3)).astype(np.float32)
    values = RNG.uniform(0.1, 2, (6, 3)).astype(np.float32)
    expected = float(getattr(keras.losses, NUMBERS[name])()(target, values, sample_weight=weight))
    loss = record_losses.keras(Labels("regression", COUNTS * 0, 6), name=name)
    given = None if weight is None else torch.tensor(weight)
    assert float(loss(torch.tensor(values), torch.tensor(target), given)) == pytest.approx(expected, rel=1e-5)


def test_what_does_not_fit() -> None:
    labels = Labels("classification", COUNTS, 6)
    with pytest.raises(ConfigError, match="did you mean 'huber'"):
        record_losses.keras(labels, name="hubr")
    with pytest.raises(ConfigError, match="is for regression, the task is classification"):
        record_losses.keras(labels, name="huber")
    with pytest.raises(ConfigError, match="label_smoothing: is not for sparse"):
        record_losses.keras(labels, name="sparse_categorical_crossentropy", label_smoothing=0.1)
