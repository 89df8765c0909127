"""Batches of samples: the iterator that a task, a folder and a volume have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlpipe.config.schema import Recipe
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task
from mlpipe.learn.build.loaders import fold_data


@dataclass(frozen=True)
class Batch:
    """Some samples.

    Attributes:
        ids: Their names, n of them.
        inputs: What a network is given, shape (n, channels, *spatial) or (n, features).
        target: What it is to give, as the task's kind has it; None: nothing is known of it.
    """

    ids: Sequence[str]
    inputs: Tensor
    target: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice) -> Batch:
        return Batch(self.ids[part], self.inputs[part], None if self.target is None else self.target[part])


def joined(parts: Sequence[Batch]) -> Batch:
    """Several batches as one."""
    if len(parts) == 1:
        return parts[0]
    targets = [part.target for part in parts if part.target is not None]
    return Batch(
        [name for part in parts for name in part.ids],
        torch.cat([part.inputs for part in parts]),
        torch.cat(targets) if len(targets) == len(parts) else None,
    )


class TaskBatches:
    """Rows of a task in their order, as a recipe evaluates them.

    Attributes:
        most: How many a batch has.

    Args:
        recipe: The steps that every image goes through, and the size of batches.
        task: The task.
        pack: Its cached images.
        rows: Row numbers.
        num_workers: Loader processes.
    """

    def __init__(self, recipe: Recipe, task: Task, pack: Pack, rows: Rows, num_workers: int) -> None:
        view = View(task.name, 0, rows, rows, rows, rows)
        self._data, self._rows, self._ids = (
            fold_data(recipe, task, view, pack, num_workers),
            rows,
            task.samples.ids,
        )
        self.most = self._data.eval_batch_size

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._data.rows_dataloader(self._rows):
            ids = [self._ids[row] for row in batch["row"].tolist()]
            yield Batch(ids, batch["images"], batch["target"])
