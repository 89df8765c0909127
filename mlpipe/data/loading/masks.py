"""Batches of images with the class number of every pixel, moved together in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mlpipe.data.augment import paired
from mlpipe.data.augment.paired import PairStep
from mlpipe.data.augment.samples import Images
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.loaders import Draw, FoldData, PackDataset
from mlpipe.data.sampling import Request, Rows, epoch_seeds
from mlpipe.data.task import IGNORED, Task


class MaskDataset(PackDataset):
    """A task's cached images and masks; an item is a whole batch, as `PackDataset` gives it.

    `target` has the shape (n, *spatial), uint8: class numbers, or `IGNORED`, as every pixel of an image without mask.

    Args:
        pack: The cached images, with masks.
        task: The task.
        steps: What moves both.
        draw: What random draws depend on.
        is_training: Whether the images are to be learned.
    """

    def __init__(
        self, pack: Pack, task: Task, steps: Sequence[PairStep], draw: Draw, *, is_training: bool = False
    ) -> None:
        super().__init__(pack, task, (), draw, is_training=is_training)
        self._pairs, self._has_mask = list(steps), task.samples.labelled

    def __getitem__(self, request: Request) -> dict[str, torch.Tensor]:
        """The batch of (epoch, rows)."""
        epoch, rows = request
        seeds = epoch_seeds(self._seeds[rows], self._draw.seed, self._draw.fold, epoch)
        taken = self._pack.take(rows)
        images, masks = paired.apply(self._pairs, taken, self._masks(rows, taken), seeds)
        batch = self._batch(images, rows)
        labels = self._fixed(masks)
        batch["target"] = torch.from_numpy(np.ascontiguousarray(labels[..., 0]))
        batch["target"][torch.from_numpy(~self._has_mask[rows])] = IGNORED
        return batch

    def _masks(self, rows: Rows, images: Images) -> Images:
        of_masks = self._pack.masks
        assert of_masks is not None
        return paired.of_size(of_masks.take(rows), images, "nearest")

    def _fixed(self, masks: Images) -> np.ndarray:
        of_masks = self._pack.masks
        assert of_masks is not None
        if isinstance(masks, np.ndarray) and not of_masks.ragged:
            return masks
        return np.stack([of_masks.preprocessing.fixed(one) for one in masks])


class MaskData(FoldData):
    """The loaders of one fold of images with masks; its `steps` move both."""

    def train_dataset(self) -> PackDataset:
        """The task's images and masks with their augmentations."""
        steps: Any = self._steps
        return MaskDataset(self._pack, self._task, steps, self._draw, is_training=True)

    def rows_dataset(self) -> PackDataset:
        """The task's images and masks as they are evaluated; images alone where it has no masks."""
        steps: Any = self._steps
        return (
            MaskDataset(self._pack, self._task, paired.always(steps), self._draw)
            if self._pack.masks is not None
            else super().rows_dataset()
        )
