"""One fold of a small task, ready to train without the scheduler around it."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlpipe.config import snapshot
from mlpipe.config.schema import RunConfig
from mlpipe.data import sources, task
from mlpipe.data.cache.packs import Pack
from mlpipe.data.splits import variants
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Row, Task
from mlpipe.learn.callbacks import keeper
from mlpipe.learn.job import FoldFiles, FoldJob, Origin
from mlpipe.learn.multitask import Joint, Partner
from mlpipe.running import launch, tasks
from mlpipe.runs.project import Project

NONE = np.empty(0, np.int64)
BASE = [
    "task=digits", "arch=test_resnet", "arch.drop_rate=0.2", "sys.threads=1", "preprocessing.size=16", "split.folds=8",
    "mode.nested=false", "trainer.max_epochs=3", "split.test_fraction=0.9",
]  # fmt: skip


def joint_job(folder: Path, *overrides: str, num_workers: int = 0, weights: tuple[float, ...] | None = None) -> FoldJob:
    """A fold of the digits that is learned together with a few pictures of clothes and numbers to predict.

    The three tasks have batches of their own numbers; without `weights` these are learned.
    """
    base = job(folder, *overrides, num_workers=num_workers)
    clothes = sources.fashion_mini()
    rng = np.random.default_rng(0)
    rows = [Row(f"{index:03d}", "train", (float(index % 7), 3.0 * (index % 3)), f"n{index}") for index in range(390)]
    numbers = task.make("numbers", ["x", "y"], rows, channels=1, source={"type": "none"}, kind="regression")
    made = [(clothes, 200, 1300), (numbers, 350, 390)]
    partners = []
    for of, n_train, n in made:
        pixels = rng.integers(0, 256, (n, *base.pack.images.shape[1:]), np.uint8)
        view = View(of.name, 0, np.arange(n_train), np.arange(n_train, n_train + 30), NONE, NONE)
        partners.append(Partner(of, view, base.pack.with_images(pixels)))
    return dataclasses.replace(base, joint=Joint(tuple(partners), weights or "uncertainty"))


def job(folder: Path, *overrides: str, fold: int = 0, num_workers: int = 0, store_best: bool = True) -> FoldJob:
    config = launch.prepare(launch.Command("train", [*BASE, *overrides, f"out_dir={folder}"])).run_config
    digits = tasks.resolve(config.task, config.data_dir)
    split = tasks.split_of(config, digits)
    files = FoldFiles(
        project=Project(config.project_dir),
        record_id="record",
        checkpoint=folder / "checkpoint",
        logging=config.logging,
        logs=folder / "logs",
        store_best=store_best,
        store_parameters=True,
    )
    return FoldJob(
        recipe=config.recipe,
        task=digits,
        view=variants.plain(digits, split, fold),
        pack=_packed(config, digits),
        files=files,
        origin=Origin("run", "hash", snapshot.text(config.tree), nested=False, val_used_for=[]),
        num_workers=num_workers,
        healing=config.healing,
    )


def _packed(config: RunConfig, of: Task) -> Pack:
    """The images, packed once for all tests of a process: each has a copy, beside which it keeps what it makes."""
    own = tasks.pack_folder(config, of)
    kept = Path(os.environ["MML_DATA_PATH"]).parents[1] / "packed" / of.name / own.name
    if kept.is_dir() and not own.exists():
        shutil.copytree(kept, own)
    pack = tasks.pack_of(config, of, workers=1)
    if not kept.is_dir():
        shutil.copytree(own, kept)
    return pack


@pytest.fixture
def saves_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is saved at the end of every epoch, whatever it costs."""
    monkeypatch.setattr(keeper, "_SAVING_SHARE", 0)
