"""Batches: the right images, targets and rows, the same with any number of loader processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from mlpipe.data import preprocessing, sampling, sources
from mlpipe.data.augment import samples
from mlpipe.data.cache import packs
from mlpipe.data.loading.loaders import Draw, FoldData, PackDataset
from mlpipe.data.splits import methods, variants
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task

STEPS = (samples.random_crop(padding=0.25), samples.horizontal_flip())


@pytest.fixture
def parts(picture_folder: Path, tmp_path: Path) -> tuple[Task, View, packs.Pack]:
    task = sources.folder(root=str(picture_folder))
    pack = packs.build(task, preprocessing.standard(3, id="x", size=8), tmp_path / "pack", workers=1)
    return task, variants.plain(task, methods.kfold(task.samples, folds=3), 1), pack


def fold_data(
    parts: tuple[Task, View, packs.Pack],
    *,
    workers: int = 0,
    seed: int = 3,
    fold: int = 1,
    steps: Sequence[samples.Step] = STEPS,
) -> FoldData:
    task, view, pack = parts
    return FoldData(
        task,
        view,
        pack,
        steps=steps,
        sampling=sampling.full(batch_size=5, eval_batch_size=7),
        draw=Draw(seed, fold),
        num_workers=workers,
    )


def epochs(data: FoldData, numbers: tuple[int, ...]) -> list[dict[str, torch.Tensor]]:
    loader = data.train_dataloader()
    batches = []
    for number in numbers:
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
        batches += list(loader)
    return batches


def equal(one: list[dict[str, torch.Tensor]], other: list[dict[str, torch.Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(first[key], second[key]) for first, second in zip(one, other, strict=True) for key in first
    )


def test_the_same_batches_with_and_without_processes(parts: tuple[Task, View, packs.Pack]) -> None:
    alone, helped = fold_data(parts), fold_data(parts, workers=2)
    assert equal(epochs(alone, (0, 1)), epochs(helped, (0, 1)))
    assert equal(list(alone.val_dataloader()), list(helped.val_dataloader()))


def test_training_batches_hold_every_training_row_once_with_its_target(parts: tuple[Task, View, packs.Pack]) -> None:
    task, view, _ = parts
    batches = epochs(fold_data(parts), (0,))
    rows = torch.cat([batch["row"] for batch in batches]).numpy()
    assert sorted(rows.tolist()) == view.train.tolist()
    assert torch.cat([batch["target"] for batch in batches]).tolist() == task.samples.targets[rows].tolist()
    for batch in batches:
        assert batch["images"].dtype == torch.uint8 and batch["images"].shape[1:] == (3, 8, 8)
        assert batch["target"].dtype == batch["row"].dtype == torch.int64


def test_what_a_training_draws_depends_on_seed_fold_and_epoch(parts: tuple[Task, View, packs.Pack]) -> None:
    base = epochs(fold_data(parts), (0,))
    assert equal(base, epochs(fold_data(parts), (0,)))
    for other in (
        epochs(fold_data(parts, seed=4), (0,)),
        epochs(fold_data(parts, fold=2), (0,)),
        epochs(fold_data(parts), (1,)),
    ):
        assert not equal(base, other)


def test_an_alternating_flip_mirrors_each_image_in_every_second_epoch(parts: tuple[Task, View, packs.Pack]) -> None:
    data, pack = fold_data(parts, steps=(samples.alternating_flip(),)), parts[2]
    mirrored: dict[int, list[bool]] = {}
    for epoch in range(4):
        for batch in epochs(data, (epoch,)):
            for row, image in zip(batch["row"].tolist(), batch["images"], strict=True):
                own = torch.from_numpy(pack.take_fixed(np.array([row]))[0]).movedim(-1, 0)
                assert not torch.equal(own, own.flip(-1))
                is_mirrored = torch.equal(image, own.flip(-1))
                assert is_mirrored or torch.equal(image, own)
                mirrored.setdefault(row, []).append(is_mirrored)
    assert sorted(mirrored) == parts[1].train.tolist()
    assert {tuple(one) for one in mirrored.values()} == {(False, True, False, True), (True, False, True, False)}


def test_evaluation_is_not_augmented_and_in_order(parts: tuple[Task, View, packs.Pack]) -> None:
    _, view, pack = parts
    batches = list(fold_data(parts).val_dataloader())
    assert torch.cat([batch["row"] for batch in batches]).tolist() == view.val.tolist()
    images = torch.cat([batch["images"] for batch in batches]).numpy()
    assert (images == pack.images[view.val].transpose(0, 3, 1, 2)).all()
    some = np.array([30, 2, 17])
    (batch,) = fold_data(parts).rows_dataloader(some)
    assert batch["row"].tolist() == [30, 2, 17]


def test_an_augmented_sample_is_the_same_in_any_batch(parts: tuple[Task, View, packs.Pack]) -> None:
    task, _, pack = parts
    dataset = PackDataset(pack, task, STEPS, Draw(3, 1))
    together = dataset[(4, np.array([1, 8, 20, 35]))]["images"]
    for place, row in enumerate((1, 8, 20, 35)):
        assert torch.equal(dataset[(4, np.array([row]))]["images"][0], together[place])
    assert not torch.equal(dataset[(5, np.array([1, 8, 20, 35]))]["images"], together)
    assert len(dataset) == 36


def test_batches_can_be_changed_without_changing_the_pack(parts: tuple[Task, View, packs.Pack]) -> None:
    before = parts[2].images.copy()
    for batch in fold_data(parts).val_dataloader():
        batch["images"].zero_()
        batch["target"].zero_()
    assert (parts[2].images == before).all()
    assert parts[0].samples.targets.sum() == 36
