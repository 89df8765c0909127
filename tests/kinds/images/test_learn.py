"""Errors in torch are those of NumPy, views of an image are undone on its prediction, and losses are torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from mlpipe.errors import ConfigError
from mlpipe.kinds.images.learn import summed
from mlpipe.learn import tta
from mlpipe.learn.losses import auto, composite, cross_entropy, numbers
from mlpipe.learn.losses.labels import Labels
from mlpipe.runs import maps

LABELS = Labels("images", torch.zeros(2, dtype=torch.int64), 4)


def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, 2, 5, 6, generator=generator), torch.rand(4, 2, 5, 6, generator=generator)


def test_sums_are_those_of_the_project() -> None:
    said, true = pair()
    true[2] = torch.nan
    outputs, counts = summed(said, true)
    for place in range(4):
        wanted = maps.errors(said[place].numpy(), true[place].numpy())
        assert np.allclose(outputs[place], wanted[0]) and np.array_equal(counts[place], wanted[1], equal_nan=True)


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        (auto.auto(LABELS), F.mse_loss),
        (numbers.mse(LABELS), F.mse_loss),
        (numbers.mae(LABELS), F.l1_loss),
        (numbers.huber(LABELS, delta=0.3), lambda said, true: F.huber_loss(said, true, delta=0.3)),
        (numbers.smooth_l1(LABELS, beta=0.3), lambda said, true: F.smooth_l1_loss(said, true, beta=0.3)),
        (cross_entropy.bce(LABELS), F.binary_cross_entropy),
        (
            composite.composite(LABELS, expression="mse+0.5*mae"),
            lambda said, true: F.mse_loss(said, true) + 0.5 * F.l1_loss(said, true),
        ),
    ],
)
def test_losses_are_those_of_torch(loss: torch.nn.Module, wanted: object) -> None:
    said, true = pair()
    assert loss(said, true).item() == pytest.approx(wanted(said, true).item(), rel=1e-5)  # type: ignore[operator]
    weights = torch.tensor([1.0, 0.0, 2.0, 0.0])
    each = torch.stack([wanted(said[row], true[row]) for row in (0, 2)])  # type: ignore[operator]
    assert loss(said, true, weights).item() == pytest.approx(((each[0] + 2 * each[1]) / 3).item(), rel=1e-5)


def test_losses_of_classes_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="ce is for classification or segmentation tasks, this task is images; use auto, mse"
    ):
        cross_entropy.ce(LABELS)
    with pytest.raises(ConfigError, match=r"is no loss of target images, got 'dice'"):
        composite.composite(LABELS, expression="mse+dice")
    with pytest.raises(ConfigError, match=r"loss\.label_smoothing: is not for images tasks"):
        cross_entropy.bce(LABELS, label_smoothing=0.1)


def test_views_are_undone_and_averaged() -> None:
    images = pair()[0]
    ramp = torch.arange(6.0)
    found = tta.flips(1.0).predict(lambda seen: seen * ramp, images, "images")
    assert torch.allclose(found, images * (ramp + ramp.flip(0)) / 2)
