"""Batches of images with images as targets, moved together in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mlpipe.data.augment import paired, paired_targets
from mlpipe.data.augment.paired import Always, PairStep
from mlpipe.data.augment.paired_targets import Apart
from mlpipe.data.augment.patches import RandomPatches
from mlpipe.data.augment.samples import Images
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.loaders import Draw, FoldData, PackDataset
from mlpipe.data.sampling import Request, Rows, epoch_seeds
from mlpipe.data.sources.targets import target_files
from mlpipe.data.task import Task


class TargetDataset(PackDataset):
    """A task's cached images and targets; an item is a whole batch, as `PackDataset` gives it.

    `target` has the shape (n, channels, *spatial), float32, white being 1 for targets of files; NaN where an image has
    none. Without a single one it is as `PackDataset` gives it.

    Args:
        pack: The cached images, with the pack of targets as `masks`.
        task: The task.
        steps: What moves both.
        draw: What random draws depend on.
        is_training: Whether the images are to be learned.
    """

    def __init__(
        self, pack: Pack, task: Task, steps: Sequence[PairStep], draw: Draw, *, is_training: bool = False
    ) -> None:
        super().__init__(pack, task, (), draw, is_training=is_training)
        self._pairs, self._has_target, self._channels = list(steps), task.samples.labelled, len(task.classes)
        self._moves = [step for step in self._pairs if not _makes_targets(step)]
        self._scale = target_files.scale_of(task)
        self._are_resized = any(isinstance(step, Apart) and step.on == "targets" for step in self._pairs)

    def __getitem__(self, request: Request) -> dict[str, torch.Tensor]:
        """The batch of (epoch, rows)."""
        epoch, rows = request
        seeds = epoch_seeds(self._seeds[rows], self._draw.seed, self._draw.fold, epoch)
        known = self._has_target[rows]
        if known.all() or self._moves == self._pairs:
            return self._given(rows, seeds, self._pairs)
        # Images without a target lose nothing that would have to be filled in.
        parts = [
            (np.flatnonzero(flag), self._given(rows[flag], seeds[flag], steps))
            for flag, steps in ((known, self._pairs), (~known, self._moves))
            if flag.any()
        ]
        order = np.argsort(np.concatenate([places for places, _ in parts]))
        return {key: torch.cat([batch[key] for _, batch in parts])[order] for key in parts[0][1]}

    def _given(self, rows: Rows, seeds: Any, steps: list[PairStep]) -> dict[str, torch.Tensor]:
        of_targets, taken = self._pack.masks, self._pack.take(rows)
        targets = self._targets_of(rows, taken)
        images, targets = paired_targets.apply(steps, taken, targets, seeds)
        batch = self._batch(images, rows)
        if of_targets is None:
            return batch
        fixed = self._fixed(targets, of_targets).astype(np.float32) / np.float32(of_targets.peak)
        batch["target"] = torch.from_numpy(np.ascontiguousarray(np.moveaxis(fixed, -1, 1)))
        batch["target"][torch.from_numpy(~self._has_target[rows])] = torch.nan
        return batch

    def _targets_of(self, rows: Rows, images: Images) -> Images:
        if self._pack.masks is None:
            made = [np.zeros((*image.shape[:-1], self._channels), image.dtype) for image in images]
            return np.stack(made) if isinstance(images, np.ndarray) else made
        return paired.of_size(self._pack.masks.take(rows), images, scale=self._scale)

    def _fixed(self, targets: Images, of_targets: Pack) -> np.ndarray[Any, Any]:
        if isinstance(targets, np.ndarray) and (self._are_resized or not of_targets.ragged):
            return targets
        made = of_targets.preprocessing.fixed if of_targets.ragged else of_targets.preprocessing.sized
        return np.stack([made(one) for one in targets])


class TargetData(FoldData):
    """The loaders of one fold of images with images as targets; its `steps` move both."""

    def train_dataset(self) -> PackDataset:
        """The task's images and targets with their augmentations."""
        steps: Any = self._steps
        return TargetDataset(self._pack, self._task, steps, self._draw, is_training=True)

    def rows_dataset(self) -> PackDataset:
        """The task's images and targets as they are evaluated, which is the same in every fold."""
        steps: Any = self._steps
        return TargetDataset(self._pack, self._task, paired.always(steps), replace(self._draw, fold=0))


def _makes_targets(step: PairStep) -> bool:
    return isinstance(step, Always) and isinstance(step.change, RandomPatches)
