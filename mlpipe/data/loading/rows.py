"""Batches of records: as cached, and in training varied anew in every epoch by functions of the user's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.loaders import Draw, FoldData, PackDataset
from mlpipe.data.records import RecordAugmentor, drawing_from
from mlpipe.data.records.layout import Layout
from mlpipe.data.sampling import Request, epoch_seeds
from mlpipe.data.sources.listings import record_files
from mlpipe.data.task import Task


class RecordDataset(PackDataset):
    """A task's cached records, each varied with random numbers that follow from run, fold, epoch and record alone.

    Args:
        pack: The cached records.
        task: The task.
        draw: What random draws depend on.
        augmentor: What varies them.
    """

    def __init__(self, pack: Pack, task: Task, draw: Draw, augmentor: RecordAugmentor) -> None:
        super().__init__(pack, task, (), draw, is_training=True)
        self._augmentor, self._layout = augmentor, Layout.from_plain(task.source["layout"])
        self._names = task.samples.ids

    def __getitem__(self, request: Request) -> dict[str, torch.Tensor]:
        """The batch of (epoch, rows), as `PackDataset` gives it."""
        epoch, rows = request
        batch = super().__getitem__(request)
        seeds = epoch_seeds(self._seeds[rows], self._draw.seed, self._draw.fold, epoch)
        vectors, targets = batch["images"].numpy().reshape(len(rows), -1), batch["target"].numpy()
        weights = batch["weight"].numpy() if "weight" in batch else np.ones(len(rows))
        if not len(self._augmentor):
            return self._with_weights(batch, vectors)
        varied, new_targets, new_weights = [], [], []
        for number, row in enumerate(rows.tolist()):
            where = f"augmentor: {self._names[row]}"
            plain = self._layout.data_record(vectors[number], targets[number], float(weights[number]))
            with drawing_from(int(seeds[number])):
                changed = record_files.called(where, self._augmentor, plain)
            varied.append(self._layout.vector(changed, where))
            new_targets.append(self._layout.target(changed, where))
            new_weights.append(self._layout.weight(changed, where))
        batch["images"] = torch.from_numpy(np.stack(varied)).reshape(batch["images"].shape)
        batch["target"] = torch.tensor(new_targets, dtype=batch["target"].dtype)
        if self._layout.weighted:
            batch["weight"] = torch.tensor(new_weights, dtype=torch.float32)
        return self._with_weights(batch, np.stack(varied))

    def _with_weights(self, batch: dict[str, torch.Tensor], vectors: npt.NDArray[Any]) -> dict[str, torch.Tensor]:
        """The batch with a weight for each of several outputs, shape (n, outputs), where records have them."""
        if self._layout.tail:
            batch["weight"] = torch.from_numpy(np.ascontiguousarray(vectors[:, -self._layout.tail :]))
        return batch


class RecordData(FoldData):
    """The loaders of one fold of records."""

    def train_dataset(self) -> PackDataset:
        """The task's records, varied where it names functions that do."""
        augmentor = record_files.augmentor_of(self._task.source)
        if not len(augmentor) and not Layout.from_plain(self._task.source["layout"]).tail:
            return super().train_dataset()
        return RecordDataset(self._pack, self._task, self._draw, augmentor)
