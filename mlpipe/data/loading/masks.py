"""Batches of images with their masks (a class number for each pixel), moved together in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mlpipe.data.augment import paired
from mlpipe.data.augment.paired import PairStep
from mlpipe.data.augment.samples import Images, Seeds
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.collating import Batch, Collating
from mlpipe.data.sampling import Rows
from mlpipe.data.task import IGNORED, Task


class Masks(Collating):
    """Makes batches of images and masks.

    `target` has the shape (n, *spatial), uint8: class numbers, or `IGNORED`, as every pixel of an image without mask.

    Args:
        pack: The cached images, with masks.
        task: The task.
        steps: What moves both.
        is_training: Whether the samples are to be learned.
    """

    adapt = staticmethod(paired.adapt)

    def __init__(self, pack: Pack, task: Task, steps: Sequence[PairStep], *, is_training: bool) -> None:
        super().__init__(pack, task, steps, is_training=is_training)
        assert pack.masks is not None
        self._masks, self._has_mask = pack.masks, task.samples.labelled

    @staticmethod
    def always(steps: Sequence[Any]) -> list[Any]:
        """The steps that images and masks go through in evaluation too."""
        return list(paired.always(steps))

    def __call__(self, rows: Rows, seeds: Seeds) -> Batch:
        """The batch of some rows."""
        taken = self._pack.take(rows)
        masks = paired.of_size(self._masks.take(rows), taken, "nearest")
        images, masks = paired.apply(self._steps, taken, masks, seeds)
        batch = self.joined(images, rows)
        batch["target"] = torch.from_numpy(np.ascontiguousarray(self._fixed(masks)[..., 0]))
        batch["target"][torch.from_numpy(~self._has_mask[rows])] = IGNORED
        return batch

    def _fixed(self, masks: Images) -> np.ndarray:
        if isinstance(masks, np.ndarray) and not self._masks.ragged:
            return masks
        return np.stack([self._masks.preprocessing.fixed(one) for one in masks])
