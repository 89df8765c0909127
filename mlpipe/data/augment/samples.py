"""Random changes of training samples on the CPU; results do not depend on the batch, the worker or the machine.

A step takes a batch of images, shape (n, height, width, channels), and a 64-bit seed for each image, and returns the
changed batch. All random draws come from the sample's own seed. Transforms of other libraries become steps in
`mlpipe.data.augment.libraries`. Every step can be pickled, because loader processes that are not forked receive it so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, DataError, problem

# The configuration key of the pipeline of CPU steps, for error messages.
PIPELINE = "augmentations.cpu.pipeline"
# How often a window of random shape is drawn again if it does not fit, as in torchvision.
_TRIES = 10
Batch = npt.NDArray[Any]
# A batch of images of one size, or a list of images of different sizes.
Images = Batch | list[Batch]
Seeds = npt.NDArray[np.uint64]
Step = Callable[[Any, Seeds], Any]


def random_crop(*, padding: Annotated[float, ">= 0", "<= 1"] = 0.125) -> Step:
    """Pad with zeros on every side, then cut out a window of the original size at a random place.

    Args:
        padding: Padding on each side as a share of height and width.
    """
    return partial(_cropped, padding=padding)


def _cropped(images: Batch, seeds: Seeds, *, padding: float) -> Batch:
    height, width = images.shape[1:3]
    down, right, tops, lefts = offsets(height, width, seeds, padding)
    padded = np.pad(images, ((0, 0), (down, down), (right, right), (0, 0)))
    cut = np.empty_like(images)
    for index, (top, left) in enumerate(zip(tops.tolist(), lefts.tolist(), strict=True)):
        cut[index] = padded[index, top : top + height, left : left + width]
    return cut


def offsets(
    height: int, width: int, seeds: Seeds, padding: float
) -> tuple[int, int, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the padding that `random_crop` adds at the top and left, and each image's window offset in the padded image.

    Args:
        height: The images' height.
        width: Their width.
        seeds: One for each image, shape (n,).
        padding: The padding of the step.
    """
    down, right = round(height * padding), round(width * padding)
    tops = (uniform(seeds, 0) * (2 * down + 1)).astype(np.int64)
    return down, right, tops, (uniform(seeds, 1) * (2 * right + 1)).astype(np.int64)


def random_resized_crop(
    *,
    size: Annotated[int, ">= 1"],
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (0.75, 4 / 3),
) -> Step:
    """Cut out a window of random area and shape and resize it (Szegedy et al. 2015), drawn as torchvision draws it.

    Pixels are averaged if a window shrinks and interpolated linearly if it grows. Images may differ in size: with
    `preprocessing=original` the window is cut from the image at its full size.

    Args:
        size: Height and width of the result in pixels.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest ratio of width to height; drawn uniformly on a logarithmic scale.

    Raises:
        ConfigError: If a scale or ratio is not a range.
    """
    check_ranges("random_resized_crop", PIPELINE, scale, ratio)
    return partial(_resized_crop, size=size, scale=scale, ratio=ratio)


def _resized_crop(
    images: Images,
    seeds: Seeds,
    exact: bool = False,
    *,
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Batch:
    corners = windows(np.array([image.shape[:2] for image in images]), seeds, scale, ratio)
    cut = np.empty((len(images), size, size, images[0].shape[2]), images[0].dtype)
    for index, (top, left, h, w) in enumerate(corners.tolist()):
        window = images[index][top : top + h, left : left + w]
        cut[index] = _nearest(window, size) if exact else _resized(window, size)
    return cut


def windows(
    sides: npt.NDArray[Any], seeds: Seeds, scale: tuple[float, float], ratio: tuple[float, float]
) -> npt.NDArray[np.int64]:
    """Return top, left, height and width of the window that `random_resized_crop` cuts out of each image, shape (n, 4).

    Args:
        sides: Height and width of each image, shape (n, 2).
        seeds: One for each image, shape (n,).
        scale: The scale of the step.
        ratio: The ratio of the step.
    """
    fits, height, width = _shapes(seeds, sides, scale, ratio)
    # Fallback for narrow images if no try fits: the largest central window of an allowed shape.
    aspect = np.clip(sides[:, 1] / sides[:, 0], *ratio)
    height = np.where(fits, height, np.minimum(sides[:, 0], np.rint(sides[:, 1] / aspect)))
    width = np.where(fits, width, np.minimum(sides[:, 1], np.rint(sides[:, 0] * aspect)))
    down, across = (np.where(fits, uniform(seeds, number), 0.5) for number in (0, 1))
    return _corners(down, across, sides, height, width)


def horizontal_flip(*, p: Annotated[float, ">= 0", "<= 1"] = 0.5) -> Step:
    """Mirror left and right.

    Args:
        p: The probability for each image.
    """
    return partial(_flipped, axis=2, p=p)


def vertical_flip(*, p: Annotated[float, ">= 0", "<= 1"] = 0.5) -> Step:
    """Mirror top and bottom.

    Args:
        p: The probability for each image.
    """
    return partial(_flipped, axis=1, p=p)


@dataclass(frozen=True)
class AlternatingFlip:
    """Mirror the images whose seed is odd; a data set makes that alternate between epochs, see `alternating_seeds`."""

    def __call__(self, images: Batch, seeds: Seeds) -> Batch:
        """Return the images, some of them mirrored."""
        return _mirrored(images, (seeds & np.uint64(1)).astype(bool), axis=2)


def alternating_flip() -> Step:
    """Mirror left and right in every second epoch; which of the first two is drawn for each image (Jordan 2024).

    If every epoch has all images, each image is seen equally often from both sides, and never twice in a row from the
    same side.
    """
    return AlternatingFlip()


def alternating_seeds(seeds: Seeds, first: Seeds, epoch: int) -> Seeds:
    """Return seeds that are odd in every second epoch.

    Args:
        seeds: The seeds of the samples in the epoch, shape (n,).
        first: The seeds of the same samples in the first epoch.
        epoch: The epoch, counted from 0.
    """
    bit = np.uint64(1)
    return np.asarray((seeds & ~bit) | ((first ^ np.uint64(epoch)) & bit), np.uint64)


def rotate90() -> Step:
    """Rotate by 0, 90, 180 or 270 degrees with equal probability; images must be square."""
    return _turned


def _turned(images: Batch, seeds: Seeds) -> Batch:
    height, width = images.shape[1:3]
    if height != width:
        fix = "put it after random_resized_crop, or use preprocessing.resize=squash"
        raise DataError(problem(PIPELINE, f"rotate90 takes square images, not {width} x {height} pixels", fix=fix))
    turns = (uniform(seeds, 0) * 4).astype(int)
    turned = images.copy()
    for number in (1, 2, 3):
        turned[turns == number] = np.rot90(images[turns == number], number, axes=(1, 2))
    return turned


def brightness_contrast(
    *, brightness: Annotated[float, ">= 0", "<= 1"] = 0.2, contrast: Annotated[float, ">= 0", "<= 1"] = 0.2
) -> Step:
    """Multiply each pixel's difference from the image's mean by a factor, then add a number; integers are rounded.

    Values are clipped to their range: that of the dtype for integers, 0 to 1 for floats.

    Args:
        brightness: Largest change up or down, as a share of the value range.
        contrast: Largest deviation of the factor from 1.
    """
    return partial(_recoloured, brightness=brightness, contrast=contrast)


def _recoloured(images: Batch, seeds: Seeds, *, brightness: float, contrast: float) -> Batch:
    is_whole = images.dtype.kind in "ui"
    low, high = (np.iinfo(images.dtype).min, np.iinfo(images.dtype).max) if is_whole else (0, 1)
    shift = (2 * uniform(seeds, 0) - 1) * brightness * (float(high) - float(low))
    factor = 1 + (2 * uniform(seeds, 1) - 1) * contrast
    mean = images.mean(axis=(1, 2, 3), dtype=np.float64)
    offset = mean * (1 - factor) + shift
    values = images * factor.astype(np.float32)[:, None, None, None]
    values += offset.astype(np.float32)[:, None, None, None]
    np.clip(values, low, high, out=values)
    return np.asarray(np.rint(values, out=values) if is_whole else values).astype(images.dtype)


def random_erasing(
    *,
    p: Annotated[float, ">= 0", "<= 1"] = 0.25,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
) -> Step:
    """Fill a random rectangle (Zhong et al. 2020), here with the image's mean colour.

    Args:
        p: The probability for each image.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest ratio of width to height; drawn uniformly on a logarithmic scale.

    Raises:
        ConfigError: If a scale or ratio is not a range.
    """
    check_ranges("random_erasing", PIPELINE, scale, ratio)
    return partial(_erased, p=p, scale=scale, ratio=ratio)


def _erased(images: Batch, seeds: Seeds, *, p: float, scale: tuple[float, float], ratio: tuple[float, float]) -> Batch:
    sides = np.repeat([images.shape[1:3]], len(images), axis=0)
    fits, height, width = _shapes(seeds, sides, scale, ratio)
    corners = _corners(uniform(seeds, 0), uniform(seeds, 1), sides, height, width)
    erased = images.copy()
    for index in np.flatnonzero(fits & (uniform(seeds, 2) < p)).tolist():
        top, left, h, w = corners[index].tolist()
        colour = images[index].mean(axis=(0, 1), dtype=np.float64)
        whole = np.rint(colour) if images.dtype.kind in "ui" else colour
        erased[index, top : top + h, left : left + w] = whole.astype(images.dtype)
    return erased


def check_ranges(name: str, pipeline: str, scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    """Refuse ranges of areas and aspect ratios that cannot be drawn from.

    Args:
        name: The step's name, for the error message.
        pipeline: The configuration key of the step's pipeline.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest ratio of width to height.

    Raises:
        ConfigError: With one sentence for each faulty range.
    """
    wrong = []
    if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
        sentence = f"scale of {name} must be two shares of the area, the smaller one first"
        wrong.append(problem(pipeline, sentence, got=scale, fix="use for example [0.2, 1.0]"))
    if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1]:
        sentence = f"ratio of {name} must be two positive numbers, the smaller one first"
        wrong.append(problem(pipeline, sentence, got=ratio, fix="use for example [0.75, 1.333]"))
    if wrong:
        raise ConfigError(wrong)


def apply(steps: Sequence[Step], images: Images, seeds: Seeds) -> Images:
    """Run the steps of a pipeline; each draws from its own seeds, derived from the samples' seeds.

    Images of several sizes go through a step one by one until a step gives them a common size.
    """
    for number, step in enumerate(steps):
        own = seeds if isinstance(step, AlternatingFlip) else mix(seeds, number + 1)
        images = once(step, images, own)
    return images


def once(step: Step, images: Images, seeds: Seeds) -> Images:
    """Run one step of a pipeline, image by image if they differ in size."""
    if not isinstance(images, np.ndarray):
        return _one_by_one(step, images, seeds)
    changed: Images = step(images, seeds)
    return changed


def mix(seeds: Seeds, number: int) -> Seeds:
    """Return new seeds from seeds and a number, by the finaliser of SplitMix64 (Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        state = seeds + np.uint64((0x9E3779B97F4A7C15 * (number + 1)) % 2**64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)), np.uint64)


def uniform(seeds: Seeds, number: int) -> npt.NDArray[np.float64]:
    """Return the draw with this number from each seed, uniform in [0, 1), shape (n,)."""
    return (mix(seeds, number) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _shapes(
    seeds: Seeds, sides: npt.NDArray[Any], scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any], npt.NDArray[Any]]:
    """Return whether one of the tries fits into images of these sides (n, 2), and its height and width, shape (n,) each."""
    heights, widths = sides.T
    fits = np.zeros(len(seeds), bool)
    height, width = np.zeros(len(seeds)), np.zeros(len(seeds))
    for number in range(16, 16 + 2 * _TRIES, 2):
        area = heights * widths * (scale[0] + uniform(seeds, number) * (scale[1] - scale[0]))
        aspect = ratio[0] * (ratio[1] / ratio[0]) ** uniform(seeds, number + 1)
        h, w = (np.maximum(np.rint(np.sqrt(part)), 1) for part in (area / aspect, area * aspect))
        first = ~fits & (h <= heights) & (w <= widths)
        height, width = np.where(first, h, height), np.where(first, w, width)
        fits |= first
        if fits.all():
            break
    return fits, height, width


def _corners(
    down: npt.NDArray[Any],
    across: npt.NDArray[Any],
    sides: npt.NDArray[Any],
    height: npt.NDArray[Any],
    width: npt.NDArray[Any],
) -> npt.NDArray[np.int64]:
    """Return top, left, height and width of each window, shape (n, 4), placed at these shares of its free range."""
    top, left = down * (sides[:, 0] - height + 1), across * (sides[:, 1] - width + 1)
    return np.stack([top, left, height, width], axis=1).astype(np.int64)


def _nearest(window: Batch, size: int) -> Batch:
    """Return a window in the wanted size by nearest-neighbour sampling."""
    rows, columns = (((np.arange(size) + 0.5) * side / size).astype(int) for side in window.shape[:2])
    pixels: Batch = window[rows][:, columns]
    return pixels


def _resized(window: Batch, size: int) -> Batch:
    import cv2

    kind = cv2.INTER_AREA if max(window.shape[:2]) > size else cv2.INTER_LINEAR
    # OpenCV's area averaging supports at most four channels.
    groups = [np.ascontiguousarray(window[:, :, first : first + 4]) for first in range(0, window.shape[2], 4)]
    resized = [cv2.resize(group, (size, size), interpolation=kind).reshape(size, size, -1) for group in groups]
    return resized[0] if len(resized) == 1 else np.concatenate(resized, axis=2)


def _one_by_one(step: Step, images: list[Batch], seeds: Seeds) -> Images:
    changed = [step(image[np.newaxis], seeds[index : index + 1])[0] for index, image in enumerate(images)]
    return np.stack(changed) if len({image.shape for image in changed}) == 1 else changed


def _flipped(images: Batch, seeds: Seeds, *, axis: int, p: float) -> Batch:
    return _mirrored(images, uniform(seeds, 0) < p, axis)


def _mirrored(images: Batch, chosen: npt.NDArray[np.bool_], axis: int) -> Batch:
    turned = images.copy()
    turned[chosen] = np.flip(images[chosen], axis=axis)
    return turned
