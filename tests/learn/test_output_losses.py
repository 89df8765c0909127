"""Losses of every output against torch's, and the class weights that ignoring a class becomes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.errors import ConfigError
from mlpipe.learn import losses
from mlpipe.learn.losses import Labels
from mlpipe.learn.output_losses import elementwise

LABELS = Labels("classification", torch.tensor([5, 5, 5]), 15)
OUTPUTS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
TARGET = torch.tensor([0, 1, 2, 2, 1, 0, 0])
HOT = F.one_hot(TARGET, 3).float()


def focal(p: Tensor) -> Tensor:
    right = torch.where(HOT == 1, p, 1 - p)
    return (-((1 - right) ** 1.5) * right.log()).mean()


@pytest.mark.parametrize(
    ("of", "outputs", "wanted"),
    [
        ("bce", "sigmoid", nn.BCELoss()(OUTPUTS.sigmoid(), HOT)),
        ("bce", "softmax", nn.BCELoss()(OUTPUTS.softmax(1), HOT)),
        ("squared_error", "softmax", nn.MSELoss()(OUTPUTS.softmax(1), HOT)),
        ("squared_error", "sigmoid", nn.MSELoss()(OUTPUTS.sigmoid(), HOT)),
        ("squared_error", "linear", nn.MSELoss()(OUTPUTS, HOT)),
        ("focal", "sigmoid", focal(OUTPUTS.sigmoid())),
        ("focal", "softmax", focal(OUTPUTS.softmax(1))),
    ],
)
def test_each_is_torchs(of: str, outputs: str, wanted: Tensor) -> None:
    loss = elementwise(LABELS, of=of, outputs=outputs, gamma=1.5)  # type: ignore[arg-type]
    assert torch.allclose(loss(OUTPUTS, TARGET), wanted, atol=1e-6)
    assert torch.allclose(loss(OUTPUTS, HOT), wanted, atol=1e-6)
    assert torch.allclose(loss(OUTPUTS, TARGET, torch.ones(7)), wanted, atol=1e-6)


def test_a_weight_of_zero_is_torchs_ignore_index() -> None:
    logs = OUTPUTS.log_softmax(1)
    loss = losses.nll(LABELS, class_weights=[1.0, 0.0, 1.0])
    assert torch.allclose(loss(logs, TARGET), F.nll_loss(logs, TARGET, ignore_index=1))
    with pytest.raises(ConfigError, match=r"loss\.class_weights: does not fit the classes"):
        losses.nll(LABELS, class_weights=[0.0, 0.0, 0.0])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="elementwise is for classification, this task is regression"):
        elementwise(Labels("regression", torch.zeros(1), 3))
    with pytest.raises(ConfigError, match="bce takes probabilities, got 'linear'"):
        elementwise(LABELS, of="bce", outputs="linear")
