"""Batches of images with images as targets, moved together in training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mlpipe.data.augment import paired, paired_targets
from mlpipe.data.augment.paired import Always, PairStep
from mlpipe.data.augment.paired_targets import Apart
from mlpipe.data.augment.patches import RandomPatches
from mlpipe.data.augment.samples import Images, Seeds
from mlpipe.data.cache.packs import Pack
from mlpipe.data.loading.collating import Batch, Collating
from mlpipe.data.sampling import Rows
from mlpipe.data.sources.targets import target_files
from mlpipe.data.task import Task


class TargetImages(Collating):
    """Makes batches of images and target images.

    `target` has the shape (n, channels, *spatial), float32, white being 1 for targets of files; NaN where an image has
    none. Without a single one there are the numbers of the task.

    Args:
        pack: The cached images, with the pack of targets as `masks`.
        task: The task.
        steps: What moves both.
        is_training: Whether the samples are to be learned.
    """

    adapt = staticmethod(paired_targets.adapt)

    def __init__(self, pack: Pack, task: Task, steps: Sequence[PairStep], *, is_training: bool) -> None:
        super().__init__(pack, task, steps, is_training=is_training)
        self._has_target, self._channels = task.samples.labelled, len(task.classes)
        self._moves = [step for step in self._steps if not _makes_targets(step)]
        self._scale = target_files.scale_of(task)
        self._are_resized = any(isinstance(step, Apart) and step.on == "targets" for step in self._steps)

    @staticmethod
    def always(steps: Sequence[Any]) -> list[Any]:
        """The steps that images and targets go through in evaluation too."""
        return list(paired.always(steps))

    @staticmethod
    def check(task: Task, steps: Sequence[tuple[str, Any]]) -> None:
        """Refuse steps that do not move images and targets of different sizes alike."""
        paired_targets.check_sizes(steps, target_files.scale_of(task))

    def __call__(self, rows: Rows, seeds: Seeds) -> Batch:
        """The batch of some rows."""
        known = self._has_target[rows]
        if known.all() or self._moves == self._steps:
            return self._given(rows, seeds, self._steps)
        # Images without a target lose nothing that would have to be filled in.
        parts = [
            (np.flatnonzero(flag), self._given(rows[flag], seeds[flag], steps))
            for flag, steps in ((known, self._steps), (~known, self._moves))
            if flag.any()
        ]
        order = np.argsort(np.concatenate([places for places, _ in parts]))
        return {key: torch.cat([batch[key] for _, batch in parts])[order] for key in parts[0][1]}

    def _given(self, rows: Rows, seeds: Seeds, steps: list[PairStep]) -> Batch:
        of_targets, taken = self._pack.masks, self._pack.take(rows)
        targets = self._targets_of(rows, taken)
        images, targets = paired_targets.apply(steps, taken, targets, seeds)
        batch = self.joined(images, rows)
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


def _makes_targets(step: PairStep) -> bool:
    return isinstance(step, Always) and isinstance(step.change, RandomPatches)
