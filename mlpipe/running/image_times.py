"""Estimate one pass over a task's images on this machine: reading them, and a forward pass of a frozen network."""

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

# The maximum number of images read for the measurement, and its maximum duration in seconds.
_READ, _READ_SECONDS = 16, 0.4
# Duration in seconds of timing the network's steps, and the maximum number of pixels in a batch.
_LOOK_SECONDS, _PIXELS = 0.8, 16 * 128 * 128
# Factor for loading, writing and the smaller last batch, on top of the measured step.
_OVERHEAD = 1.1
# Below this size, images contain too little information for a network.
_LEAST_SIDE = 64
# Sizes are multiples of this number.
_STEP = 32


@dataclass(frozen=True)
class ImageTimes:
    """Seconds per image.

    Attributes:
        images: The number of images of the task.
        read: Seconds to read and resize an image, with all cores.
        evaluate: Seconds of a forward pass of an image at `size`.
        size: Height and width in pixels.
        parameters: The number of parameters of the network.
        features: The number of features that its head reads; 0 if unknown.
    """

    images: int
    read: float
    evaluate: float
    size: int
    parameters: int
    features: int = 0

    def one_pass(self, size: int, *, is_cached: bool = False) -> float:
        """Return the seconds to compute the features of all images at a size without a cache.

        Args:
            size: Height and width.
            is_cached: Whether reading the images is not needed.
        """
        look = self.evaluate * (size / self.size) ** 2 * _OVERHEAD
        return self.images * (look + (0.0 if is_cached else self.read))

    def mirrored_fit(self, rows: int) -> float:
        """Return how many times longer an exact head's fit takes with mirrored images added.

        An iteration costs rows x the rank of their features, which is at most the number of rows.

        Args:
            rows: The number of training images.
        """
        features = self.features or 2 * rows
        return 2 * min(2 * rows, features) / max(1, min(rows, features))

    def size_within(self, seconds: float) -> int:
        """Return the largest size, at most the measured one, at which a pass fits into a time; else the least one."""
        size = self.size
        while size > _LEAST_SIDE and self.one_pass(size) > seconds:
            size = max(_LEAST_SIDE, (size - 1) // _STEP * _STEP)
        return size


def measured(config: RunConfig, task: Task) -> ImageTimes:
    """Time some images and some steps of the network with random weights, in about two seconds.

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
    """Return the seconds per image with all cores; unreadable images are reported when all are decoded."""
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
