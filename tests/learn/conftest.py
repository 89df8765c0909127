"""One fold of a small task, ready to train without the scheduler around it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe.config import snapshot
from mlpipe.data import variants
from mlpipe.learn import callbacks
from mlpipe.learn.fit import FoldJob
from mlpipe.modes import launch, tasks
from mlpipe.runs.project import Project

BASE = [
    "task=digits", "arch=test_resnet", "arch.drop_rate=0.2", "sys.threads=1", "preprocessing.size=16", "split.folds=8",
    "mode.nested=false", "trainer.max_epochs=3", "split.test_fraction=0.8",
]  # fmt: skip


def job(folder: Path, *overrides: str, fold: int = 0, num_workers: int = 0, store_best: bool = True) -> FoldJob:
    config = launch.prepare("train", [*BASE, *overrides, f"out_dir={folder}"]).run_config
    task = tasks.resolve(config.task, config.data_dir)
    split = tasks.split_of(config, task)
    return FoldJob(
        recipe=config.recipe,
        task=task,
        view=variants.plain(task, split, fold),
        pack=tasks.pack_of(config, task, 1),
        project=Project(config.project_dir),
        record_id="record",
        run="run",
        recipe_hash="hash",
        checkpoint=folder / "checkpoint",
        pipeline=snapshot.text(config.tree),
        nested=False,
        store_best=store_best,
        store_parameters=True,
        val_used_for=[],
        num_workers=num_workers,
        logging=config.logging,
        logs=folder / "logs",
    )


@pytest.fixture
def saves_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is saved at the end of every epoch, whatever it costs."""
    monkeypatch.setattr(callbacks, "_SAVING_SHARE", 0)
