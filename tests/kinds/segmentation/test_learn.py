"""Counts of pixels in torch are those of NumPy, and views of an image are undone on its mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mlpipe.data.task import IGNORED
from mlpipe.errors import ConfigError
from mlpipe.kinds.segmentation.learn import counted
from mlpipe.learn import tta
from mlpipe.runs import maps


def test_counts_are_those_of_the_project() -> None:
    generator = torch.Generator().manual_seed(0)
    said = torch.randint(0, 3, (5, 7, 6), generator=generator)
    true = torch.randint(0, 3, (5, 7, 6), generator=generator)
    true[:, 2], true[4] = IGNORED, IGNORED
    outputs, targets = counted(said, true, 3)
    for place in range(4):
        wanted = maps.counts(said[place].numpy(), true[place].numpy().astype(np.uint8), 3)
        assert outputs[place].tolist() == wanted[0].tolist()
        assert targets[place].tolist() == wanted[1].tolist()
    assert outputs[4].sum() == targets[4].sum() == 0


def colours(images: Tensor) -> Tensor:
    """A network that looks at each pixel alone: its logits move as the image does."""
    return torch.cat([images[:, :1], 1 - images[:, :1]], 1) * 5


@pytest.mark.parametrize("views", [tta.flips(1.0, vertical=True), tta.rotate(1.0), tta.d4(1.0)])
def test_views_are_undone(views: tta.Views) -> None:
    images = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    outputs = views.predict(colours, images, "segmentation")
    assert torch.allclose(outputs.softmax(1), colours(images).softmax(1), atol=1e-6)


def test_the_mean_is_of_probabilities() -> None:
    images = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(1))

    def left(seen: Tensor) -> Tensor:
        return colours(seen) * torch.arange(4)

    outputs = tta.flips(1.0).predict(left, images, "segmentation")
    wanted = (left(images).softmax(1) + left(images.flip(3)).flip(3).softmax(1)) / 2
    assert torch.allclose(outputs.softmax(1), wanted, atol=1e-6)


def test_crops_cannot_be_undone() -> None:
    with pytest.raises(ConfigError, match="cannot be undone on its mask"):
        tta.crop(1.0).predict(colours, torch.zeros(1, 1, 8, 8), "segmentation")
    named = tta.views(1.0, views=["identity", "rot90"])
    images = torch.rand(1, 1, 6, 6)
    assert torch.allclose(
        named.predict(colours, images, "segmentation").softmax(1), colours(images).softmax(1), atol=1e-6
    )
