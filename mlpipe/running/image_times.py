"""What one pass over a task's images takes on this machine: reading them, and pushing them through a frozen network."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from mlpipe.config.environment import cores
from mlpipe.config.schema import RunConfig
from mlpipe.data import sources
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.task import Task
from mlpipe.running import tasks

# So many images are read to measure that, until so many seconds are over.
_READ, _READ_SECONDS = 16, 0.4
# Seconds for the steps of a network, and the most pixels of a batch of them.
_LOOK_SECONDS, _PIXELS = 0.8, 16 * 128 * 128
# Loading, writing and the smaller last batch cost more than the bare step that was measured.
_OVERHEAD = 1.1
# Images smaller than that tell a network too little.
_LEAST_SIDE = 64
# Sizes are whole multiples of it.
_STEP = 32


@dataclass(frozen=True)
class ImageTimes:
    """Seconds of one image.

    Attributes:
        images: How many the task has.
        read: Reading and resizing, with all cores.
        evaluate: Pushing it through the network at `size`.
        size: Height and width in pixels.
        parameters: How many numbers the network has.
        features: How many features its head reads; 0 where that is not known.
    """

    images: int
    read: float
    evaluate: float
    size: int
    parameters: int
    features: int = 0

    def one_pass(self, size: int, *, is_cached: bool = False) -> float:
        """Seconds of the features of all images at a size, cold.

        Args:
            size: Height and width.
            is_cached: Whether the images need not be read.
        """
        look = self.evaluate * (size / self.size) ** 2 * _OVERHEAD
        return self.images * (look + (0.0 if is_cached else self.read))

    def mirrored_fit(self, rows: int) -> float:
        """How many times longer the fit of an exact head to images and their mirror images takes than to the images alone.

        An iteration costs rows x the rank of their features, which is that of the rows where these are fewer.

        Args:
            rows: How many images it learns from.
        """
        features = self.features or 2 * rows
        return 2 * min(2 * rows, features) / max(1, min(rows, features))

    def size_within(self, seconds: float) -> int:
        """The size, at most the measured one, at which one pass fits into a time; the least useful one where none does."""
        size = self.size
        while size > _LEAST_SIDE and self.one_pass(size) > seconds:
            size = max(_LEAST_SIDE, (size - 1) // _STEP * _STEP)
        return size


def measured(config: RunConfig, task: Task) -> ImageTimes:
    """Time a few images and a few steps of the network with random weights, in about two seconds.

    Args:
        config: A recipe with a frozen network.
        task: The task.
    """
    from mlpipe.learn.machine import speed

    setting = config.recipe.preprocessing.params["size"]
    size = max(setting) if isinstance(setting, list) else int(setting)
    channels = tasks.preprocessing_of(config, task).channels
    batch = max(1, min(32, _PIXELS // size**2))
    outputs = len(task.classes)
    measurement = speed.speed(config.recipe, channels, size, outputs, batch, learns=False, most_seconds=_LOOK_SECONDS)
    images = len(task.samples)
    reading = _reading(task, channels, size)
    return ImageTimes(images, reading, measurement.evaluate, size, measurement.parameters, measurement.features)


def _reading(task: Task, channels: int, size: int) -> float:
    """Seconds of one image with all cores; those that cannot be read are told of when all are decoded."""
    base = (task.bases or (task,))[0]
    read = sources.open(base).inputs(channels, size)
    rows = np.random.default_rng(0).permutation(len(base.samples))[:_READ]
    started, count = time.perf_counter(), 0
    for row in rows.tolist():
        try:
            read(row)
        except UnreadableImageError:
            continue
        count += 1
        if time.perf_counter() - started > _READ_SECONDS:
            break
    return (time.perf_counter() - started) / max(count, 1) / cores()
