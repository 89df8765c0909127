"""Random changes of training images on the CPU, the same for a sample whatever the batch, the worker or the machine.

A step takes a batch of images, shape (n, height, width, channels), uint8, and one 64-bit seed for each, and returns
the changed batch. Everything random comes from the sample's own seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt

Batch = npt.NDArray[np.uint8]
Seeds = npt.NDArray[np.uint64]
Step = Callable[[Batch, Seeds], Batch]


def random_crop(*, padding: Annotated[float, ">= 0", "<= 1"] = 0.125) -> Step:
    """Pad with zeros on every side, then cut out a window of the original size at random.

    Args:
        padding: Padding on each side as a share of height and width.
    """

    def crop(images: Batch, seeds: Seeds) -> Batch:
        height, width = images.shape[1:3]
        down, right = round(height * padding), round(width * padding)
        padded = np.pad(images, ((0, 0), (down, down), (right, right), (0, 0)))
        tops = (uniform(seeds, 0) * (2 * down + 1)).astype(int)
        lefts = (uniform(seeds, 1) * (2 * right + 1)).astype(int)
        cut = np.empty_like(images)
        for index, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True)):
            cut[index] = padded[index, top : top + height, left : left + width]
        return cut

    return crop


def horizontal_flip(*, p: Annotated[float, ">= 0", "<= 1"] = 0.5) -> Step:
    """Mirror left and right.

    Args:
        p: How often.
    """
    return _flip(axis=2, p=p)


def vertical_flip(*, p: Annotated[float, ">= 0", "<= 1"] = 0.5) -> Step:
    """Mirror top and bottom.

    Args:
        p: How often.
    """
    return _flip(axis=1, p=p)


def apply(steps: Sequence[Step], images: Batch, seeds: Seeds) -> Batch:
    """Run the steps of a pipeline, each with seeds of its own drawn from the samples' seeds."""
    for number, step in enumerate(steps):
        images = step(images, mix(seeds, number + 1))
    return images


def mix(seeds: Seeds, number: int) -> Seeds:
    """New seeds from seeds and a number: the finaliser of SplitMix64 (Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        state = seeds + np.uint64((0x9E3779B97F4A7C15 * (number + 1)) % 2**64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)), np.uint64)


def uniform(seeds: Seeds, number: int) -> npt.NDArray[np.float64]:
    """The seeds' draw of this number, uniform in [0, 1), shape (n,)."""
    return (mix(seeds, number) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _flip(*, axis: int, p: float) -> Step:
    def flip(images: Batch, seeds: Seeds) -> Batch:
        chosen = uniform(seeds, 0) < p
        turned = images.copy()
        turned[chosen] = np.flip(images[chosen], axis=axis)
        return turned

    return flip
