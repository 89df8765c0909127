"""What a head learns from: pixels and targets as they are given to its loss."""

from __future__ import annotations

import pytest
import torch

from mlpipe.config.components import Component
from mlpipe.learn.heads import LearnedHead
from mlpipe.learn.losses.labels import Labels
from mlpipe.names import path_of


def test_pixels_of_16_bit_are_as_bright_as_those_of_8() -> None:
    head = LearnedHead("task1", "classification", 2, torch.nn.CrossEntropyLoss(), None, 255 / 65535)
    images, target = head.augmented_batch({"images": torch.tensor([[65535.0]]), "target": torch.tensor([1])}, [], 1)
    assert images.tolist() == [[255.0]] and target.tolist() == [1]


def test_numbers_are_compared_in_their_unit() -> None:
    scale = torch.tensor([2.0, 0.0]), torch.tensor([4.0, 0.5])
    head = LearnedHead("target", "regression", 2, torch.nn.MSELoss(), scale)
    outputs, target = torch.tensor([[6.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    assert float(head.criterion(outputs, target)) == float(head.mean_loss(outputs, target)) == (1.0 + 4.0) / 2


@pytest.mark.parametrize("name", ["ce", "elementwise", "poisson"])
def test_losses_keep_all_digits_in_mixed_precision(name: str) -> None:
    """Products of matrices in a loss were rounded to bfloat16, and a GPU refused the cross-entropy of probabilities."""
    drawn = torch.Generator().manual_seed(0)
    outputs, target = torch.randn(9, 3, generator=drawn), torch.rand(9, 3, generator=drawn).softmax(1)
    labels = Labels("classification", torch.tensor([7, 5, 3]), 15)
    if name == "poisson":
        outputs, target = torch.rand(2, 1, 5, 5, generator=drawn), torch.rand(2, 1, 5, 5, generator=drawn)
        labels = Labels("images", torch.zeros(1, dtype=torch.int64), 2)
    options = {"class_weights": [1.1, 2.3, 0.7]} if name == "ce" else {}
    loss = Component("loss", path_of("loss", name), options).build(labels)
    head = LearnedHead("target", labels.kind, 3, loss)
    plain = head.mean_loss(outputs, target)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = head.mean_loss(outputs, target)
    assert mixed.dtype == torch.float32 and mixed.item() == plain.item()
