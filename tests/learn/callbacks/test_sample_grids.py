"""A grid of drawn images after every epoch: what the network draws, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from mlpipe.arch.gan import ConvCritic, ConvGenerator, Gan, PixelFeatures, seeds_of
from mlpipe.learn.callbacks.sample_grids import SampleGrids
from mlpipe.learn.module import FoldModule
from mlpipe.runs import grids


@pytest.mark.parametrize("is_first", [True, False])
def test_the_grid_of_an_epoch(is_first: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = (1, 8, 8)
    parts = ConvGenerator(4, shape, 4, signed=True), ConvCritic(shape, 4), PixelFeatures(255.0)
    network = Gan(*parts, 4, shape, 255.0, signed=True, target="target")
    module = mock.Mock(spec=FoldModule, network=network, device=torch.device("cpu"))
    trainer = mock.Mock(is_global_zero=is_first, current_epoch=4)
    state = torch.get_rng_state()
    SampleGrids(tmp_path).on_train_epoch_end(cast(Any, trainer), module)
    assert torch.equal(torch.get_rng_state(), state) and network.training
    # Of several processes one writes.
    assert list(grids.stored(tmp_path)) == ([5] if is_first else [])
    if is_first:
        sheet = np.asarray(Image.open(grids.file_of(tmp_path, 5)))
        # Eight rows of eight images, two pixels between them.
        assert sheet.shape == (82, 82, 3)
        drawn = network.draw(seeds_of(0, 64))[8 + 3, 0].numpy().round()
        assert (sheet[12:20, 32:40] == drawn[:, :, None]).all()
