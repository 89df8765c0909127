"""Random changes of training images on the CPU, the same for a sample whatever the batch, the worker or the machine.

A step takes a batch of images, shape (n, height, width, channels), and one 64-bit seed for each, and returns the changed
batch. Everything random comes from the sample's own seed. Transforms of other libraries become steps in
`mlpipe.data.transforms`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

Batch = npt.NDArray[Any]
# A batch of one size, or images of sizes of their own.
Images = Batch | list[Batch]
Seeds = npt.NDArray[np.uint64]
Step = Callable[[Any, Seeds], Any]


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


def random_resized_crop(
    *,
    size: Annotated[int, ">= 1"],
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (0.75, 4 / 3),
) -> Step:
    """Cut out a window of random area and shape and resize it (Szegedy et al. 2015), as torchvision's RandomResizedCrop.

    With `preprocessing=original` the window is cut from the image at its full size.

    Args:
        size: Height and width of the result in pixels.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest width over height; drawn evenly on a logarithmic scale.
    """
    import cv2

    def crop(images: Images, seeds: Seeds) -> Batch:
        area, shape = uniform(seeds, 0), uniform(seeds, 1)
        across, along = uniform(seeds, 2), uniform(seeds, 3)
        first = images[0]
        cut = np.empty((len(images), size, size, first.shape[2]), first.dtype)
        for index, image in enumerate(images):
            height, width = image.shape[:2]
            wanted = height * width * (scale[0] + area[index] * (scale[1] - scale[0]))
            aspect = ratio[0] * (ratio[1] / ratio[0]) ** shape[index]
            w = min(max(round((wanted * aspect) ** 0.5), 1), width)
            h = min(max(round((wanted / aspect) ** 0.5), 1), height)
            top, left = int(across[index] * (height - h + 1)), int(along[index] * (width - w + 1))
            window = np.ascontiguousarray(image[top : top + h, left : left + w])
            kind = cv2.INTER_AREA if max(h, w) > size else cv2.INTER_LINEAR
            cut[index] = cv2.resize(window, (size, size), interpolation=kind).reshape(size, size, -1)
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


def rotate90() -> Step:
    """Turn by 0, 90, 180 or 270 degrees, each as often; images must be square."""

    def turn(images: Batch, seeds: Seeds) -> Batch:
        turns = (uniform(seeds, 0) * 4).astype(int)
        turned = images.copy()
        for number in (1, 2, 3):
            turned[turns == number] = np.rot90(images[turns == number], number, axes=(1, 2))
        return turned

    return turn


def brightness_contrast(
    *, brightness: Annotated[float, ">= 0", "<= 1"] = 0.2, contrast: Annotated[float, ">= 0", "<= 1"] = 0.2
) -> Step:
    """Multiply the distance to the image's mean, then add: 8 and 16 bit are clipped, floating point to 0 to 1.

    Args:
        brightness: Largest change up or down, as a share of the range of values.
        contrast: Largest change of the factor, up or down from 1.
    """

    def change(images: Batch, seeds: Seeds) -> Batch:
        peak = float(np.iinfo(images.dtype).max) if images.dtype.kind == "u" else 1.0
        shift = ((2 * uniform(seeds, 0) - 1) * brightness * peak).astype(np.float32)
        factor = (1 + (2 * uniform(seeds, 1) - 1) * contrast).astype(np.float32)
        values = images.astype(np.float32)
        mean = values.mean(axis=(1, 2, 3), keepdims=True)
        values = (values - mean) * factor[:, None, None, None] + mean + shift[:, None, None, None]
        values = np.clip(values, 0, peak)
        return np.asarray(np.rint(values) if images.dtype.kind == "u" else values).astype(images.dtype)

    return change


def random_erasing(
    *,
    p: Annotated[float, ">= 0", "<= 1"] = 0.25,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
) -> Step:
    """Paint a random rectangle with the image's mean colour (Zhong et al. 2020).

    Args:
        p: How often.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest width over height.
    """

    def erase(images: Batch, seeds: Seeds) -> Batch:
        height, width = images.shape[1:3]
        draws = [uniform(seeds, number) for number in range(5)]
        areas = height * width * (scale[0] + draws[1] * (scale[1] - scale[0]))
        aspects = ratio[0] * (ratio[1] / ratio[0]) ** draws[2]
        erased = images.copy()
        for index in np.flatnonzero(draws[0] < p).tolist():
            w = min(max(round(float(areas[index] * aspects[index]) ** 0.5), 1), width)
            h = min(max(round(float(areas[index] / aspects[index]) ** 0.5), 1), height)
            top, left = int(draws[3][index] * (height - h + 1)), int(draws[4][index] * (width - w + 1))
            colour = images[index].mean(axis=(0, 1))
            erased[index, top : top + h, left : left + w] = colour.astype(images.dtype)
        return erased

    return erase


def apply(steps: Sequence[Step], images: Images, seeds: Seeds) -> Images:
    """Run the steps of a pipeline, each with seeds of its own drawn from the samples' seeds.

    Images of several sizes go through a step one by one until one gives them a common size.
    """
    for number, step in enumerate(steps):
        own = mix(seeds, number + 1)
        images = step(images, own) if isinstance(images, np.ndarray) else _one_by_one(step, images, own)
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


def _one_by_one(step: Step, images: list[Batch], seeds: Seeds) -> Images:
    changed = [step(image[np.newaxis], seeds[index : index + 1])[0] for index, image in enumerate(images)]
    return np.stack(changed) if len({image.shape for image in changed}) == 1 else changed


def _flip(*, axis: int, p: float) -> Step:
    def flip(images: Batch, seeds: Seeds) -> Batch:
        chosen = uniform(seeds, 0) < p
        turned = images.copy()
        turned[chosen] = np.flip(images[chosen], axis=axis)
        return turned

    return flip
