"""The trial of the smallest batch changes nothing."""

from __future__ import annotations

import pytest
import torch

from mlpipe.errors import DataError
from mlpipe.learn.build import smallest_batch


def test_a_try_leaves_network_and_draws_alone() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5))
    network.eval()
    kept = {name: one.clone() for name, one in network.state_dict().items()}
    drawn = torch.random.get_rng_state()
    smallest_batch.check(network, torch.randn(1, 1, 5, 5, generator=torch.Generator().manual_seed(0)), [4, 3], 4, "net")
    assert torch.equal(torch.random.get_rng_state(), drawn) and not any(one.training for one in network.modules())
    assert all(torch.equal(kept[name], one) for name, one in network.state_dict().items())
    with pytest.raises(DataError, match="training part has no more"):
        smallest_batch.check(network, torch.randn(1, 1, 3, 3), [1], 32, "net")
