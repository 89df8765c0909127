"""Batches of images and target images: the same pairs whatever the batch, and patches in evaluation where there are targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mlpipe.data import sources
from mlpipe.data.augment import paired, samples
from mlpipe.data.augment.patches import random_patches
from mlpipe.data.cache import packs
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.loaders import Draw, FoldData, PackDataset
from mlpipe.data.preprocessing import standard
from mlpipe.data.sampling import full
from mlpipe.data.sources.targets import target_files
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task


def drawn(folder: Path) -> Task:
    """Six images with their negatives as targets, of which the last, a test image, has none."""
    noise = np.random.default_rng(0)
    for index in range(6):
        values = noise.integers(0, 256, (16, 20)).astype(np.uint8)
        part = "b" if index == 5 else "a"
        for kind, pixels in (("x", values), ("y", 255 - values)):
            path = folder / part / kind / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    where = {"train": "a/x", "train_targets": "a/y", "test": "b/x"}
    return sources.image_folders(**{key: str(folder / path) for key, path in where.items()})  # type: ignore[arg-type]


def packed(task: Task, folder: Path, keep: str = "fixed") -> Pack:
    wanted = standard(1, id="s", size=16, keep=keep)  # type: ignore[arg-type]
    of_targets, alike = target_files.task_of(task), target_files.preprocessing_of(wanted, 1)
    images = packs.build(task, wanted, folder / packs.pack_id(task, wanted), workers=1)
    targets = packs.build(of_targets, alike, folder / packs.pack_id(of_targets, alike), workers=1)
    return replace(images, masks=targets)


@pytest.mark.parametrize("keep", ["fixed", "original"])
def test_pairs_come_together(tmp_path: Path, keep: str) -> None:
    task = drawn(tmp_path)
    assert task.samples.ids[0].startswith("test/")
    steps = [paired.adapt("mlpipe.data.augment.samples.horizontal_flip", samples.horizontal_flip(), of_images=True)]
    dataset = PackDataset(packed(task, tmp_path, keep), task, steps, Draw(0, 0), is_training=True)
    batch = dataset[(3, np.arange(6))]
    images, target = batch["images"].numpy() / 255, batch["target"].numpy()
    assert images.shape == target.shape == (6, 1, 16, 16) and target.dtype == np.float32
    # Resizing rounds each of the two.
    assert np.abs(images[1:] + target[1:] - 1).max() <= 1.01 / 255 and np.isnan(target[0]).all()
    assert torch.equal(dataset[(3, np.array([2]))]["target"][0], batch["target"][2])


def test_patches_are_new_in_every_epoch_and_stay_in_evaluation(tmp_path: Path) -> None:
    task = drawn(tmp_path)
    alone = replace(packed(task, tmp_path), masks=None)
    pack = replace(alone, masks=alone)
    rows = np.arange(1, 6)
    view = View(task.name, 0, rows, rows, rows[:0], rows[:0])
    steps: Any = [
        paired.adapt("mlpipe.data.augment.patches.random_patches", random_patches(number=2, size=5), of_images=True)
    ]

    def data(fold: int) -> FoldData:
        sampling = full(batch_size=8, eval_batch_size=8)
        return FoldData(task, view, pack, steps=steps, sampling=sampling, draw=Draw(0, fold), num_workers=0)

    train, rest = data(0).train_dataset(), data(0).rows_dataset()
    assert not torch.equal(train[(0, rows)]["target"], train[(1, rows)]["target"])
    batch = rest[(0, np.arange(6))]
    again = data(3).rows_dataset()[(0, rows)]
    assert torch.equal(again["target"], batch["target"][1:]) and torch.equal(again["images"], batch["images"][1:])
    whole = torch.from_numpy(pack.take(np.arange(6))).permute(0, 3, 1, 2)  # type: ignore[arg-type]
    # What has no target loses nothing; the others' two parts make up the image.
    assert torch.equal(batch["images"][0], whole[0]) and batch["target"][0].isnan().all()
    joined = batch["images"][1:] / 255 + batch["target"][1:]
    assert torch.allclose(joined, whole[1:] / 255, atol=1e-6) and bool((batch["target"][1:] > 0).any())


def test_without_any_target_images_come_alone(tmp_path: Path) -> None:
    task = drawn(tmp_path)
    pack = replace(packed(task, tmp_path), masks=None)
    batch = PackDataset(pack, task, [], Draw(0, 0))[(0, np.arange(2))]
    assert batch["target"].shape == (2, 1)
