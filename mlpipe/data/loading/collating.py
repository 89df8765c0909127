"""Collation of a batch: cached samples, augmented in training, and their targets.

Targets are numbers in the task, boxes, masks or target images in a separate pack, or part of the samples themselves (rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mlpipe import kinds
from mlpipe.data import sources
from mlpipe.data.augment import boxed, geometry, libraries, paired, samples
from mlpipe.data.augment.boxed import BoxStep
from mlpipe.data.augment.paired import Always, Apart, PairStep
from mlpipe.data.augment.patches import RandomPatches
from mlpipe.data.augment.samples import Images, Seeds
from mlpipe.data.cache.packs import Pack
from mlpipe.data.records import RecordAugmentor, drawing_from
from mlpipe.data.records.layout import Layout
from mlpipe.data.sampling import Rows
from mlpipe.data.sources.listings import record_files
from mlpipe.data.sources.targets import boxes, target_files
from mlpipe.data.task import IGNORED, Task
from mlpipe.errors import DataError, problem

Batch = dict[str, torch.Tensor]


class Collating:
    """Makes batches of images whose targets are numbers in the task; base class for other targets.

    Args:
        pack: The cached images.
        task: The task, for targets and weights.
        steps: Augmentations, as returned by `adapt`.
        is_training: Whether the samples are for training.
    """

    # Whether sample weights also count in the validation loss.
    weighs_validation = False

    def __init__(self, pack: Pack, task: Task, steps: Sequence[Any], *, is_training: bool) -> None:
        self._pack, self._steps, self._is_training = pack, list(steps), is_training
        targets = task.samples.learned if is_training else task.samples.targets
        self._targets = targets if targets.ndim == 1 else targets.astype(np.float32)
        self._weights = task.samples.weights

    @classmethod
    def adapt(cls, target: str, transform: Any) -> Any:
        """Return a step for an object named in the configuration; steps for targets are refused."""
        libraries.refuse_targets(transform)
        return libraries.adapt(transform)

    @staticmethod
    def always(steps: Sequence[Any]) -> list[Any]:
        """Return the steps that are also applied in evaluation."""
        return list(geometry.always(steps))

    @staticmethod
    def check(task: Task, steps: Sequence[tuple[str, Any]]) -> None:
        """Refuse steps that are not possible for a task; `steps` has the configured name and the object of each."""

    def __call__(self, rows: Rows, seeds: Seeds) -> Batch:
        """Return the batch of some rows.

        Args:
            rows: The rows, shape (n,).
            seeds: The augmentation seed of each, shape (n,).

        Returns:
            As for `mlpipe.data.loading.loaders.PackDataset`.
        """
        images = self._pack.take(rows)
        return self.joined(samples.apply(self._steps, images, seeds) if self._steps else images, rows)

    def joined(self, images: Images, rows: Rows) -> Batch:
        """Return the batch of some rows with the given images, and the targets of the task."""
        if isinstance(images, list) and not self._pack.ragged:
            fix = "choose transforms with a fixed output size, or preprocessing=original, which resizes behind them"
            raise DataError(problem(samples.PIPELINE, "its transforms give images of several sizes", fix=fix))
        # Even if originals share one size, it may differ from the network's.
        if isinstance(images, list) or self._pack.ragged:
            images = _images_of_one_size(images, self._pack)
        if images.dtype == np.uint16:
            images = images.astype(np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(images))
        batch = {
            "images": tensor.movedim(-1, 1),
            "target": torch.from_numpy(self._targets[rows]),
            "row": torch.from_numpy(rows),
        }
        if self._weights is not None and (self._is_training or self.weighs_validation):
            batch["weight"] = torch.from_numpy(self._weights[rows].astype(np.float32))
        return batch


class Masks(Collating):
    """Makes batches of images and masks, which are moved together in training.

    `target` has the shape (n, *spatial), uint8: class numbers, or `IGNORED`, for example for images without mask.

    Args:
        pack: The cached images, with the pack of masks or target images as `masks`.
        task: The task.
        steps: Paired steps for both.
        is_training: Whether the samples are for training.
    """

    # Whether targets are images with channels, as for `paired`.
    of_images = False

    def __init__(self, pack: Pack, task: Task, steps: Sequence[PairStep], *, is_training: bool) -> None:
        super().__init__(pack, task, steps, is_training=is_training)
        self._has_target, self._scale = task.samples.labelled, target_files.scale_of(task)
        self._are_resized = any(isinstance(step, Apart) and step.on == "targets" for step in self._steps)

    @classmethod
    def adapt(cls, target: str, transform: Any) -> PairStep:
        """Return a paired step for an object named in the configuration."""
        return paired.adapt(target, transform, of_images=cls.of_images)

    @staticmethod
    def always(steps: Sequence[Any]) -> list[Any]:
        """Return the steps that are also applied to images and their partners in evaluation."""
        return list(paired.always(steps))

    def __call__(self, rows: Rows, seeds: Seeds) -> Batch:
        """Return the batch of some rows."""
        return self._moved(rows, seeds, self._steps)

    def _moved(self, rows: Rows, seeds: Seeds, steps: list[PairStep]) -> Batch:
        others, images = self._pack.masks, self._pack.take(rows)
        targets = self._targets_of(rows, images)
        images, targets = paired.apply(steps, images, targets, seeds, of_images=self.of_images)
        batch = self.joined(images, rows)
        if others is not None:
            # A step may have changed the size of the targets only.
            is_whole = isinstance(targets, np.ndarray) and (self._are_resized or not others.ragged)
            values = self._tensor(targets if is_whole else _images_of_one_size(targets, others), others.peak)
            values[torch.from_numpy(~self._has_target[rows])] = torch.nan if self.of_images else IGNORED
            batch["target"] = values
        return batch

    def _targets_of(self, rows: Rows, images: Images) -> Images:
        assert self._pack.masks is not None
        return paired.of_size(self._pack.masks.take(rows), images, "nearest")

    @staticmethod
    def _tensor(masks: Any, peak: float) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(masks[..., 0]))


class TargetImages(Masks):
    """Makes batches of images and target images, which are moved together in training.

    `target` has the shape (n, channels, *spatial), float32, with 1 for white if targets are files; NaN for images without
    target. If no image of the task has a target, it holds the numbers of the task.
    """

    of_images = True

    def __init__(self, pack: Pack, task: Task, steps: Sequence[PairStep], *, is_training: bool) -> None:
        super().__init__(pack, task, steps, is_training=is_training)
        self._channels = len(task.classes)
        self._moves = [step for step in self._steps if not _makes_targets(step)]

    @staticmethod
    def check(task: Task, steps: Sequence[tuple[str, Any]]) -> None:
        """Refuse steps that do not move images and targets of different sizes alike."""
        paired.check_sizes(steps, target_files.scale_of(task))

    def __call__(self, rows: Rows, seeds: Seeds) -> Batch:
        """Return the batch of some rows."""
        known = self._has_target[rows]
        if known.all() or self._moves == self._steps:
            return self._moved(rows, seeds, self._steps)
        # Images without a target lose no patches that would have to be filled in.
        parts = [
            (np.flatnonzero(flag), self._moved(rows[flag], seeds[flag], steps))
            for flag, steps in ((known, self._steps), (~known, self._moves))
            if flag.any()
        ]
        order = np.argsort(np.concatenate([places for places, _ in parts]))
        return {key: torch.cat([batch[key] for _, batch in parts])[order] for key in parts[0][1]}

    def _targets_of(self, rows: Rows, images: Images) -> Images:
        if self._pack.masks is None:
            empty = [np.zeros((*image.shape[:-1], self._channels), image.dtype) for image in images]
            return np.stack(empty) if isinstance(images, np.ndarray) else empty
        return paired.of_size(self._pack.masks.take(rows), images, scale=self._scale)

    @staticmethod
    def _tensor(targets: Any, peak: float) -> torch.Tensor:
        values = targets.astype(np.float32) / np.float32(peak)
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, -1, 1)))


class Boxes(Collating):
    """Makes batches of images and the boxes of their objects, which are moved together in training.

    `target` has the shape (n, most, 5), float32: corners in pixels of `images`, and a class number, as returned by
    `mlpipe.data.sources.targets.boxes.padded`.

    Args:
        pack: The cached images.
        task: A task with boxes.
        steps: Box steps for both.
        is_training: Whether the samples are for training.
    """

    def __init__(self, pack: Pack, task: Task, steps: Sequence[BoxStep], *, is_training: bool) -> None:
        super().__init__(pack, task, steps, is_training=is_training)
        self._boxes = sources.open(task).objects()

    @classmethod
    def adapt(cls, target: str, transform: Any) -> BoxStep:
        """Return a box step for an object named in the configuration."""
        return boxed.adapt(target, transform)

    @staticmethod
    def always(steps: Sequence[Any]) -> list[Any]:
        """Return the steps that are also applied to images and their boxes in evaluation."""
        return list(paired.always(steps))

    def __call__(self, rows: Rows, seeds: Seeds) -> Batch:
        """Return the batch of some rows."""
        images, preprocessing = self._pack.take(rows), self._pack.preprocessing
        is_ragged = self._pack.ragged
        own = boxes.seen(self._boxes, rows, preprocessing, images)
        images, own = boxed.apply(self._steps, images, own, seeds)
        batch = self.joined(images, rows)
        if isinstance(images, list) or is_ragged:
            own = boxes.placed(own, boxes.placing(preprocessing, boxes.sides_of(images)))
            own = boxed.all_clipped(own, batch["images"].movedim(1, -1).numpy())
        batch["target"] = torch.from_numpy(boxes.padded(own, self._boxes.known[rows], self._boxes.most))
        return batch


class VariedRows(Collating):
    """Makes batches of rows of named arrays; each is varied with random draws that depend only on run, fold, epoch and row.

    Args:
        pack: The cached rows.
        task: The task, which names the augmentation functions.
        steps: Augmentations for rows without such functions.
        is_training: Whether the rows are for training; others are not varied.
    """

    # As in Keras, which divides losses by the number of samples, whatever their weights.
    weighs_validation = True

    def __init__(self, pack: Pack, task: Task, steps: Sequence[Any], *, is_training: bool) -> None:
        super().__init__(pack, task, steps, is_training=is_training)
        self._layout, self._names = Layout.from_plain(task.source["layout"]), task.samples.ids
        self._augmentor = record_files.augmentor_of(task.source) if is_training else RecordAugmentor([])
        self._are_varied = is_training and bool(len(self._augmentor) or self._layout.tail)

    def __call__(self, rows: Rows, seeds: Seeds) -> Batch:
        """Return the batch of some rows."""
        if not self._are_varied:
            plain = super().__call__(rows, seeds)
            return self._with_weights(plain, plain["images"].numpy().reshape(len(rows), -1))
        batch = self.joined(self._pack.take(rows), rows)
        vectors, targets = batch["images"].numpy().reshape(len(rows), -1), batch["target"].numpy()
        weights = batch["weight"].numpy() if "weight" in batch else np.ones(len(rows))
        if not len(self._augmentor):
            return self._with_weights(batch, vectors)
        varied, new_targets, new_weights = [], [], []
        for number, row in enumerate(rows.tolist()):
            where = f"augmentor: {self._names[row]}"
            record = self._layout.data_record(vectors[number], targets[number], float(weights[number]))
            with drawing_from(int(seeds[number])):
                changed = record_files.called(where, self._augmentor, record)
            varied.append(self._layout.vector(changed, where))
            new_targets.append(self._layout.target(changed, where))
            new_weights.append(self._layout.weight(changed, where))
        batch["images"] = torch.from_numpy(np.stack(varied)).reshape(batch["images"].shape)
        batch["target"] = torch.tensor(new_targets, dtype=batch["target"].dtype)
        if self._layout.weighted:
            batch["weight"] = torch.tensor(new_weights, dtype=torch.float32)
        return self._with_weights(batch, np.stack(varied))

    def _with_weights(self, batch: Batch, vectors: npt.NDArray[Any]) -> Batch:
        """Return the batch with a weight for each of several outputs, shape (n, outputs), if rows have them."""
        if self._layout.tail:
            batch["weight"] = torch.from_numpy(np.ascontiguousarray(vectors[:, -self._layout.tail :]))
        return batch


def collating_of(task: Task, pack: Pack) -> type[Collating]:
    """Return the class that collates images of a task with its form of targets.

    Args:
        task: The task.
        pack: Its cached images.
    """
    kind = kinds.of(task.kind)
    if kind.is_dense and not kind.has_classes:
        return TargetImages
    if pack.masks is not None:
        return Masks
    source = sources.open(task)
    if source.has_objects:
        return Boxes
    return Collating if source.layout is None else VariedRows


def _images_of_one_size(images: Images, pack: Pack) -> npt.NDArray[Any]:
    """Return images, masks or targets in the network's size."""
    change = pack.preprocessing.fixed if pack.ragged else pack.preprocessing.sized
    return np.stack([change(image) for image in images])


def _makes_targets(step: PairStep) -> bool:
    return isinstance(step, Always) and isinstance(step.change, RandomPatches)
