"""Batches of rows: as cached, and in training varied anew in every epoch by functions of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mlpipe.data.augment.samples import Seeds
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.collating import Batch, Collating
from mlpipe.data.records import RecordAugmentor, drawing_from
from mlpipe.data.records.layout import Layout
from mlpipe.data.sampling import Rows
from mlpipe.data.sources.listings import record_files
from mlpipe.data.task import Task


class VariedRows(Collating):
    """Makes batches of rows of named arrays, each varied with random numbers that follow from run, fold, epoch and row alone.

    Args:
        pack: The cached rows.
        task: The task, which names the functions that vary them.
        steps: Augmentations of rows that no function varies.
        is_training: Whether the rows are to be learned; others are not varied.
    """

    def __init__(self, pack: Pack, task: Task, steps: Sequence[Any], *, is_training: bool) -> None:
        super().__init__(pack, task, steps, is_training=is_training)
        self._layout, self._names = Layout.from_plain(task.source["layout"]), task.samples.ids
        self._augmentor = record_files.augmentor_of(task.source) if is_training else RecordAugmentor([])
        self._are_varied = is_training and bool(len(self._augmentor) or self._layout.tail)

    def __call__(self, rows: Rows, seeds: Seeds) -> Batch:
        """The batch of some rows."""
        if not self._are_varied:
            return super().__call__(rows, seeds)
        batch = self.joined(self._pack.take(rows), rows)
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

    def _with_weights(self, batch: Batch, vectors: npt.NDArray[Any]) -> Batch:
        """The batch with a weight for each of several outputs, shape (n, outputs), where rows have them."""
        if self._layout.tail:
            batch["weight"] = torch.from_numpy(np.ascontiguousarray(vectors[:, -self._layout.tail :]))
        return batch
