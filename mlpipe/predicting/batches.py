"""Batches of samples: the common iterator of tasks, folders and volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlpipe.config.schema import Recipe
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.sources.targets import target_files
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task
from mlpipe.learn.build.loaders import fold_data

# Width and height of each sample, shape (n, 2).
Sizes = npt.NDArray[np.int64]
# A function from row numbers to affine maps from pixels of the samples' files to pixels of the network's input, x' = a x + b,
# shape (n, 2, 2): a and b for x and for y.
Places = Callable[[Rows], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Batch:
    """A batch of samples.

    Attributes:
        ids: Their names, n of them.
        inputs: The network's inputs, shape (n, channels, *spatial) or (n, features).
        target: The targets, as the task's kind has them; None: unknown.
        places: The maps from pixels of the samples' files to those of `inputs`, shape (n, 2, 2), see `Places`; None: not needed.
        raw: The raw rows for the loss, if a detector was given the targets too, which parts and joined batches lack; None: it
            was not.
        are_bytes: Whether the values of targets are 8-bit pixels, from 0 to 1, which half precision can hold.
    """

    ids: Sequence[str]
    inputs: Tensor
    target: Tensor | None = None
    places: npt.NDArray[np.float64] | None = None
    raw: Tensor | None = None
    are_bytes: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice) -> Batch:
        target = None if self.target is None else self.target[part]
        places = None if self.places is None else self.places[part]
        return replace(self, ids=self.ids[part], inputs=self.inputs[part], target=target, places=places, raw=None)


def joined(parts: Sequence[Batch]) -> Batch:
    """Join several batches into one."""
    if len(parts) == 1:
        return parts[0]
    targets = [part.target for part in parts if part.target is not None]
    places = [part.places for part in parts if part.places is not None]
    return replace(
        parts[0],
        ids=[name for part in parts for name in part.ids],
        inputs=torch.cat([part.inputs for part in parts]),
        target=torch.cat(targets) if len(targets) == len(parts) else None,
        places=np.concatenate(places) if len(places) == len(parts) else None,
        raw=None,
    )


class TaskBatches:
    """Rows of a task in their order, as a recipe evaluates them.

    Attributes:
        most: The batch size.

    Args:
        recipe: The recipe with the transforms of images and the batch size.
        task: The task.
        pack: Its cached images.
        rows: Row numbers.
        num_workers: Loader processes.
        places: The maps from pixels of the samples' files to cached pixels; None: batches have no `places`.
    """

    def __init__(
        self, recipe: Recipe, task: Task, pack: Pack, rows: Rows, num_workers: int, places: Places | None = None
    ) -> None:
        view = View(task.name, 0, rows, rows, rows, rows)
        self._data, self._rows, self._ids = (
            fold_data(recipe, task, view, pack, num_workers),
            rows,
            task.samples.ids,
        )
        self.most = self._data.eval_batch_size
        self._places, self._shape, self._are_bytes = places, pack.shape, target_files.are_bytes(task)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._data.rows_dataloader(self._rows):
            ids = [self._ids[row] for row in batch["row"].tolist()]
            places = self._seen(batch["row"].numpy(), batch["images"])
            yield Batch(ids, batch["images"], batch["target"], places, are_bytes=self._are_bytes)

    def _seen(self, rows: Rows, inputs: Tensor) -> npt.NDArray[np.float64] | None:
        """Return the maps from pixels of files to the network's input, which transforms may have resized."""
        if self._places is None:
            return None
        scale = np.array(inputs.shape[:-3:-1]) / np.maximum(self._shape[::-1], 1) if all(self._shape) else np.ones(2)
        return np.asarray(self._places(rows) * scale[:, None])
