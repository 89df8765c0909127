"""Statistics computed anew are torch's `update_bn`, stored with the averaged weights, and the same after a resume."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from mlpipe.errors import Interrupted
from mlpipe.learn import fit
from mlpipe.learn.build import fold
from mlpipe.learn.job import Watch
from tests.learn.conftest import job, joint_job

pytestmark = pytest.mark.program

KEYS = [
    "arch.drop_rate=0", "augmentations=none", "optimizer=sgd", "optimizer.lr=0.5", "lr_scheduler=none",
    "callbacks=swa", "callbacks.swa.start=0.25", "trainer.max_epochs=4", "sampling.batch_size=64",
    "split.test_fraction=0.8",
]  # fmt: skip


class Images(nn.Module):
    """A network as `update_bn` calls it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(images)["target"]
        return found


def statistics(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.clone() for name, one in network.state_dict().items() if "running_" in name}


def test_kept_statistics_are_those_of_torch(tmp_path: Path) -> None:
    made = job(tmp_path, *KEYS, store_best=False)
    module = fit.train(made, Watch()).module
    kept = statistics(module.network)
    _, data, _ = fold.first_stage(made, Watch())
    loader = data.train_dataloader()
    loader.sampler.set_epoch(3)  # type: ignore[attr-defined]
    again = copy.deepcopy(module.network)
    update_bn([batch["images"] for batch in loader], Images(again))
    assert kept.keys() == statistics(again).keys()
    for name, tensor in statistics(again).items():
        torch.testing.assert_close(kept[name], tensor, rtol=1e-4, atol=1e-5)


def test_weights_that_lie_far_apart_are_judged_with_their_own_statistics(tmp_path: Path) -> None:
    made = job(tmp_path, *KEYS, "trainer.max_epochs=8")
    result = fit.train(made, Watch())
    best = [row["val/loss"] for row in result.module.history]
    # The raw network's validation in the first epochs, before the averaging begins, is what it is to be compared with.
    assert result.scores["loss"] == pytest.approx(min(best), rel=1e-4)
    assert result.scores["accuracy"] > 0.5


def test_a_resumed_training_has_the_same(tmp_path: Path, saves_every_epoch: None) -> None:
    keys = [*KEYS, "augmentations=flips", "arch.drop_rate=0.2"]
    whole = fit.train(job(tmp_path / "whole", *keys), Watch()).module.network.state_dict()
    made, calls = job(tmp_path / "parts", *keys), iter(range(17))
    with pytest.raises(Interrupted):
        fit.train(made, Watch(should_stop=lambda: next(calls, None) is None))
    parts = fit.train(made, Watch()).module.network.state_dict()
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())


def test_frozen_layers_keep_theirs(tmp_path: Path) -> None:
    made = job(tmp_path, *KEYS, "arch.freeze=2", "trainer.max_epochs=2", store_best=False)
    network, _, _ = fold.first_network(made)
    before = copy.deepcopy(network.state_dict())
    after = fit.train(made, Watch()).module.network
    frozen = {
        name
        for name, part in after.named_modules()
        if isinstance(part, _BatchNorm) and not any(one.requires_grad for one in part.parameters())
    }
    assert frozen
    for name, tensor in statistics(after).items():
        assert torch.equal(before[name], tensor) == (name.rpartition(".")[0] in frozen), name


def test_tasks_that_are_learned_together_and_networks_without_any(tmp_path: Path) -> None:
    together = joint_job(tmp_path / "joint", *KEYS, "trainer.max_epochs=2", weights=(1.0, 1.0, 1.0))
    module = fit.train(together, Watch()).module
    assert all(torch.isfinite(one).all() for one in module.network.state_dict().values())
    plain = job(
        tmp_path / "plain",
        *KEYS,
        "arch=test_convnext",
        "preprocessing.size=32",
        "trainer.max_epochs=2",
        "optimizer.lr=0.01",
    )
    assert not statistics(fit.train(plain, Watch()).module.network)
