"""Losses of probabilities by hand, and against Keras itself."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import torch

from mlpipe.learn.losses import probabilities

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


def both(name: str, of_keras: str, t: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A loss of each row, and Keras's."""
    t, p = t.astype(np.float32), p.astype(np.float32)
    theirs = keras.ops.convert_to_numpy(getattr(keras.losses, of_keras)(t, p))
    return probabilities.EACH[name](torch.tensor(t), torch.tensor(p), torch.ones(t.shape)).numpy(), theirs


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_kerass(name: str) -> None:
    rng = np.random.default_rng(0)
    ours, theirs = both(name, LOSSES[name], rng.integers(0, 2, (6, 4)), rng.uniform(0.05, 0.95, (6, 4)))
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("squared_error", 0.625),
        ("absolute_error", 0.75),
        ("percentage_error", 100 * (0.5 / 1 + 1 / 2) / 2),
        ("log_cosh", (math.log(math.cosh(0.5)) + math.log(math.cosh(1))) / 2),
        ("huber_error", (0.125 + 0.5) / 2),
        ("squared_log_error", ((math.log(1.5 / 2)) ** 2 + (math.log(4 / 3)) ** 2) / 2),
        ("poisson", ((0.5 - math.log(0.5)) + (3 - 2 * math.log(3))) / 2),
        ("squared_sum", 1.25),
        ("cosine", -6.5 / (math.sqrt(5) * math.sqrt(9.25))),
        ("hinge", (0.5 + 0) / 2),
        ("squared_hinge", (0.25 + 0) / 2),
    ],
)
def test_errors_by_hand(name: str, value: float) -> None:
    function = probabilities.ALL[name]
    found = function(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 3.0]]), torch.ones(1, 2))
    assert found.mean().item() == pytest.approx(value, rel=1e-4)


OF_COUNTS = {
    "squared_log_error": "mean_squared_logarithmic_error",
    "percentage_error": "mean_absolute_percentage_error",
    "poisson": "poisson",
    "kl_divergence": "kl_divergence",
    "hinge": "hinge",
    "squared_hinge": "squared_hinge",
    "categorical_hinge": "categorical_hinge",
    "cosine": "cosine_similarity",
}


@pytest.mark.parametrize("name", OF_COUNTS)
def test_losses_of_numbers_are_kerass(name: str) -> None:
    """Of counts; of hinges targets on both sides of zero, which are no yes and no."""
    rng = np.random.default_rng(0)
    t = rng.choice([-1.0, 1.0], (6, 4)) if "hinge" in name else rng.integers(0, 9, (6, 4))
    ours, theirs = both(name, OF_COUNTS[name], t, rng.uniform(0.05, 7, (6, 4)))
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    assert name in probabilities.OF_NUMBERS | probabilities.OF_UNITS


def test_outputs_without_known_targets_are_in_no_mean() -> None:
    """The Lovasz hinge counted them as zeros."""
    logits, t = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), (torch.arange(18) % 2).view(6, 3).float()
    known = torch.ones(6, 3)
    known[:, 2] = 0
    expected = probabilities.lovasz(t[:, :2], logits[:, :2], known[:, :2])
    assert probabilities.lovasz(t, logits, known).item() == pytest.approx(expected.item(), rel=1e-6)
    assert probabilities.lovasz(t, logits, known * 0).item() == 0
