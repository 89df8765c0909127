"""Parts of a batch give the outputs, the loss and the gradients of the whole."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mlpipe.learn.gradients import microbatches


class Net(nn.Module):
    """Any layers, with a head's name."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.seen = nn.Sequential(*layers), list[int]()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        self.seen.append(len(images))
        return {"target": self.layers(images)}


def gradients(network: Net, images: Tensor, most: int | None) -> tuple[float, dict[str, Tensor]]:
    network.zero_grad()
    outputs = microbatches.forward(network, images, most)["target"]
    # A loss that is no mean over images, so that means of parts would be wrong.
    loss = outputs.logsumexp(0).square().sum() + outputs.std()
    loss.backward()
    return loss.item(), {name: parameter.grad.clone() for name, parameter in network.named_parameters()}  # type: ignore[union-attr]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 8, 100])
def test_loss_and_gradients_of_the_whole_batch(most: int) -> None:
    torch.manual_seed(0)
    network = Net(nn.Linear(5, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)).double()
    images = torch.randn(8, 5, dtype=torch.float64)
    loss, expected = gradients(network, images, None)
    network.seen.clear()
    again, found = gradients(network, images, most)
    assert again == pytest.approx(loss, rel=1e-12)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-10, atol=1e-12)
    assert max(network.seen) <= most and sum(network.seen) == (8 if most >= 8 else 16)


def test_batch_statistics_count_once_and_are_those_of_the_parts() -> None:
    torch.manual_seed(0)
    network = Net(nn.Linear(5, 4), nn.BatchNorm1d(4)).double()
    one_by_one, images = copy.deepcopy(network), torch.randn(6, 5, dtype=torch.float64)
    gradients(network, images, 3)
    for part in images.split(3):
        one_by_one(part)
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, dict(one_by_one.named_buffers())[name]), name


def test_dropout_is_the_same_when_it_is_computed_again() -> None:
    """With another mask the second time, the gradients would be those of another function."""
    network = Net(nn.Dropout(0.5))
    images = torch.ones(6, 40, requires_grad=True)
    torch.manual_seed(0)
    outputs = microbatches.forward(network, images, 2)["target"]
    outputs.sum().backward()
    assert torch.equal(images.grad, outputs.detach()) and 0 < (outputs == 0).sum() < outputs.numel()  # type: ignore[arg-type]


def test_evaluation_in_parts() -> None:
    network = Net(nn.Linear(5, 3), nn.BatchNorm1d(3)).eval()
    images = torch.randn(7, 5)
    with torch.no_grad():
        found = microbatches.forward(network, images, 2)["target"]
        torch.testing.assert_close(found, network(images)["target"])


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 2))
def test_no_part_is_empty_or_too_small(images: int, most: int, least: int) -> None:
    parts = microbatches.count(images, most, least)
    sizes = [len(part) for part in torch.zeros(images).tensor_split(parts)]
    assert sum(sizes) == images and min(sizes) >= min(least, images)
    assert all(abs(one - other) <= 1 for one, other in pairwise(sizes))
    assert max(sizes) <= max(most, 2 * least - 1)
