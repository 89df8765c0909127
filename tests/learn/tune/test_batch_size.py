"""How many images fit at a time: doubling until memory runs out, parts that divide the batch, gradients that add up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mlpipe.errors import ConfigError, TrainingError
from mlpipe.learn import fit, recording, tune
from mlpipe.learn.job import Watch
from mlpipe.learn.module import FoldModule
from mlpipe.learn.tune import batch_size
from tests.learn.conftest import job


@pytest.mark.parametrize(
    ("limit", "most", "found", "tried"),
    [
        (100, 64, 64, [2, 4, 8, 16, 32, 64]),
        (20, 64, 16, [2, 4, 8, 16, 32]),
        (100, 48, 48, [2, 4, 8, 16, 32, 48]),
        (2, 2, 2, [2]),
        (1, 1, 1, [1]),
    ],
)
def test_doubling(limit: int, most: int, found: int, tried: list[int]) -> None:
    seen: list[int] = []

    def fits(size: int) -> bool:
        seen.append(size)
        return size <= limit

    assert batch_size.largest_that_fits(fits, most) == found
    assert seen == tried


def test_nothing_fits() -> None:
    with pytest.raises(TrainingError, match="not even 2 images fit into memory; choose a smaller arch"):
        batch_size.largest_that_fits(lambda size: False, 8)


@pytest.mark.parametrize(
    ("batch", "fitting", "part"), [(32, 16, 16), (32, 31, 16), (48, 32, 24), (30, 16, 15), (1, 1, 1), (8, 64, 8)]
)
def test_parts_divide_the_batch(batch: int, fitting: int, part: int) -> None:
    assert batch_size.part_of_batch(batch, fitting) == part


def test_a_batch_that_cannot_be_split() -> None:
    with pytest.raises(ConfigError, match="sampling.batch_size: 16 images fit into memory, and 31 cannot be split"):
        batch_size.part_of_batch(31, 16)


def limited(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> None:
    step = FoldModule.training_step

    def training_step(self: FoldModule, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        if len(batch["target"]) > most:
            raise error
        return step(self, batch, batch_idx)

    monkeypatch.setattr(FoldModule, "training_step", training_step)


@pytest.mark.program
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_out_of_memory_splits_the_batch(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(tmp_path, "sampling.batch_size=24", "trainer.max_epochs=1", "trainer.accumulate_grad_batches=2")
    limited(monkeypatch, 10, error)
    found = batch_size.batch_size().find(one, Watch())
    assert [(row["images"], row["fits"]) for row in found.table] == [(2, 1), (4, 1), (8, 1), (16, 0)]
    assert found.chosen == {"micro_batch": 8, "accumulate": 3}
    recipe = tune.applied(one.recipe, found.chosen)
    assert recipe.sampling.params["batch_size"] == 8
    assert recipe.trainer["accumulate_grad_batches"] == 6
    assert one.recipe.sampling.params["batch_size"] == 24
    record = fit.fit(replace(one, recipe=recipe, origin=replace(one.origin, tuned=found.chosen)), Watch())
    assert record.environment["micro_batch"] == 8


def test_another_error_is_not_a_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 0, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        batch_size.batch_size().find(job(tmp_path), Watch())


def test_a_cap_is_the_most_that_is_tried(tmp_path: Path) -> None:
    found = batch_size.batch_size(cap=4).find(job(tmp_path, "sampling.batch_size=24"), Watch())
    assert found.chosen == {"micro_batch": 4, "accumulate": 6}


@pytest.mark.program
@pytest.mark.parametrize("schedule", ["plateau", "one_cycle"])
def test_a_schedule_is_no_part_of_the_test(schedule: str, tmp_path: Path) -> None:
    """A plateau schedule asked for the score of validation images, of which none are looked at, and ended it."""
    one = job(tmp_path, "sampling.batch_size=8", f"lr_scheduler={schedule}")
    one = replace(one, view=replace(one.view, train=one.view.train[:12], val=one.view.val[:4]))
    assert batch_size.batch_size().find(one, Watch()).chosen == {"micro_batch": 8, "accumulate": 1}


@pytest.mark.program
def test_a_batch_of_all_images_is_left_as_it_is(tmp_path: Path) -> None:
    """It was split, or refused where no number up to that of the images divides it."""
    one = job(tmp_path, "sampling.batch_size=31")
    one = replace(one, view=replace(one.view, train=one.view.train[:12], val=one.view.val[:4]))
    assert batch_size.batch_size().find(one, Watch()).chosen == {"micro_batch": 31, "accumulate": 1}


@pytest.mark.program
def test_a_batch_with_images_more_than_once_is_split_into_parts_that_were_tried(tmp_path: Path) -> None:
    """Twelve at a time were tried, and one of 24 was promised to fit."""
    one = job(tmp_path, "sampling=balanced", "sampling.batch_size=24", "sampling.sample_count=48")
    one = replace(one, view=replace(one.view, train=one.view.train[:12], val=one.view.val[:4]))
    assert batch_size.batch_size().find(one, Watch()).chosen == {"micro_batch": 12, "accumulate": 2}


@pytest.mark.program
def test_parts_add_up_to_the_batchs_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a network without batch statistics, a training in parts is the training in batches."""
    wide = ["arch=test_vit", "preprocessing.size=32", "arch.drop_rate=0", "trainer.max_epochs=1", "optimizer=sgd"]
    one = job(tmp_path, *wide, "optimizer.lr=1e-2", "sampling.batch_size=24", "split.test_fraction=0.9")
    one = replace(one, view=replace(one.view, train=one.view.train[:48], val=one.view.val[:8]))
    states: list[dict[str, Any]] = []
    monkeypatch.setattr(recording.weight_files, "save", lambda state, path: states.append(dict(state)) or "hash")
    fit.fit(one, Watch())
    fit.fit(replace(one, recipe=tune.applied(one.recipe, {"micro_batch": 8, "accumulate": 3})), Watch())
    whole, parts = states
    assert all(torch.allclose(whole[name], parts[name], atol=1e-5) for name in whole)
