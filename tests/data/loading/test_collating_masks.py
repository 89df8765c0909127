"""Batches of images and masks: the same pairs whatever the worker, and nothing to learn where there is no mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import sources
from mlpipe.data.augment import paired, samples
from mlpipe.data.cache import packs
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.loaders import Draw, FoldData, PackDataset
from mlpipe.data.preprocessing import standard
from mlpipe.data.sampling import full
from mlpipe.data.sources.targets import mask_files
from mlpipe.data.splits.variants import View
from mlpipe.data.task import IGNORED, Task


@pytest.fixture
def task(tmp_path: Path) -> Task:
    for index in range(6):
        values = np.zeros((16, 20), np.uint8)
        values[4:12, index : index + 10] = 1
        part = "unlabelled" if index == 5 else "train"
        for kind, pixels in (("images", values * 200), ("masks", values)):
            path = tmp_path / "d" / kind / part / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if (part, kind) != ("unlabelled", "masks"):
                Image.fromarray(pixels).save(path)
    return sources.masks(root=str(tmp_path / "d"))


def packed(task: Task, folder: Path, keep: str) -> Pack:
    wanted = standard(1, id="s", size=16, keep=keep)  # type: ignore[arg-type]
    of_masks, alike = mask_files.task_of(task), mask_files.preprocessing_of(wanted)
    images = packs.build(task, wanted, folder / packs.pack_id(task, wanted), workers=1)
    masks = packs.build(of_masks, alike, folder / packs.pack_id(of_masks, alike), workers=1)
    return Pack(**{**images.__dict__, "masks": masks})


@pytest.mark.parametrize("keep", ["fixed", "original"])
def test_pairs_come_together(task: Task, tmp_path: Path, keep: str) -> None:
    steps = [paired.adapt("mlpipe.data.augment.samples.horizontal_flip", samples.horizontal_flip())]
    dataset = PackDataset(packed(task, tmp_path, keep), task, steps, Draw(0, 0), is_training=True)
    batch = dataset[(3, np.arange(6))]
    images, target = batch["images"].numpy(), batch["target"].numpy()
    assert images.shape == (6, 1, 16, 16)
    assert target.shape == (6, 16, 16)
    assert (np.abs((images[:5, 0] > 100) - target[:5].astype(int))).mean() < 0.05
    assert (target[5] == IGNORED).all()
    alone = dataset[(3, np.array([2]))]
    assert np.array_equal(alone["target"][0].numpy(), target[2])


def test_the_loaders_of_a_fold(task: Task, tmp_path: Path) -> None:
    rows = np.arange(5)
    view = View(task.name, 0, rows[:3], rows[3:], rows[:0], np.array([5]))
    data = FoldData(
        task,
        view,
        packed(task, tmp_path, "fixed"),
        steps=[],
        sampling=full(batch_size=2),
        draw=Draw(0, 0),
        num_workers=0,
    )
    assert [len(batch["target"]) for batch in data.train_dataloader()] == [3]
    (batch,) = data.val_dataloader()
    assert batch["target"].ndim == 3
