"""Joint loading of several tasks: every step takes a batch of each task, and shorter tasks start again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import Dataset

from mlpipe.data.loading.loaders import FoldData, Loader, PackDataset, batch_loader
from mlpipe.data.sampling import EpochBatches, Request
from mlpipe.data.task import Task

Requests = tuple[Request, ...]


class JointBatches(Sized):
    """Batches of each epoch, one of every task per step; an epoch ends with the longest task.

    A shorter task continues through its own epochs, so that its images are used equally often and in a new order each time.
    The batches of a step depend only on the epoch and the step, so that no state needs to be stored.

    Args:
        samplers: The batches of each task, the pivot's first.
    """

    def __init__(self, samplers: Sequence[EpochBatches]) -> None:
        self._samplers, self._epoch = list(samplers), 0

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch of the next batches, counted from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return max(len(sampler) for sampler in self._samplers)

    def __iter__(self) -> Iterator[Requests]:
        first = self._epoch * len(self)
        streams = [_endless_batches(sampler, first) for sampler in self._samplers]
        for _ in range(len(self)):
            yield tuple(next(stream) for stream in streams)


def _endless_batches(sampler: EpochBatches, first: int) -> Iterator[Request]:
    """Yield a task's batches through all its epochs, starting from the batch number `first`."""
    epoch, skipped = divmod(first, len(sampler))
    while True:
        sampler.set_epoch(epoch)
        yield from list(sampler)[skipped:]
        epoch, skipped = epoch + 1, 0


class JointDataset(Dataset[dict[str, Any]]):
    """Items are one batch of every task: the pivot's keys, and `co` with the batches of the others.

    Args:
        datasets: One per task, the pivot's first.
    """

    def __init__(self, datasets: Sequence[PackDataset]) -> None:
        self._datasets = list(datasets)

    def __getitem__(self, requests: Requests) -> dict[str, Any]:
        batches = [dataset[request] for dataset, request in zip(self._datasets, requests, strict=True)]
        co: list[dict[str, torch.Tensor]] = batches[1:]
        return {**batches[0], "co": co}


class JointData(pl.LightningDataModule):
    """Loaders of a fold whose training batches include those of other tasks; validation only uses the pivot.

    Args:
        pivot: The loaders of the pivot.
        others: The loaders of the other tasks.
        num_workers: The number of loader processes.
    """

    def __init__(self, pivot: FoldData, others: Sequence[FoldData], num_workers: int) -> None:
        super().__init__()
        self._tasks, self._num_workers, self._first_epoch = [pivot, *others], num_workers, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state that Lightning saves with a training: the first epoch after resuming."""
        return {"first_epoch": self.trainer.current_epoch + 1 if self.trainer is not None else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the epoch."""
        self._first_epoch = state_dict["first_epoch"]

    def train_dataloader(self) -> Loader:
        """Return training batches of every task, in a new order each epoch."""
        sampler = JointBatches([data.train_sampler() for data in self._tasks])
        # As in `FoldData`: loader processes request batches before Lightning sets the epoch.
        sampler.set_epoch(self._first_epoch)
        return batch_loader(sampler, JointDataset([data.train_dataset() for data in self._tasks]), self._num_workers)

    @property
    def task(self) -> Task:
        """Return the pivot."""
        return self._tasks[0].task

    @property
    def val_ids(self) -> list[str]:
        """Return the ids of the pivot's validation samples, in their order."""
        return self._tasks[0].val_ids

    def val_dataloader(self) -> Loader:
        """Return the pivot's validation samples in their order."""
        return self._tasks[0].val_dataloader()

    def batch_sizes(self, epoch: int) -> list[list[int]]:
        """Return the number of samples of each task in each step of an epoch."""
        size_lists = [data.train_sampler().sizes() for data in self._tasks]
        steps = max(len(sizes) for sizes in size_lists)
        return [[sizes[(epoch * steps + step) % len(sizes)] for step in range(steps)] for sizes in size_lists]
