"""Collation of a batch: cached images, changed in training, joined with their targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mlpipe.data.augment import geometry, libraries, samples
from mlpipe.data.augment.samples import Images, Seeds
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task

Batch = dict[str, torch.Tensor]


class Collating:
    """Makes batches of images whose targets are numbers in the task; what has other targets derives from it.

    Args:
        pack: The cached images.
        task: The task, for targets and weights.
        steps: Augmentations, as `adapt` gave them.
        is_training: Whether the samples are to be learned.
    """

    def __init__(self, pack: Pack, task: Task, steps: Sequence[Any], *, is_training: bool) -> None:
        self._pack, self._steps, self._is_training = pack, list(steps), is_training
        targets = task.samples.learned if is_training else task.samples.targets
        self._targets = targets if targets.ndim == 1 else targets.astype(np.float32)
        self._weights = task.samples.weights

    @staticmethod
    def adapt(target: str, transform: Any) -> Any:
        """A step of what a configuration named; those that are for targets are refused."""
        libraries.refuse_targets(transform)
        return libraries.adapt(transform)

    @staticmethod
    def always(steps: Sequence[Any]) -> list[Any]:
        """The steps that images go through in evaluation too."""
        return list(geometry.always(steps))

    @staticmethod
    def check(task: Task, steps: Sequence[tuple[str, Any]]) -> None:
        """Refuse steps that cannot be for a task; `steps`: what the configuration named, and what it built, of each."""

    def __call__(self, rows: Rows, seeds: Seeds) -> Batch:
        """The batch of some rows.

        Args:
            rows: The rows, shape (n,).
            seeds: What each is changed by, shape (n,).

        Returns:
            As `mlpipe.data.loading.loaders.PackDataset` gives it.
        """
        images = self._pack.take(rows)
        return self.joined(samples.apply(self._steps, images, seeds) if self._steps else images, rows)

    def joined(self, images: Images, rows: Rows) -> Batch:
        """The batch of some rows, whose images are at hand, with the targets of the task."""
        # Originals may happen to have one size, which need not be the network's.
        if isinstance(images, list) or self._pack.ragged:
            made = self._pack.preprocessing.fixed if self._pack.ragged else self._pack.preprocessing.sized
            images = np.stack([made(image) for image in images])
        if images.dtype == np.uint16:
            images = images.astype(np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(images))
        batch = {
            "images": tensor.movedim(-1, 1),
            "target": torch.from_numpy(self._targets[rows]),
            "row": torch.from_numpy(rows),
        }
        if self._weights is not None and self._is_training:
            batch["weight"] = torch.from_numpy(self._weights[rows].astype(np.float32))
        return batch
