"""Data loading: a dataset whose items are whole batches, and a Lightning data module around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from mlpipe.data.augment.paired import Alternating
from mlpipe.data.augment.samples import AlternatingFlip, alternating_seeds
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading import processes
from mlpipe.data.loading.collating import Batch, collating_of
from mlpipe.data.sampling import (
    WHOLE,
    EpochBatches,
    OrderedBatches,
    Request,
    Rows,
    Sampling,
    Shard,
    epoch_seeds,
    sample_seeds,
)
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task

Loader = DataLoader[dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Draw:
    """Inputs of a training's random draws, besides epoch and sample.

    Attributes:
        seed: The run's seed.
        fold: The fold's number.
    """

    seed: int
    fold: int


class PackDataset(Dataset[Batch]):
    """Cached samples of a task; an item is a whole batch, requested by (epoch, rows).

    Args:
        pack: The cached images.
        task: The task, for targets and ids.
        steps: Augmentations; none for evaluation.
        draw: The inputs of random draws.
        is_training: Whether the samples are for training.
    """

    def __init__(self, pack: Pack, task: Task, steps: Sequence[Any], draw: Draw, *, is_training: bool = False) -> None:
        self._collate = collating_of(task, pack)(pack, task, steps, is_training=is_training)
        self._draw, self._seeds = draw, sample_seeds(task.samples.ids)
        self._alternates = any(isinstance(step, AlternatingFlip | Alternating) for step in steps)

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, request: Request) -> Batch:
        """Return the batch of (epoch, rows).

        Returns:
            `images` (n, channels, height, width), or with other axes after the channels, as a view of channels-last memory,
            uint8 or float32 (also for 16-bit values, which torch cannot compute with), or features (n, features); `target`
            (n,) int64 or (n, outputs) float32, or as for masks and target images; `row` (n,) int64; and `weight` (n,)
            float32, for several outputs (n, outputs), if the task has weights and they count: in training, and for rows of
            named arrays also in validation.
        """
        epoch, rows = request
        seeds, draw = self._seeds[rows], self._draw
        drawn = epoch_seeds(seeds, draw.seed, draw.fold, epoch)
        if self._alternates:
            drawn = alternating_seeds(drawn, epoch_seeds(seeds, draw.seed, draw.fold, 0), epoch)
        return self._collate(rows, drawn)


class FoldData(pl.LightningDataModule):
    """Loaders of one fold: training with augmentation, validation and prediction without.

    Args:
        task: The task.
        view: The fold's rows.
        pack: The cached images, with those of masks or target images if there are any.
        steps: Augmentations of training samples, as returned by `collating_of(task, pack).adapt`.
        sampling: Batch sizes.
        draw: The inputs of random draws.
        num_workers: The number of loader processes.
        shard: This process's part of every batch.
    """

    def __init__(
        self,
        task: Task,
        view: View,
        pack: Pack,
        *,
        steps: Sequence[Any],
        sampling: Sampling,
        draw: Draw,
        num_workers: int,
        shard: Shard = WHOLE,
    ) -> None:
        super().__init__()
        self._shard = shard
        self._task, self._view, self._pack = task, view, pack
        self._steps, self._sampling, self._draw, self._num_workers = steps, sampling, draw, num_workers
        self._first_epoch = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state that Lightning saves with a training: the first epoch after resuming."""
        return {"first_epoch": self.trainer.current_epoch + 1 if self.trainer is not None else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the epoch."""
        self._first_epoch = state_dict["first_epoch"]

    def train_dataloader(self) -> Loader:
        """Return training batches in a new order each epoch."""
        sampler = self.train_sampler()
        # Loader processes request the first batches of a resumed training before Lightning sets the epoch.
        sampler.set_epoch(self._first_epoch)
        return batch_loader(sampler, self.train_dataset(), self._num_workers)

    def train_sampler(self) -> EpochBatches:
        """Return the sampler of training rows: the batches of each epoch."""
        targets = self._task.samples.learned[self._view.train]
        return EpochBatches(self._view.train, targets, self._sampling, self._draw.seed, self._draw.fold, self._shard)

    def train_dataset(self) -> PackDataset:
        """Return the task's samples with their augmentations."""
        return PackDataset(self._pack, self._task, self._steps, self._draw, is_training=True)

    def val_dataloader(self) -> Loader:
        """Return the validation samples in their order."""
        return self.rows_dataloader(self._view.val)

    @property
    def task(self) -> Task:
        """Return the task."""
        return self._task

    @property
    def val_ids(self) -> list[str]:
        """Return the validation samples' ids, in their order."""
        return [self._task.samples.ids[row] for row in self._view.val]

    @property
    def val_batches(self) -> int:
        """Return the number of validation batches of one process."""
        return len(OrderedBatches(self._view.val, self._sampling.eval_batch_size))

    @property
    def eval_batch_size(self) -> int:
        """Return the number of samples per batch outside of training."""
        return int(self._sampling.eval_batch_size)

    def rows_dataloader(self, rows: Rows) -> Loader:
        """Return a loader of any rows in their order, only with the steps that are applied to every image."""
        batches = OrderedBatches(rows, self.eval_batch_size, self._shard)
        return batch_loader(batches, self.rows_dataset(), self._num_workers)

    def rows_dataset(self) -> PackDataset:
        """Return the task's samples for evaluation, the same for every fold."""
        steps = collating_of(self._task, self._pack).always(self._steps)
        return PackDataset(self._pack, self._task, steps, replace(self._draw, fold=0))

    def batch_sizes(self, epoch: int) -> list[list[int]]:
        """Return the number of samples in each training batch of an epoch, over all processes, as a list for one task."""
        return [self.train_sampler().sizes()]


def batch_loader(sampler: Any, dataset: Dataset[dict[str, Any]], workers: int) -> Loader:
    """Return a loader of whole batches: the sampler yields the keys of the dataset's items.

    Args:
        sampler: The requests.
        dataset: Maps each request to a batch.
        workers: The number of loader processes.
    """
    workers = processes.workers_for(dataset, workers)
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=processes.begin,
        pin_memory=torch.cuda.is_available(),
    )
