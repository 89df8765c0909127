"""Images as grids of cells: against plain loops, and a training whose weights fit the plain network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlpipe.config import compose
from mlpipe.errors import ConfigError
from mlpipe.learn import slicing
from mlpipe.learn.slicing import Cells


class Tiny(nn.Module):
    """Two logits of the mean of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"target": self.layer(images.mean((2, 3)))}


def test_cells_are_cut_row_by_row() -> None:
    images = torch.arange(2 * 3 * 6 * 4).reshape(2, 3, 6, 4).float()
    cells = Cells(2, "mean").cut(images)
    assert cells.shape == (8, 3, 3, 2)
    expected = [one[:, top : top + 3, left : left + 2] for one in images for top in (0, 3) for left in (0, 2)]
    assert torch.equal(cells, torch.stack(expected))
    with pytest.raises(ConfigError, match=r"cannot be cut into 4 x 4 equal cells, got \[6, 4\]; use multiples of 4"):
        Cells(4, "mean").size(6, 4)


@pytest.mark.parametrize("over", ["mean", "max"])
def test_a_network_learns_cells_and_predicts_images(over: slicing.Over) -> None:
    torch.manual_seed(0)
    images, network, plain = torch.randn(3, 3, 4, 4), Tiny(), Tiny()
    plain.load_state_dict(network.state_dict())
    slicing.attach(network, Cells(2, over), {"target": "classification"})
    assert list(network.state_dict()) == list(plain.state_dict())
    each = plain(Cells(2, over).cut(images))["target"]
    torch.testing.assert_close(network(images)["target"], each)
    found = network.eval()(images)["target"].softmax(1)
    probabilities = each.softmax(1).reshape(3, 4, 2)
    joined = probabilities.mean(1) if over == "mean" else probabilities.amax(1)
    torch.testing.assert_close(found, joined / joined.sum(1, keepdim=True))


def test_labels_and_numbers() -> None:
    outputs = torch.tensor([[0.0], [2.0], [-1.0], [0.5]])
    assert Cells(2, "max").joined(outputs, "multilabel").tolist() == [[2.0]]
    torch.testing.assert_close(
        Cells(2, "mean").joined(outputs, "multilabel").sigmoid(), outputs.sigmoid().mean(0)[None]
    )
    assert Cells(2, "mean").joined(outputs, "regression").tolist() == [[0.375]]


def test_targets_of_cells() -> None:
    outputs = torch.zeros(6, 2)
    assert slicing.per_cell(torch.tensor([1, 0]), outputs).tolist() == [1, 1, 1, 0, 0, 0]
    assert slicing.per_cell(torch.arange(6), outputs).tolist() == [0, 1, 2, 3, 4, 5]


def test_what_it_cannot_go_with() -> None:
    with pytest.raises(ConfigError, match="slicing: optimizer=linear learns from whole images"):
        words = ["slicing=crops", "optimizer=linear", "arch.freeze=true", "augmentations=none"]
        compose.compose("train", words, compose.Facts(lambda: ()))
