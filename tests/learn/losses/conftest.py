"""Losses by the names of their options, and what they are called with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mlpipe import names
from mlpipe.config.components import Component
from mlpipe.data.task import IGNORED
from mlpipe.learn.losses.labels import Labels


def build(name: str, labels: Labels, **options: Any) -> torch.nn.Module:
    """A loss by the name of its option."""
    loss: torch.nn.Module = Component("loss", names.path_of("loss", name), options).build(labels)
    return loss


LOGITS = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


TARGET = torch.arange(20) % 4


COUNTS = torch.tensor([10, 20, 5, 5])


CLASSES = Labels("classification", COUNTS, 40)


LABELS = Labels("multilabel", COUNTS, 40)


NUMBERS = Labels("regression", COUNTS * 0, 40)


WEIGHT = torch.linspace(0.5, 3, 20, dtype=torch.float64)


SOFT = torch.rand(20, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(dim=1)


ONE_HOT = torch.eye(4, dtype=torch.float64)[TARGET]


FLAGS = (SOFT > 0.25).double()


def batch(classes: int = 3, ignored: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(4, classes, 6, 5, generator=generator)
    target = torch.randint(0, classes, (4, 6, 5), generator=generator)
    if ignored:
        target[:, 0], target[1] = IGNORED, IGNORED
    return logits, target


def of_masks(classes: int = 3, counts: list[int] | None = None) -> Labels:
    return Labels("segmentation", torch.tensor(counts or [10] * classes), 4)
