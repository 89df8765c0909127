"""A generator and its critic as a fold: continued exactly, turn by turn, and judged by the distance of what is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytest import MonkeyPatch

from mlpipe.arch.gan import Gan
from mlpipe.config.schema import Healing
from mlpipe.errors import ConfigError, Interrupted
from mlpipe.kinds.generation import learn
from mlpipe.learn import fit
from mlpipe.learn.build.trial import try_recipe
from mlpipe.learn.callbacks import keeper
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.learn.module import FoldModule
from mlpipe.runs import grids
from tests.learn import conftest

GAN = [
    "task=digits", "arch=gan", "arch.width=4", "arch.noise=8", "arch.features=pixels", "loss=wasserstein",
    "loss.critic_steps=2", "preprocessing.size=8", "augmentations=none", "optimizer=adam", "sys.threads=1",
    "split.folds=8", "mode.nested=false", "trainer.max_epochs=3", "split.test_fraction=0.95", "sampling.batch_size=16",
]  # fmt: skip


@pytest.fixture
def job(monkeypatch: MonkeyPatch) -> Callable[..., FoldJob]:
    """Makes a fold of small digits, of seven batches an epoch: not a multiple of the turns."""
    monkeypatch.setattr(conftest, "BASE", GAN)
    monkeypatch.setattr(keeper, "_SAVING_SHARE", 0)
    return conftest.job


def history(one: FoldJob) -> str:
    return (one.files.project.model_dir("digits", "record") / "metrics.csv").read_text()


@pytest.mark.program
@pytest.mark.parametrize("overrides", [["cbs=ema", "cbs.ema.decay=0.9", "trainer.accumulate_grad_batches=2"]])
def test_continued_is_bit_identical(overrides: list[str], job: Callable[..., FoldJob], tmp_path: Path) -> None:
    whole, cut = job(tmp_path / "whole", *overrides), job(tmp_path / "cut", *overrides)
    expected, asked = fit.fit(whole, Watch()), 0

    def in_the_second_epoch() -> bool:
        nonlocal asked
        asked += 1
        return asked > 11

    with pytest.raises(Interrupted):
        fit.fit(cut, Watch(should_stop=in_the_second_epoch))
    record = fit.fit(cut, Watch())
    assert record.weights == expected.weights and record.scores == expected.scores
    assert history(cut) == history(whole)
    folders = [one.files.project.model_dir("digits", "record") for one in (whole, cut)]
    assert list(grids.stored(folders[0])) == list(grids.stored(folders[1])) == [1, 2, 3]
    for epoch in (1, 2, 3):
        first, second = (np.asarray(Image.open(grids.file_of(folder, epoch))) for folder in folders)
        assert (first == second).all()


def test_what_is_told_of_an_epoch(job: Callable[..., FoldJob], tmp_path: Path) -> None:
    one = job(tmp_path, "trainer.max_epochs=1")
    record = fit.fit(one, Watch())
    assert record.kind == "generation"
    assert set(record.scores["val"]) == {"frechet", "critic_gap", "loss"}
    assert record.scores["val"]["loss"] == pytest.approx(record.scores["val"]["frechet"])
    columns = history(one).splitlines()[0].split(",")
    assert {"train/loss", "train/critic_gap", "train/penalty", "val/frechet", "val/critic_gap"} <= set(columns)


def test_each_step_moves_one_part(job: Callable[..., FoldJob], tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    """With momentum, which moves weights without a gradient where an optimizer does not leave them alone."""
    moved: list[tuple[bool, bool, bool]] = []
    plain = FoldModule.optimizer_step

    def watched(self: FoldModule, *given: object, **named: object) -> None:
        network = self.network
        assert isinstance(network, Gan)
        parts = network.generator, network.critic
        before = [torch.cat([one.detach().flatten().clone() for one in part.parameters()]) for part in parts]
        plain(self, *given, **named)  # type: ignore[arg-type]
        after = [torch.cat([one.detach().flatten() for one in part.parameters()]) for part in parts]
        moved.append(
            (network.generators_turn, *(not one.equal(other) for one, other in zip(before, after, strict=True)))  # type: ignore[arg-type]
        )

    monkeypatch.setattr(FoldModule, "optimizer_step", watched)
    fit.fit(job(tmp_path, "trainer.max_epochs=1", "optimizer.weight_decay=0.1"), Watch())
    assert moved == [(turn, turn, not turn) for turn in ([False, False, True] * 9)[: len(moved)]]
    assert len(moved) > 3


def test_memory_that_runs_out_is_recovered_from(
    job: Callable[..., FoldJob], tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    """Parts of a batch are computed again for their gradients, the slope's among them."""
    one, plain, failed = job(tmp_path, "trainer.max_epochs=1"), Gan._training_outputs, False

    def short(self: Gan, images: torch.Tensor) -> torch.Tensor:
        nonlocal failed
        if len(images) > 8:
            failed = True
            raise torch.OutOfMemoryError("out of memory")
        return plain(self, images)

    monkeypatch.setattr(Gan, "_training_outputs", short)
    record = fit.fit(dataclasses.replace(one, healing=Healing()), Watch())
    assert failed and [event["kind"] for event in record.events] == ["out of memory"]
    assert np.isfinite(record.scores["val"]["frechet"])


def test_sections_that_know_nothing_of_turns(job: Callable[..., FoldJob], tmp_path: Path) -> None:
    one = job(tmp_path, "metrics.while_training=true", "optimizer=lbfgs", "tune=lr_find")
    with pytest.raises(ConfigError) as caught:
        try_recipe(one.recipe, one.task, one.pack, one.view.train)
    keys = [sentence.partition(":")[0] for sentence in caught.value.problems]
    assert keys == ["optimizer", "metrics.while_training", "tune"]


def test_a_loss_of_turns_wants_two_networks(
    job: Callable[..., FoldJob], tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(conftest, "BASE", [one for one in GAN if not one.startswith("arch")])
    one = job(tmp_path, "arch=test_resnet", "arch.pretrained=false", "preprocessing.size=16")
    with pytest.raises(ConfigError, match="loss: a generator and a critic learn by this loss, got 'arch=test_resnet'"):
        try_recipe(one.recipe, one.task, one.pack, one.view.train)


def test_of_all_images_together() -> None:
    rng = np.random.default_rng(0)
    outputs = torch.from_numpy(rng.normal(size=(9, 6)).astype(np.float32))
    parts = [learn.kept(torch.nn.Identity(), part, torch.zeros(len(part))) for part in outputs.split(4)]
    kept, ones = (torch.cat(several) for several in zip(*parts, strict=True))
    loss, rows = learn.validated(torch.nn.Identity(), kept, ones)
    assert rows.equal(outputs) and float(loss) > 0
