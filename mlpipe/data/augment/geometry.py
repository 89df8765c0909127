"""Resize, crop, rotate and recolour images in the order of a recipe: some steps for every image, some only in training.

Each is a step of `augmentations.cpu.pipeline`, like those of `mlpipe.data.augment.samples`. The deterministic steps are
wrapped in `Always`: images also go through them in evaluation, in the same order. Sizes are [width, height] in pixels. New
pixels are interpolated linearly, as by OpenCV; with `exact`, used for masks, they are the nearest old pixels. A step moves
an image and its mask alike, because both have the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe.data.augment.samples import PIPELINE, Batch, Images, Seeds, Step, uniform
from mlpipe.errors import ConfigError, DataError, did_you_mean, problem

# OpenCV rotates and recolours at most this many channels at a time.
_CHANNELS = 4
# What a change of colours applies to if targets are images, too.
On = Literal["images", "targets", "both"]


@dataclass(frozen=True)
class Always:
    """A step that is also applied in evaluation.

    Attributes:
        change: The step.
        on: If targets are images, which of the two it applies to; None: it moves both.
    """

    change: Callable[..., Any]
    on: On | None = None

    def __call__(self, images: Images, seeds: Seeds, exact: bool = False) -> Images:
        """Return the changed images; with `exact`, without any new values."""
        changed: Images = self.change(images, seeds, exact)
        return changed


def always(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that are also applied in evaluation."""
    return [step for step in steps if isinstance(step, Always)]


def random_flips(
    *, p: Annotated[float, ">= 0", "<= 1"] = 0.5, axes: list[Annotated[int, ">= 0"]] | None = None
) -> Step:
    """Mirror along some axes, drawn for each axis separately; samples may have any number of axes.

    Args:
        p: The probability for each axis.
        axes: The axes, counted from 0 without the channel axis; None: all of them.
    """
    return partial(_flipped, p=p, axes=axes)


def _flipped(images: Images, seeds: Seeds, *, p: float, axes: list[int] | None) -> Images:
    if isinstance(images, list):
        batches = [_flipped(image[np.newaxis], seeds[at : at + 1], p=p, axes=axes) for at, image in enumerate(images)]
        return [np.asarray(batch)[0] for batch in batches]
    spatial = range(images.ndim - 2)
    if odd := [axis for axis in axes or () if axis not in spatial]:
        fix = f"count them from 0 to {len(spatial) - 1}"
        raise DataError(problem(PIPELINE, "random_flips names an axis that is not there", got=odd, fix=fix))
    flipped = images.copy()
    for axis in spatial if axes is None else axes:
        chosen = uniform(seeds, axis) < p
        flipped[chosen] = np.flip(flipped[chosen], axis + 1)
    return flipped


def resize(*, size: tuple[int, int], on: On = "both") -> Step:
    """Resize to a size, ignoring the aspect ratio and without antialiasing.

    Args:
        size: Width and height.
        on: If targets are images: resize only `images` or only `targets`, which then differ in size, or `both`.

    Raises:
        ConfigError: If one of them is not positive.
    """
    width, height = _size("resize", size)
    return Always(_step_of_images(partial(_resized_image, size=(width, height)), 0), None if on == "both" else on)


def _resized_image(image: Batch, draws: npt.NDArray[Any], exact: bool, *, size: tuple[int, int]) -> Batch:
    return resized(image, *size, exact)


def center_crop(*, size: tuple[int, int]) -> Step:
    """Crop to the middle; images must be at least as large.

    Args:
        size: Width and height.

    Raises:
        ConfigError: If one of them is not positive.
    """
    width, height = _size("center_crop", size)
    return Always(_step_of_images(partial(_middle, size=(width, height)), 0))


def _middle(image: Batch, draws: npt.NDArray[Any], exact: bool, *, size: tuple[int, int]) -> Batch:
    (rows, columns), (width, height) = image.shape[:2], size
    if rows < height or columns < width:
        wrong = f"center_crop to {width} x {height} cannot take an image of {columns} x {rows} pixels"
        raise DataError(problem(PIPELINE, wrong, fix="resize before it, or crop less"))
    top, left = (rows - height) // 2, (columns - width) // 2
    return image[top : top + height, left : left + width]


def jitter_crop(*, most: Annotated[float, ">= 0", "< 1"]) -> Step:
    """Cut off c S / 2 pixels of every side, with c from 0 to `most` drawn for each side; results differ in size.

    Args:
        most: The largest c; S is the image's width or height.
    """
    return _step_of_images(partial(_trimmed, most=most), 4)


def _trimmed(image: Batch, draws: npt.NDArray[Any], exact: bool, *, most: float) -> Batch:
    rows, columns = image.shape[:2]
    top, bottom, left, right = trims(rows, columns, draws, most)
    return image[top : rows - bottom, left : columns - right]


def trims(rows: int, columns: int, draws: npt.NDArray[Any], most: float) -> tuple[int, int, int, int]:
    """Return the number of pixels that `jitter_crop` cuts off at the top, bottom, left and right.

    Args:
        rows: The image's height.
        columns: Its width.
        draws: Four numbers from 0 to 1.
        most: The largest c of the step.
    """
    top, bottom = (share_off(draw, most, rows) for draw in draws[:2])
    left, right = (share_off(draw, most, columns) for draw in draws[2:])
    return top, bottom, left, right


def random_zoom(*, most: Annotated[float, ">= 0", "< 1"]) -> Step:
    """Cut off the same share of every side, c S / 2 with c from 0 to `most`, and resize to the original size.

    Args:
        most: The largest c; S is the image's width or height.
    """
    return _step_of_images(partial(_zoomed, most=most), 1)


def _zoomed(image: Batch, draws: npt.NDArray[Any], exact: bool, *, most: float) -> Batch:
    rows, columns = image.shape[:2]
    top, left = (share_off(draws[0], most, side) for side in (rows, columns))
    return resized(image[top : rows - top, left : columns - left], columns, rows, exact)


def share_off(draw: float, most: float, side: int) -> int:
    """Return the number of pixels to cut off one end of a side, rounded to nearest so that small images are cut too."""
    return min(round(draw * most * side / 2), (side - 1) // 2)


def rotate(*, degrees: float) -> Step:
    """Rotate clockwise around the middle; the size stays the same, and uncovered pixels become zero.

    Args:
        degrees: The angle.
    """
    return Always(_step_of_images(partial(_rotated_image, degrees=degrees), 0))


def _rotated_image(image: Batch, draws: npt.NDArray[Any], exact: bool, *, degrees: float) -> Batch:
    return _turned(image, degrees, exact)


def random_rotate(*, degrees: Annotated[float, ">= 0"]) -> Step:
    """Rotate around the middle by a random angle, as `rotate` does.

    Args:
        degrees: The largest angle in either direction.
    """
    return _step_of_images(partial(_randomly_rotated_image, degrees=degrees), 1)


def _randomly_rotated_image(image: Batch, draws: npt.NDArray[Any], exact: bool, *, degrees: float) -> Batch:
    return _turned(image, float(2 * draws[0] - 1) * degrees, exact)


def fitted(
    *,
    way: Literal["crop", "pad"],
    to: Literal["multiples", "powers", "ratio"],
    width: Annotated[float, "> 0"] | None = None,
    height: Annotated[float, "> 0"] | None = None,
    centred: bool = False,
    fill: float = 0.0,
) -> Step:
    """Crop or pad sides to multiples or powers of a number, or to an aspect ratio (imgaug's CropToSquare and the like).

    Args:
        way: Whether to crop or pad.
        to: What the sides become: multiples, powers, or sides of a ratio.
        width: The number for the width, or the ratio of width to height; None: the width stays.
        height: The number for the height; None: the height stays.
        centred: Whether the change is divided equally between both ends; else the division is drawn.
        fill: The value of padded pixels; in a mask, these are ignored.

    Raises:
        ConfigError: If numbers do not fit.
    """
    numbers = [number for number in (width, height) if number is not None]
    if to == "ratio" and (width is None or height is not None):
        raise ConfigError(
            problem(f"{PIPELINE}: fitted.width", "must be the ratio, and height is none", got=[width, height])
        )
    least = {"multiples": 1, "powers": 2, "ratio": 0}[to]
    if to != "ratio" and not all(float(number).is_integer() and number >= least for number in numbers):
        raise ConfigError(problem(f"{PIPELINE}: fitted", f"takes whole numbers >= {least}", got=numbers))
    change = partial(_fitted, way=way, to=to, numbers=(height, width), centred=centred, fill=fill)
    return _step_of_images(change, 2)


def _fitted(
    image: Batch,
    draws: npt.NDArray[Any],
    exact: bool,
    *,
    way: str,
    to: str,
    numbers: tuple[float | None, float | None],
    centred: bool,
    fill: float,
) -> Batch:
    sides = list(image.shape[:2])
    goal = _sides_of_ratio(sides, float(numbers[1] or 1), way) if to == "ratio" else [
        side if number is None else _fitting_side(side, int(number), way, to)
        for side, number in zip(sides, numbers, strict=True)
    ]  # fmt: skip
    spare = [abs(end - side) for side, end in zip(sides, goal, strict=True)]
    before = [number // 2 if centred else int(draw * (number + 1)) for number, draw in zip(spare, draws, strict=True)]
    if way == "crop":
        (top, left), (height, width) = before, goal
        return image[top : top + height, left : left + width]
    margins = [(start, number - start) for start, number in zip(before, spare, strict=True)]
    return np.pad(image, (*margins, (0, 0)), constant_values=image.dtype.type(0 if exact else fill))


def _fitting_side(side: int, number: int, way: str, to: str) -> int:
    """Return the nearest multiple or power of a number that is not longer (or not shorter); a side too short stays."""
    if to == "multiples":
        return -(-side // number) * number if way == "pad" else (side // number) * number or side
    power = number
    while power * number <= side:
        power *= number
    if way == "crop":
        return power if power <= side else side
    return power if power >= side else power * number


def _sides_of_ratio(sides: Sequence[int], ratio: float, way: str) -> list[int]:
    """Return height and width after changing one of them so that width is about `ratio` times height."""
    height, width = sides
    is_narrow = width < ratio * height
    if way == "pad":
        change = ratio * height - width if is_narrow else width / ratio - height
    else:
        change = min(height - width / ratio, height - 1) if is_narrow else min(width - ratio * height, width - 1)
    # Half of the change is rounded down at one end and up at the other.
    whole = math.floor(change / 2) + math.ceil(change / 2)
    if way == "pad":
        return [height, width + whole] if is_narrow else [height + whole, width]
    return [height - whole, width] if is_narrow else [height, width - whole]


def jigsaw(
    *,
    rows: tuple[int, int] = (3, 10),
    columns: tuple[int, int] = (3, 10),
    steps: tuple[int, int] = (1, 1),
    padded: bool = True,
) -> Step:
    """Exchange neighbouring cells of a grid (imgaug's Jigsaw).

    Args:
        rows: The range of the number of rows of the grid.
        columns: The range of the number of columns.
        steps: The range of the largest number of steps that a cell moves; fewer if a neighbour has used up its steps.
        padded: Whether images whose sides are not multiples of the grid are padded with black; else they are refused.

    Raises:
        ConfigError: If a range is not valid.
    """
    for name, bounds, least in (("rows", rows, 1), ("columns", columns, 1), ("steps", steps, 0)):
        if len(bounds) != 2 or not least <= bounds[0] <= bounds[1]:
            raise ConfigError(problem(f"{PIPELINE}: jigsaw.{name}", f"must be two bounds >= {least}", got=list(bounds)))
    return partial(_exchanged, rows=rows, columns=columns, steps=steps, padded=padded)


def _exchanged(
    images: Images,
    seeds: Seeds,
    *,
    rows: tuple[int, int],
    columns: tuple[int, int],
    steps: tuple[int, int],
    padded: bool,
) -> Images:
    changed = []
    for image, seed in zip(images, seeds.tolist(), strict=True):
        drawn = np.random.default_rng([seed, 31])
        down, across, most = (int(drawn.integers(low, high + 1)) for low, high in (rows, columns, steps))
        places = _exchanged_places(drawn, down, across, most)
        height, width = (-(-side // count) * count for side, count in zip(image.shape[:2], (down, across), strict=True))
        spare = (height - image.shape[0], width - image.shape[1])
        if any(spare) and not padded:
            wrong = (
                f"jigsaw of {down} rows and {across} columns does not divide {image.shape[1]} x {image.shape[0]} pixels"
            )
            raise DataError(problem(PIPELINE, wrong, fix="use other numbers, or let it pad"))
        whole = np.pad(image, (*((number // 2, number - number // 2) for number in spare), (0, 0)))
        cells = whole.reshape(down, height // down, across, width // across, -1).swapaxes(1, 2)
        cells = cells.reshape(down * across, *cells.shape[2:])
        moved = np.empty_like(cells)
        moved[places] = cells
        moved = moved.reshape(down, across, *moved.shape[1:]).swapaxes(1, 2).reshape(whole.shape)
        changed.append(moved)
    return np.stack(changed) if len({image.shape for image in changed}) == 1 else changed


def _exchanged_places(drawn: np.random.Generator, rows: int, columns: int, most: int) -> npt.NDArray[np.int64]:
    """Return the new place of each grid cell, shape (rows * columns,), after exchanging cells that have steps left."""
    left = drawn.integers(0, most + 1, (rows, columns))
    directions = drawn.integers(0, 4, (most, rows, columns))
    places = np.arange(rows * columns).reshape(rows, columns)
    for step in range(most):
        for row, column in np.ndindex(rows, columns):
            down, right = ((-1, 0), (0, 1), (1, 0), (0, -1))[int(directions[step, row, column])]
            other = (min(max(row + down, 0), rows - 1), min(max(column + right, 0), columns - 1))
            if other != (row, column) and left[row, column] > 0 and left[other] > 0:
                places[row, column], places[other] = places[other], places[row, column]
                left[row, column] -= 1
                left[other] -= 1
    return places.ravel()


def convert_color(*, code: str, on: On = "images") -> Step:
    """Convert colours with OpenCV's cvtColor; images are RGB before.

    Args:
        code: An OpenCV code without `COLOR_`, such as RGB2BGR, RGB2HSV or RGB2GRAY.
        on: If targets are images: apply to `images`, `targets`, or `both`.

    Raises:
        ConfigError: If OpenCV has no such code.
    """
    import cv2

    number = getattr(cv2, f"COLOR_{code}", None)
    if number is None:
        codes = [name.removeprefix("COLOR_") for name in dir(cv2) if name.startswith("COLOR_")]
        fix = did_you_mean(code, codes, otherwise="for example RGB2GRAY")
        raise ConfigError(problem(PIPELINE, "convert_color has no such code", got=code, fix=fix))
    return Always(_step_of_images(partial(_converted, code=code, number=number), 0), on)


def _converted(image: Batch, draws: npt.NDArray[Any], exact: bool, *, code: str, number: int) -> Batch:
    import cv2

    try:
        changed = cv2.cvtColor(np.ascontiguousarray(image), number)
    except cv2.error as error:
        wrong = f"convert_color {code} cannot take images of shape {image.shape} and type {image.dtype}"
        raise DataError(problem(PIPELINE, wrong, fix="use another code, or put it elsewhere")) from error
    return np.asarray(changed).reshape(*changed.shape[:2], -1)


def normalize(*, mean: float = 0.0, std: float = 1.0, white: Annotated[float, "> 0"] = 1.0, on: On = "images") -> Step:
    """Subtract a mean and divide by a standard deviation, both on a scale where white is 1; pixels become floats.

    Args:
        mean: The mean.
        std: The standard deviation.
        white: The value of white in the images: 255 for 8 bit. It is also the unit of the result, as networks expect.
        on: As for `convert_color`.

    Raises:
        ConfigError: If the standard deviation is 0.
    """
    if std == 0:
        raise ConfigError(problem(PIPELINE, "normalize divides by std", got=std, fix="use another number"))
    factor, offset = np.float32(1 / std), np.float32(mean * white / std)
    return Always(_step_of_images(partial(_scaled, factor=factor, offset=offset), 0), on)


def _scaled(image: Batch, draws: npt.NDArray[Any], exact: bool, *, factor: np.float32, offset: np.float32) -> Batch:
    return image.astype(np.float32) * factor - offset


def _step_of_images(change: Callable[[Batch, npt.NDArray[Any], bool], Batch], draws: int) -> Step:
    """Return a step from a change of one image, which gets `draws` random numbers from 0 to 1 from the image's seed."""
    return partial(_image_by_image, change, draws)


def _image_by_image(
    change: Callable[[Batch, npt.NDArray[Any], bool], Batch],
    draws: int,
    images: Images,
    seeds: Seeds,
    exact: bool = False,
) -> Images:
    drawn = np.stack([uniform(seeds, number) for number in range(draws)], 1) if draws else np.empty((len(seeds), 0))
    changed = [change(image, own, exact) for image, own in zip(images, drawn, strict=True)]
    return np.stack(changed) if len({image.shape for image in changed}) == 1 else changed


def _size(name: str, size: Sequence[int]) -> tuple[int, int]:
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(problem(PIPELINE, f"{name} takes width and height", got=size, fix="for example [64, 64]"))
    return size[0], size[1]


def resized(image: Batch, width: int, height: int, exact: bool = False) -> Batch:
    """Resize an image of shape (height, width, channels); each new pixel comes from the four nearest old ones.

    Args:
        image: The image.
        width: The new width.
        height: The new height.
        exact: Use the nearest old pixel instead.
    """
    import cv2

    if image.shape[:2] == (height, width):
        return image
    # Of OpenCV's two nearest modes, this one measures from pixel centres, as the linear mode does.
    how = cv2.INTER_NEAREST_EXACT if exact else cv2.INTER_LINEAR
    return _by_channels(image, lambda part: cv2.resize(part, (width, height), interpolation=how))


def _turned(image: Batch, degrees: float, exact: bool) -> Batch:
    import cv2

    rows, columns = image.shape[:2]
    matrix = rotation(rows, columns, degrees)
    how = cv2.INTER_NEAREST if exact else cv2.INTER_LINEAR
    return _by_channels(image, lambda part: cv2.warpAffine(part, matrix, (columns, rows), flags=how))


def rotation(rows: int, columns: int, degrees: float) -> npt.NDArray[np.float64]:
    """Return the matrix of a clockwise rotation around the middle, shape (2, 3), in coordinates of pixel centres.

    Args:
        rows: The image's height.
        columns: Its width.
        degrees: The angle.
    """
    import cv2

    # OpenCV's angles are counter-clockwise.
    return np.asarray(cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), -degrees, 1.0), np.float64)


def _by_channels(image: Batch, change: Callable[[Batch], Any]) -> Batch:
    parts = [
        np.ascontiguousarray(image[:, :, first : first + _CHANNELS]) for first in range(0, image.shape[2], _CHANNELS)
    ]
    changed = [np.asarray(part) for part in map(change, parts)]
    return np.concatenate([part.reshape(*part.shape[:2], -1) for part in changed], axis=2)
