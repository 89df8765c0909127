"""What a head learns from: pixels and targets as they are given to its loss."""

from __future__ import annotations

import torch

from mlpipe.learn.heads import LearnedHead


def test_pixels_of_16_bit_are_as_bright_as_those_of_8() -> None:
    head = LearnedHead("task1", "classification", 2, torch.nn.CrossEntropyLoss(), None, 255 / 65535)
    images, target = head.augmented_batch({"images": torch.tensor([[65535.0]]), "target": torch.tensor([1])}, [], 1)
    assert images.tolist() == [[255.0]] and target.tolist() == [1]


def test_numbers_are_compared_in_their_unit() -> None:
    scale = torch.tensor([2.0, 0.0]), torch.tensor([4.0, 0.5])
    head = LearnedHead("target", "regression", 2, torch.nn.MSELoss(), scale)
    outputs, target = torch.tensor([[6.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    assert float(head.criterion(outputs, target)) == float(head.mean_loss(outputs, target)) == (1.0 + 4.0) / 2
