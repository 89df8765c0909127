"""Random changes of single images that albumentations lacks: colour spaces, noise, pooling, weather.

All draws come from the image's own seed. Names in brackets are those of imgaug 0.3, whose documentation the formulas follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np

from mlpipe.data.augment.samples import PIPELINE, Batch, Step
from mlpipe.errors import ConfigError, listing, problem

Range = tuple[float, float]
# OpenCV's conversions from and to RGB.
_SPACES = {
    "RGB": ("", ""),
    "BGR": ("RGB2BGR", "BGR2RGB"),
    "GRAY": ("RGB2GRAY", "GRAY2RGB"),
    "HSV": ("RGB2HSV", "HSV2RGB"),
    # Hue in 255 steps.
    "HSV_FULL": ("RGB2HSV_FULL", "HSV2RGB_FULL"),
    "HLS": ("RGB2HLS", "HLS2RGB"),
    "Lab": ("RGB2LAB", "LAB2RGB"),
    "Luv": ("RGB2LUV", "LUV2RGB"),
    "YCrCb": ("RGB2YCrCb", "YCrCb2RGB"),
    "YUV": ("RGB2YUV", "YUV2RGB"),
    "CIE": ("RGB2XYZ", "XYZ2RGB"),
}
Space = Literal["RGB", "BGR", "GRAY", "HSV", "HSV_FULL", "HLS", "Lab", "Luv", "YCrCb", "YUV", "CIE"]
# The largest number of rows and columns that are smoothed, because OpenCV's filters are slow.
_LARGEST_WINDOW = 99


def each(change: Callable[[Batch, int], Batch]) -> Step:
    """Return a step that applies a change to each image under its seed.

    Args:
        change: Maps an image, shape (height, width, channels), and its seed to the changed image.
    """
    return partial(image_by_image, change)


def image_by_image(change: Callable[[Batch, int], Batch], images: Any, seeds: Any) -> Any:
    """Apply a change to each image: an array if all changed images have one size, else a list."""
    changed = [change(image, seed) for image, seed in zip(images, seeds.tolist(), strict=True)]
    same = not isinstance(images, list) and len({image.shape for image in changed}) == 1
    return np.stack(changed) if same else changed


def brightest(image: Batch) -> int | float:
    """Return the largest value of the image's dtype; 1 for floats."""
    return 1.0 if np.issubdtype(image.dtype, np.floating) else int(np.iinfo(image.dtype).max)


def as_type(values: Any, image: Batch) -> Batch:
    """Clip values to the range of the image's dtype; round them for integers."""
    is_float = np.issubdtype(image.dtype, np.floating)
    clipped: Batch = np.clip(values if is_float else np.rint(values), 0, brightest(image))
    return clipped.astype(image.dtype)


def check(name: str, bounds: Sequence[float], least: float = -math.inf, most: float = math.inf) -> None:
    """Refuse an invalid range.

    Args:
        name: The step and its parameter, for the error message.
        bounds: Two numbers.
        least: The smallest valid number.
        most: The largest valid number.

    Raises:
        ConfigError: If the bounds are not in this order or not within these limits.
    """
    if len(bounds) != 2 or not least <= bounds[0] <= bounds[1] <= most:
        limits = {(True, True): "", (True, False): f" <= {most:g}", (False, True): f" >= {least:g}"}
        limit = limits.get((math.isinf(least), math.isinf(most)), f" from {least:g} to {most:g}")
        raise ConfigError(problem(f"{PIPELINE}: {name}", f"must be two bounds{limit}", got=list(bounds)))


def of_three(name: str, image: Batch) -> None:
    """Refuse an image without three channels.

    Args:
        name: The step's name.
        image: The image.

    Raises:
        ConfigError: If it has another number of channels.
    """
    if image.shape[2] != 3:
        wrong = "is for three channels"
        raise ConfigError(problem(f"{PIPELINE}: {name}", wrong, got=image.shape[2], fix="leave it out"))


def as_bytes(image: Batch) -> Batch:
    """Return an image as values from 0 to 255."""
    return image if image.dtype == np.uint8 else as_type(image * (255 / brightest(image)), np.zeros(0, np.uint8))


def like(changed: Batch, image: Batch) -> Batch:
    """Convert values from 0 to 255 back to the dtype of the original image."""
    return changed if image.dtype == np.uint8 else as_type(changed * (brightest(image) / 255), image)


def converted(image: Batch, of: str, to: str) -> Batch:
    """Convert an image between colour spaces, through RGB; grey has three identical channels.

    Args:
        image: An image of three channels.
        of: Its colour space.
        to: The wanted colour space.
    """
    import cv2

    plane = as_bytes(image)
    for code in (_SPACES[of][1], _SPACES[to][0]):
        if code:
            source = plane[..., 0] if code == "GRAY2RGB" else plane
            plane = cv2.cvtColor(np.ascontiguousarray(source), getattr(cv2, f"COLOR_{code}"))
            plane = np.repeat(plane[:, :, np.newaxis], 3, 2) if plane.ndim == 2 else plane
    return like(plane, image)


def colour_space(*, to: list[Space], of: Space = "RGB", alpha: Range = (1.0, 1.0)) -> Step:
    """Convert images to another colour space (ChangeColorspace).

    Args:
        to: The colour spaces to convert to, one of which is drawn for each image.
        of: The colour space of the images.
        alpha: The range of the share of the converted image.

    Raises:
        ConfigError: If the range of shares is not valid, or a space is unknown.
    """
    check("colour_space.alpha", alpha, 0, 1)
    _check_spaces("colour_space.to", to)
    _check_spaces("colour_space.of", [of])
    return each(partial(_of_space, to=to, of=of, alpha=alpha))


def _check_spaces(name: str, spaces: Sequence[str]) -> None:
    if not spaces or not set(spaces) <= set(_SPACES):
        wrong = f"must be one of {listing(_SPACES)}"
        raise ConfigError(problem(f"{PIPELINE}: {name}", wrong, got=list(spaces)))


def _of_space(image: Batch, seed: int, *, to: Sequence[str], of: str, alpha: Range) -> Batch:
    of_three("colour_space", image)
    drawn = np.random.default_rng([seed, 12])
    share, space = float(drawn.uniform(*alpha)), to[int(drawn.integers(len(to)))]
    return as_type((1 - share) * image + share * converted(image, of, space).astype(np.float64), image)


def times_hue_saturation(
    *,
    factor: Range = (1.0, 1.0),
    hue: Range | None = None,
    saturation: Range | None = None,
    per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0,
) -> Step:
    """Multiply hue and saturation, both on a scale of 255 (MultiplyHueAndSaturation).

    Args:
        factor: The range of the factor of both.
        hue: The range for the hue alone, instead of `factor`.
        saturation: The range for the saturation alone, instead of `factor`.
        per_channel: The share of images whose hue and saturation get separate factors from `factor`.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("times_hue_saturation.factor", factor, -10, 10)
    check("times_hue_saturation.hue", hue or (1, 1), -10, 10)
    check("times_hue_saturation.saturation", saturation or (1, 1), 0, 10)
    change = partial(_times, factor=factor, hue=hue, saturation=saturation, per_channel=per_channel)
    return each(change)


def _times(
    image: Batch, seed: int, *, factor: Range, hue: Range | None, saturation: Range | None, per_channel: float
) -> Batch:
    of_three("times_hue_saturation", image)
    drawn = np.random.default_rng([seed, 13])
    if hue is None and saturation is None:
        first, second = drawn.uniform(*factor, 2).tolist()
        factors = [first, second if drawn.random() < per_channel else first]
    else:
        factors = [float(drawn.uniform(*(bounds or (1.0, 1.0)))) for bounds in (hue, saturation)]
    plane = converted(as_bytes(image), "RGB", "HSV").astype(np.float64)
    # Hue is an angle of 180 steps, which imgaug rescales to 255.
    turned = np.rint(factors[0] * np.rint(plane[..., 0] * (255 / 180))) % 255
    plane[..., 0] = np.rint(turned * (180 / 255)) % 180
    plane[..., 1] = np.clip(np.rint(factors[1] * plane[..., 1]), 0, 255)
    return like(converted(plane.astype(np.uint8), "HSV", "RGB"), image)


def bilateral_blur(*, d: Range = (1, 1), sigma_color: Range = (10, 250), sigma_space: Range = (10, 250)) -> Step:
    """Blur with a bilateral filter, which keeps edges (BilateralBlur; `cv2.bilateralFilter`).

    Args:
        d: The range of the diameter in pixels; 1 does nothing.
        sigma_color: The range of the standard deviation in colour, on a scale of 255.
        sigma_space: The range of the standard deviation in space, in pixels.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("bilateral_blur.d", d, 1, _LARGEST_WINDOW)
    for name, bounds in (("sigma_color", sigma_color), ("sigma_space", sigma_space)):
        check(f"bilateral_blur.{name}", bounds, 0)
    return each(partial(_bilateral, d=d, sigma_color=sigma_color, sigma_space=sigma_space))


def _bilateral(image: Batch, seed: int, *, d: Range, sigma_color: Range, sigma_space: Range) -> Batch:
    import cv2

    drawn = np.random.default_rng([seed, 14])
    diameter = int(drawn.integers(math.ceil(d[0]), math.floor(d[1]) + 1))
    of_colours, of_pixels = (float(drawn.uniform(*bounds)) for bounds in (sigma_color, sigma_space))
    if diameter <= 1:
        return image
    if image.shape[2] not in (1, 3):
        raise ConfigError(problem(f"{PIPELINE}: bilateral_blur", "is for one or three channels", got=image.shape[2]))
    pixels = cv2.bilateralFilter(np.ascontiguousarray(as_bytes(image)), diameter, of_colours, of_pixels)
    return like(pixels.reshape(image.shape), image)


def mean_shift_blur(*, spatial: Range = (5, 40), colour: Range = (5, 40)) -> Step:
    """Replace pixels by the mean of pixels near in place and colour (MeanShiftBlur; `cv2.pyrMeanShiftFiltering`).

    Args:
        spatial: The range of the radius in pixels.
        colour: The range of the radius in colour, on a scale of 255.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("mean_shift_blur.spatial", spatial, 0.01, _LARGEST_WINDOW)
    check("mean_shift_blur.colour", colour, 0.01, 255)
    return each(partial(_mean_shifted, spatial=spatial, colour=colour))


def _mean_shifted(image: Batch, seed: int, *, spatial: Range, colour: Range) -> Batch:
    import cv2

    of_three("mean_shift_blur", image)
    drawn = np.random.default_rng([seed, 15])
    near, alike = (float(drawn.uniform(*bounds)) for bounds in (spatial, colour))
    pixels: Batch = cv2.pyrMeanShiftFiltering(np.ascontiguousarray(as_bytes(image)), near, alike)
    return like(pixels, image)


def convolved(*, matrix: list[list[float]]) -> Step:
    """Convolve each channel with a matrix (Convolve).

    Args:
        matrix: Rows of factors; the middle one belongs to the pixel itself.

    Raises:
        ConfigError: If it is not a matrix.
    """
    if not matrix or len({len(row) for row in matrix}) != 1 or not matrix[0]:
        raise ConfigError(problem(f"{PIPELINE}: convolved.matrix", "must have rows of one length", got=matrix))
    return each(partial(_convolved, kernel=np.array(matrix, np.float64)))


def _convolved(image: Batch, seed: int, *, kernel: Batch) -> Batch:
    import cv2

    values = cv2.filter2D(image.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return as_type(values.reshape(image.shape), image)


def added_noise(
    *,
    of: Literal["laplace", "poisson"],
    scale: Range = (0.0, 0.0),
    loc: Range = (0.0, 0.0),
    per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0,
) -> Step:
    """Add a random number to each pixel (AdditiveLaplaceNoise, AdditivePoissonNoise).

    Args:
        of: The distribution of the numbers; Poisson's get a random sign.
        scale: The range of the scale, or of Poisson's mean, on a scale of 255.
        loc: The range of Laplace's mean.
        per_channel: The share of images whose channels get separate numbers.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("added_noise.scale", scale, 0)
    check("added_noise.loc", loc)
    return each(partial(_noisy, of=of, scale=scale, loc=loc, per_channel=per_channel))


def _noisy(image: Batch, seed: int, *, of: str, scale: Range, loc: Range, per_channel: float) -> Batch:
    drawn = np.random.default_rng([seed, 16])
    width, mean = float(drawn.uniform(*scale)), float(drawn.uniform(*loc))
    shape = (*image.shape[:2], image.shape[2] if drawn.random() < per_channel else 1)
    if of == "laplace":
        values = drawn.laplace(mean, width, shape)
    else:
        values = drawn.poisson(width, shape) * drawn.choice((-1.0, 1.0), shape)
    return as_type(image + np.rint(values) * (brightest(image) / 255), image)


def replaced_pixels(
    *,
    p: Range = (0.0, 0.0),
    by: Literal["salt_and_pepper", "salt", "pepper", "range"] = "salt_and_pepper",
    values: Range = (0.0, 255.0),
    size: Range | None = None,
    cells: tuple[int, int] | None = None,
    least: Annotated[int, ">= 1"] = 4,
    per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0,
) -> Step:
    """Replace a share of the pixels, or of the cells of a coarse grid (SaltAndPepper and the like, ReplaceElementwise).

    Args:
        p: The range of the share.
        by: Nearly white and black values (a beta distribution with 0.5 and 0.5), only its bright or dark half, or `values`.
        values: The range of new values, on a scale of 255.
        size: The range of the number of cells along each side, as a share of its pixels; None: single pixels.
        cells: The range of that number itself, instead of `size`.
        least: The smallest number of cells along a side.
        per_channel: The share of images whose channels are drawn separately.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("replaced_pixels.p", p, 0, 1)
    check("replaced_pixels.values", values, 0, 255)
    check("replaced_pixels.size", size or (0, 1), 0, 1)
    check("replaced_pixels.cells", cells or (1, 1), 1)
    change = partial(_replaced, p=p, by=by, values=values, size=size, cells=cells, least=least, per_channel=per_channel)
    return each(change)


def _replaced(
    image: Batch,
    seed: int,
    *,
    p: Range,
    by: str,
    values: Range,
    size: Range | None,
    cells: tuple[int, int] | None,
    least: int,
    per_channel: float,
) -> Batch:
    drawn, (height, width, channels) = np.random.default_rng([seed, 17]), image.shape
    chance, count = float(drawn.uniform(*p)), channels if drawn.random() < per_channel else 1
    if size is None and cells is None:
        mask = drawn.random((height, width, count)) < chance
    else:
        mask = drawn.random((*grid(drawn, (height, width), size, cells, least), count)) < chance
        mask = spread(mask, height, width)
    if by == "range":
        new = drawn.uniform(*values, (height, width, count))
    else:
        new = drawn.beta(0.5, 0.5, (height, width, count))
        if by != "salt_and_pepper":
            new = 0.5 + np.abs(new - 0.5) * (1 if by == "salt" else -1)
        new = 255 * new
    return np.where(mask, as_type(new * (brightest(image) / 255), image), image).astype(image.dtype)


def grid(
    drawn: np.random.Generator, sides: tuple[int, int], size: Range | None, cells: tuple[int, int] | None, least: int
) -> tuple[int, int]:
    """Return the number of cells of a coarse grid along each side.

    Args:
        drawn: The image's generator.
        sides: Height and width in pixels.
        size: The range of the numbers, as shares of the pixels.
        cells: The range of the numbers themselves, instead of `size`.
        least: The smallest number.
    """
    if cells is None:
        shares = drawn.uniform(*(size or (1.0, 1.0)), 2)
        counts = [int(side * share) for side, share in zip(sides, shares, strict=True)]
    else:
        counts = drawn.integers(cells[0], cells[1] + 1, 2).tolist()
    rows, columns = (max(count, least) for count in counts)
    return rows, columns


def spread(coarse: Batch, height: int, width: int) -> Batch:
    """Expand values of cells, shape (rows, columns, ...), to the pixels that lie in them."""
    rows, columns = coarse.shape[:2]
    values: Batch = coarse[np.arange(height) * rows // height][:, np.arange(width) * columns // width]
    return values


def pooled(*, of: Literal["average", "max", "min", "median"], size: tuple[int, int] = (2, 2)) -> Step:
    """Fill each block of pixels with one value; images keep their size (AveragePooling, MaxPooling, MinPooling, MedianPooling).

    Args:
        of: The statistic of the block, for each channel.
        size: The range of the side of a block.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("pooled.size", size, 1)
    return each(partial(_pooled, of=of, size=size))


def _pooled(image: Batch, seed: int, *, of: str, size: tuple[int, int]) -> Batch:
    side = int(np.random.default_rng([seed, 18]).integers(size[0], size[1] + 1))
    height, width, channels = image.shape
    # Incomplete blocks at the border are padded with the nearest pixels.
    padded = np.pad(image, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // side, side, padded.shape[1] // side, side, channels)
    ways: dict[str, Callable[..., Any]] = {"average": np.mean, "max": np.max, "min": np.min, "median": np.median}
    reduce = ways[of]
    cells = as_type(reduce(blocks, axis=(1, 3)), image)
    return cells.repeat(side, 0).repeat(side, 1)[:height, :width]


def fewer_colours(
    *,
    count: tuple[int, int] = (2, 16),
    by: Literal["kmeans", "uniform"] = "kmeans",
    to: list[Space] | None = None,
    most: Annotated[int, ">= 1"] | None = 128,
) -> Step:
    """Reduce images to a few colours (KMeansColorQuantization, UniformColorQuantization).

    Args:
        count: The range of the number of colours; for `uniform`, of the number of values per channel.
        by: Centres of k-means clusters, or values that divide each channel evenly.
        to: The colour spaces, one of which is drawn for each image, in which colours are searched; None: RGB.
        most: The longest side of the image in which colours are searched; larger images are reduced; None: any.

    Raises:
        ConfigError: If a range is not valid, or a space is unknown.
    """
    check("fewer_colours.count", count, 2, 256)
    _check_spaces("fewer_colours.to", to or ["RGB"])
    return each(partial(_quantized, count=count, by=by, to=to or ["RGB"], most=most))


def _quantized(
    image: Batch, seed: int, *, count: tuple[int, int], by: str, to: Sequence[str], most: int | None
) -> Batch:
    drawn = np.random.default_rng([seed, 19])
    colours, space = int(drawn.integers(count[0], count[1] + 1)), to[int(drawn.integers(len(to)))]
    if space != "RGB":
        of_three("fewer_colours", image)
    plane = converted(as_bytes(image), "RGB", space) if space != "RGB" else as_bytes(image)
    if by == "uniform":
        width = 256 / colours
        pixels = plane if colours == 256 else np.rint(np.floor(plane / width) * width + width / 2)
    else:
        pixels = _clustered(plane, colours, most, seed)
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return like(converted(pixels, space, "RGB") if space != "RGB" else pixels, image)


def _clustered(plane: Batch, colours: int, most: int | None, seed: int) -> Batch:
    import cv2

    height, width, channels = plane.shape
    factor = min(1.0, most / max(height, width)) if most else 1.0
    small = cv2.resize(plane, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else plane
    pixels = small.reshape(-1, channels).astype(np.float32)
    drawn = np.random.default_rng([seed, 20])
    # Clusters start from colours of the image, so that the same image and seed give the same clusters on every machine.
    unique = np.unique(pixels, axis=0)
    centres = unique[drawn.permutation(len(unique))[:colours]]
    for _ in range(10):
        nearest = np.argmin(((pixels[:, np.newaxis] - centres) ** 2).sum(2), 1)
        centres = np.array(
            [
                pixels[nearest == cluster].mean(0) if (nearest == cluster).any() else centres[cluster]
                for cluster in range(len(centres))
            ]
        )
    whole = plane.reshape(-1, channels).astype(np.float32)
    # One colour at a time, because an array of pixels times colours may be large.
    best, distance = np.zeros(len(whole), np.int64), np.full(len(whole), np.inf)
    for number, centre in enumerate(centres):
        to_it = ((whole - centre) ** 2).sum(1)
        best, distance = np.where(to_it < distance, number, best), np.minimum(distance, to_it)
    image: Batch = np.rint(centres[best]).reshape(plane.shape)
    return image


def cut_out(
    *,
    count: tuple[int, int] = (1, 1),
    size: Range = (0.2, 0.2),
    squared: bool = True,
    fill: Range = (128.0, 128.0),
    per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0,
) -> Step:
    """Fill rectangles (Cutout; DeVries and Taylor 2017).

    Args:
        count: The range of the number of rectangles.
        size: The range of their sides, as shares of the image's.
        squared: Whether they are squares, with a share of the shorter side.
        fill: The range of their value, on a scale of 255.
        per_channel: The share of images whose channels get separate values.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("cut_out.count", count, 0)
    check("cut_out.size", size, 0, 1)
    check("cut_out.fill", fill, 0, 255)
    return each(partial(_cut_out, count=count, size=size, squared=squared, fill=fill, per_channel=per_channel))


def _cut_out(
    image: Batch, seed: int, *, count: tuple[int, int], size: Range, squared: bool, fill: Range, per_channel: float
) -> Batch:
    drawn, (height, width, channels) = np.random.default_rng([seed, 21]), image.shape
    copy = image.copy()
    for _ in range(int(drawn.integers(count[0], count[1] + 1))):
        shares = drawn.uniform(*size, 2)
        sides = [min(height, width) * shares[0]] * 2 if squared else [height * shares[0], width * shares[1]]
        middle = drawn.random(2) * (height, width)
        (top, bottom), (left, right) = (
            (max(0, round(at - side / 2)), max(0, round(at + side / 2))) for at, side in zip(middle, sides, strict=True)
        )
        value = drawn.uniform(*fill, channels if drawn.random() < per_channel else 1)
        copy[top:bottom, left:right] = as_type(value * (brightest(image) / 255), image)
    return copy


def snowy_ground(*, below: Range = (100, 255), factor: Range = (1.0, 4.0)) -> Step:
    """Brighten everything darker than a threshold, which looks like snow on the ground (FastSnowyLandscape).

    Args:
        below: The range of the lightness threshold, on a scale of 255.
        factor: The range of the factor of lightness values below it.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("snowy_ground.below", below, 0, 255)
    check("snowy_ground.factor", factor, 0)
    return each(partial(_snowy, below=below, factor=factor))


def _snowy(image: Batch, seed: int, *, below: Range, factor: Range) -> Batch:
    of_three("snowy_ground", image)
    drawn = np.random.default_rng([seed, 22])
    threshold, times = (float(drawn.uniform(*bounds)) for bounds in (below, factor))
    plane = converted(as_bytes(image), "RGB", "HLS")
    lightness = plane[..., 1].astype(np.float64)
    plane[..., 1] = np.clip(np.where(lightness < threshold, lightness * times, lightness), 0, 255).astype(np.uint8)
    return like(converted(plane, "HLS", "RGB"), image)


def outlines(*, alpha: Range = (0.0, 1.0), low: Range = (60, 140), high: Range = (160, 240)) -> Step:
    """Blend in edges of one random colour on a background of another (Canny; `cv2.Canny`).

    Args:
        alpha: The range of the share of the edges.
        low: The range of the lower gradient threshold, on a scale of 255.
        high: The range of the upper gradient threshold.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("outlines.alpha", alpha, 0, 1)
    for name, bounds in (("low", low), ("high", high)):
        check(f"outlines.{name}", bounds, 0)
    return each(partial(_outlined, alpha=alpha, low=low, high=high))


def _outlined(image: Batch, seed: int, *, alpha: Range, low: Range, high: Range) -> Batch:
    import cv2

    drawn = np.random.default_rng([seed, 23])
    share = float(drawn.uniform(*alpha))
    lower, upper = sorted(float(drawn.uniform(*bounds)) for bounds in (low, high))
    plane = as_bytes(image)
    grey = cv2.cvtColor(plane, cv2.COLOR_RGB2GRAY) if image.shape[2] == 3 else plane[..., 0]
    edges = cv2.Canny(np.ascontiguousarray(grey), lower, upper) > 0
    colours = drawn.integers(0, 256, (2, image.shape[2]))
    painted = np.where(edges[:, :, np.newaxis], colours[0], colours[1]) * (brightest(image) / 255)
    return as_type((1 - share) * image + share * painted, image)


def clouds(
    *,
    brightness: Range = (196, 255),
    grain: Range = (-2.5, -2.0),
    unevenness: Annotated[float, ">= 0"] = 10.0,
    least: Range = (0.0, 0.0),
    more: Range = (0.25, 0.75),
    cells: tuple[int, int] = (2, 8),
    exponent: Range = (-2.5, -2.0),
    sparsity: Range = (0.8, 1.0),
    density: Range = (0.5, 1.0),
) -> Step:
    """Overlay a cloud (CloudLayer, and with other numbers Fog).

    Its opacity is (least + more n) ** sparsity x density for a smooth noise n from 0 to 1.

    Args:
        brightness: The range of the cloud's mean brightness, on a scale of 255.
        grain: The range of the spectral exponent of its fine structure.
        unevenness: The standard deviation of its brightness between areas.
        least: The range of the smallest opacity.
        more: The range of what the noise adds to the opacity.
        cells: The range of the longer side of the noise, before it is enlarged.
        exponent: The range of the noise's spectral exponent.
        sparsity: The range of the power of the opacity.
        density: The range of the factor of the opacity.

    Raises:
        ConfigError: If a range is not valid.
    """
    for name, bounds in (("grain", grain), ("exponent", exponent)):
        check(f"clouds.{name}", bounds, -8, 8)
    for name, bounds, most in (
        ("brightness", brightness, 255), ("least", least, 1), ("more", more, 1), ("cells", cells, 4096),
        ("sparsity", sparsity, math.inf), ("density", density, math.inf),
    ):  # fmt: skip
        check(f"clouds.{name}", bounds, 0, most)
    ranges = {"brightness": brightness, "grain": grain, "least": least, "more": more, "exponent": exponent}
    change = partial(
        _clouded, cells=cells, unevenness=unevenness, bounds={**ranges, "sparsity": sparsity, "density": density}
    )
    return each(change)


def _clouded(image: Batch, seed: int, *, cells: tuple[int, int], unevenness: float, bounds: dict[str, Range]) -> Batch:
    import cv2

    drawn, (height, width, _) = np.random.default_rng([seed, 24]), image.shape
    value = {name: float(drawn.uniform(*interval)) for name, interval in bounds.items()}
    coarse = value["brightness"] + drawn.normal(0, unevenness, (8, 8))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    fine = spectral_noise(drawn, (height, width), value["grain"], max(height, width), "cubic")
    colour = smooth + value["brightness"] * (2 * fine - 1) / 5
    longest = int(drawn.integers(cells[0], cells[1] + 1))
    noise = spectral_noise(drawn, (height, width), value["exponent"], longest, "cubic")
    opacity = np.clip((value["least"] + value["more"] * noise) ** value["sparsity"] * value["density"], 0, 1)
    layer = np.clip(colour, 0, 255) * (brightest(image) / 255)
    blend = (1 - opacity)[:, :, np.newaxis] * image + (opacity * layer)[:, :, np.newaxis]
    return as_type(blend, image)


def snow_flakes(
    *,
    density: Range = (0.005, 0.075),
    evenness: Range = (0.3, 0.9),
    size: Range = (0.2, 0.7),
    alike: Range = (0.4, 0.8),
    angle: Range = (-30.0, 30.0),
    speed: Range = (0.007, 0.03),
    blur: Range = (0.0001, 0.001),
    sigma: Range = (0.5, 3.75),
    grey: Range | None = None,
) -> Step:
    """Add snow or rain: white spots, blurred along the direction in which they fall (SnowflakesLayer, RainLayer).

    Args:
        density: The range of the share of pixels with a flake, before flakes are enlarged.
        evenness: The range of the evenness of their distribution; the lower, the more areas have few flakes.
        size: The range of their size, from 0 to 1.
        alike: The range of the similarity of their sizes.
        angle: The range of the direction in degrees; 0 is vertical.
        speed: The range of the length of the motion blur, as a share of the longer side.
        blur: The range of the standard deviation of a Gaussian blur, as a share of the longer side.
        sigma: The smallest and largest such standard deviation, in pixels.
        grey: The range of the brightness of drops, on a scale of 255, which are blended with the image, without a Gaussian
            blur; None: flakes are bright and cover what is darker.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("snow_flakes.grey", grey or (0, 0), 0, 255)
    ranges = {"density": density, "evenness": evenness, "size": size, "alike": alike, "speed": speed, "blur": blur}
    for name, bounds in ranges.items():
        check(f"snow_flakes.{name}", bounds, 0, 1)
    check("snow_flakes.angle", angle, -360, 360)
    check("snow_flakes.sigma", sigma, 0.01, _LARGEST_WINDOW)
    return each(partial(_snowed, bounds={**ranges, "angle": angle}, sigma=sigma, grey=grey))


def _snowed(image: Batch, seed: int, *, bounds: dict[str, Range], sigma: Range, grey: Range | None) -> Batch:
    import cv2

    drawn, (height, width, _) = np.random.default_rng([seed, 26]), image.shape
    value = {name: float(drawn.uniform(*interval)) for name, interval in bounds.items()}
    factor = min(max(1 - value["size"], 0.001), 1.0)
    sides = (max(1, int(height * factor)), max(1, int(width * factor)))
    bright = 0.5 + np.abs(drawn.beta(0.5, 0.5, sides) - 0.5)
    flakes = np.where(drawn.random(sides) < value["density"], bright, 0).astype(np.float32)
    # Areas with a low gate have few flakes; most of the gate is near 1.
    gate = drawn.beta(1.0, max(1 - value["evenness"], 1e-3), (8, 8)).astype(np.float32)
    flakes *= np.clip(cv2.resize(gate, sides[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)
    field: Batch = np.clip(cv2.resize(flakes, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    if grey is None:
        deviation = min(max(max(height, width) * value["blur"], sigma[0]), sigma[1])
        field = cv2.GaussianBlur(field, (0, 0), deviation)
    if (length := int(value["speed"] * max(height, width))) > 1:
        field = cv2.filter2D(field, -1, _way(max(length, 3) | 1, value["angle"]))
    top = brightest(image)
    if grey is not None:
        drops = np.clip(1.3 * field, 0, 1)[:, :, np.newaxis]
        return as_type((1 - drops) * image + drops * float(drawn.uniform(*grey)) * (top / 255), image)
    # More contrast makes some flakes smaller; afterwards all are brightened.
    flat = 1 - value["alike"]
    spots = (top * (1 + 5 * flat) * field.clip(0, 1) ** (1 + 2 * flat))[:, :, np.newaxis]
    glow = np.clip(image + (0.1 + 20 * value["speed"]) * spots, 0, top)
    return as_type(np.maximum(glow, (1 + 20 * value["speed"]) * spots), image)


def _way(length: int, angle: float) -> Batch:
    """Return the motion blur kernel of a flake, a line that is vertical at angle 0 and rotates clockwise."""
    import cv2

    way: Batch = np.zeros((length, length), np.float32)
    way[:, length // 2] = np.linspace(1, 0, length)
    turn = cv2.getRotationMatrix2D((length // 2, length // 2), -angle, 1.0)
    turned: Batch = cv2.warpAffine(way, turn, (length, length))
    turned /= turned.sum()
    return turned


def cells_of_one_colour(
    *,
    points: tuple[int, int] = (50, 500),
    rows: tuple[int, int] | None = None,
    columns: tuple[int, int] | None = None,
    row_shares: Range | None = None,
    column_shares: Range | None = None,
    dropped: Range = (0.0, 0.0),
    replaced: Range = (0.5, 1.0),
) -> Step:
    """Divide images into Voronoi cells and fill a share of them with their mean colours (UniformVoronoi, RegularGridVoronoi).

    Args:
        points: The range of the number of points, placed at random.
        rows: The range of the number of rows, if points lie on a grid instead.
        columns: The range of the number of its columns.
        row_shares: The range of its rows as shares of the height in pixels, instead of `rows` (RelativeRegularGridVoronoi).
        column_shares: The range of its columns as shares of the width, instead of `columns`.
        dropped: The range of the share of grid points that are left out.
        replaced: The range of the share of cells that are filled with one colour.

    Raises:
        ConfigError: If a range is not valid.
    """
    for name, bounds in (("points", points), ("rows", rows or (1, 1)), ("columns", columns or (1, 1))):
        check(f"cells_of_one_colour.{name}", bounds, 1, 10_000)
    named = {"dropped": dropped, "replaced": replaced, "row_shares": row_shares, "column_shares": column_shares}
    for name, share in named.items():
        check(f"cells_of_one_colour.{name}", share or (0, 0), 0, 1)
    counts, shares = (None if rows is None or columns is None else (rows, columns)), None
    if row_shares is not None and column_shares is not None:
        counts, shares = None, (row_shares, column_shares)
    change = partial(_celled, points=points, counts=counts, shares=shares, dropped=dropped, replaced=replaced)
    return each(change)


def _celled(
    image: Batch,
    seed: int,
    *,
    points: tuple[int, int],
    counts: tuple[tuple[int, int], tuple[int, int]] | None,
    shares: tuple[Range, Range] | None,
    dropped: Range,
    replaced: Range,
) -> Batch:
    from scipy.spatial import cKDTree

    drawn, (height, width, channels) = np.random.default_rng([seed, 27]), image.shape
    if counts is None and shares is None:
        places = drawn.random((int(drawn.integers(points[0], points[1] + 1)), 2)) * (height, width)
    else:
        sides = (height, width)
        numbers = [int(drawn.integers(low, high + 1)) for low, high in counts or ()]
        for side, bounds in zip(sides, shares or (), strict=False):
            numbers.append(max(1, round(side * float(drawn.uniform(*bounds)))))
        axes = [(np.arange(count) + 0.5) * side / count for count, side in zip(numbers, sides, strict=True)]
        places = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        mask = drawn.random(len(places)) >= drawn.uniform(*dropped)
        places = places[mask] if mask.any() else places[:1]
    grid_of_pixels = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1) + 0.5
    nearest = cKDTree(places).query(grid_of_pixels.reshape(-1, 2))[1]
    flat = image.reshape(-1, channels).astype(np.float64)
    sizes = np.bincount(nearest, minlength=len(places))
    sums = np.stack([np.bincount(nearest, flat[:, channel], len(places)) for channel in range(channels)], 1)
    means = sums / np.maximum(sizes, 1)[:, np.newaxis]
    chosen = drawn.random(len(places)) < drawn.uniform(*replaced)
    colours = np.where(chosen[nearest][:, np.newaxis], means[nearest], flat)
    return as_type(colours.reshape(image.shape), image)


def even_tiles(
    *,
    clip: Range = (40.0, 40.0),
    tiles: tuple[int, int] = (8, 8),
    per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0,
) -> Step:
    """Equalise the histogram of each channel, tile by tile and clipped (AllChannelsCLAHE; `cv2.createCLAHE`).

    Args:
        clip: The range of the clip limit of a histogram.
        tiles: The range of the number of tiles along each side.
        per_channel: The share of images whose channels get separate limits and tiles.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("even_tiles.clip", clip, 0)
    check("even_tiles.tiles", tiles, 1)
    return each(partial(_evened, clip=clip, tiles=tiles, per_channel=per_channel))


def _evened(image: Batch, seed: int, *, clip: Range, tiles: tuple[int, int], per_channel: float) -> Batch:
    import cv2

    drawn, plane = np.random.default_rng([seed, 28]), as_bytes(image)
    apart, channels, equalizer = drawn.random() < per_channel, [], None
    for channel in range(image.shape[2]):
        if equalizer is None or apart:
            side = int(drawn.integers(tiles[0], tiles[1] + 1))
            equalizer = cv2.createCLAHE(float(drawn.uniform(*clip)), (side, side))
        channels.append(equalizer.apply(np.ascontiguousarray(plane[..., channel])))
    return like(np.stack(channels, 2), image)


# The index of the lightness channel of each colour space.
LIGHTNESS = {"Lab": 0, "HLS": 1, "HSV": 2, "Luv": 0, "YCrCb": 0, "YUV": 0}
Lightness = Literal["Lab", "HLS", "HSV", "Luv", "YCrCb", "YUV"]


def even_lightness(
    *, space: Lightness = "Lab", of: Space = "RGB", clip: Range | None = None, tiles: tuple[int, int] = (8, 8)
) -> Step:
    """Equalise the histogram of the lightness, or of each channel of images without colours (CLAHE, HistogramEqualization).

    Args:
        space: The colour space whose lightness is used.
        of: The colour space of the images.
        clip: The range of the clip limit of a tile's histogram; None: equalise the histogram of the whole image.
        tiles: With `clip`, the range of the number of tiles along each side.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("even_lightness.clip", clip or (0, 0), 0)
    check("even_lightness.tiles", tiles, 1)
    return each(partial(_of_even_lightness, space=space, of=of, clip=clip, tiles=tiles))


def _of_even_lightness(
    image: Batch, seed: int, *, space: str, of: str, clip: Range | None, tiles: tuple[int, int]
) -> Batch:
    if image.shape[2] not in (3, 4):
        return _evened_whole(image) if clip is None else _evened(image, seed, clip=clip, tiles=tiles, per_channel=0.0)
    colours, place = converted(image[..., :3], of, space), LIGHTNESS[space]
    lightness = colours[..., place : place + 1]
    even = (
        _evened_whole(lightness) if clip is None else _evened(lightness, seed, clip=clip, tiles=tiles, per_channel=0.0)
    )
    changed = converted(np.concatenate([colours[..., :place], even, colours[..., place + 1 :]], 2), space, of)
    return np.concatenate([changed, image[..., 3:]], 2)


def _evened_whole(image: Batch) -> Batch:
    import cv2

    plane = as_bytes(image)
    channels = [cv2.equalizeHist(np.ascontiguousarray(plane[..., number])) for number in range(image.shape[2])]
    return like(np.stack(channels, 2), image)


def dropped_channels(*, p: Range = (0.1, 0.1), kept: Annotated[int, ">= 0"] = 1) -> Step:
    """Set whole channels to zero (Dropout2d).

    Args:
        p: The range of the probability for each channel.
        kept: The smallest number of channels that are kept.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("dropped_channels.p", p, 0, 1)
    return each(partial(_without_channels, p=p, kept=kept))


def _without_channels(image: Batch, seed: int, *, p: Range, kept: int) -> Batch:
    drawn, channels = np.random.default_rng([seed, 29]), image.shape[2]
    stays: Batch = np.asarray(drawn.random(channels) >= drawn.uniform(*p))
    gone = drawn.permutation(np.flatnonzero(~stays))
    stays[gone[: max(0, kept - int(stays.sum()))]] = True
    changed: Batch = image * stays
    return changed.astype(image.dtype)


def spectral_noise(
    drawn: np.random.Generator, sides: tuple[int, int], exponent: float, longest: int, how: str
) -> Batch:
    """Return noise from 0 to 1 whose spectrum is a power of the frequency (FrequencyNoise).

    Args:
        drawn: The generator.
        sides: Height and width.
        exponent: The exponent of the frequency; the lower, the smoother.
        longest: The longer side of the generated noise, before it is enlarged; no side is generated with less than 4.
        how: `nearest`, `linear` or `cubic` enlargement.

    Returns:
        Shape (height, width).
    """
    # With fewer points, only the mean and one wave would be left.
    rows, columns = (max(4, count) for count in _reduced(sides, longest))
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(rows) * rows, np.fft.fftfreq(columns) * columns, indexing="ij"))
    frequencies[0, 0] = 1.0
    amplitudes = frequencies**exponent
    amplitudes[0, 0] = 0.0
    waves = drawn.normal(size=(rows, columns)) + 1j * drawn.normal(size=(rows, columns))
    field = np.real(np.fft.ifft2(amplitudes * waves))
    span = float(np.ptp(field))
    return _enlarged((field - field.min()) / span if span > 0 else np.zeros_like(field), sides, how)


def smooth_noise(drawn: np.random.Generator, sides: tuple[int, int], longest: int, how: str) -> Batch:
    """Return noise from 0 to 1 that varies slowly between the cells of a coarse grid (SimplexNoise; Perlin 2001).

    Args:
        drawn: The generator.
        sides: Height and width.
        longest: The number of cells along the longer side.
        how: `nearest`, `linear` or `cubic` enlargement.

    Returns:
        Shape (height, width).
    """
    rows, columns = _reduced(sides, longest)
    places = np.stack(
        np.meshgrid(np.arange(rows, dtype=np.float64), np.arange(columns, dtype=np.float64), indexing="ij")
    )
    # Simplex noise: a skewed grid with gradients at its corners; each point sums the contributions of its triangle.
    angles = drawn.uniform(0, 2 * math.pi, (4096,))
    skewed = np.floor(places + places.sum(0) * (math.sqrt(3) - 1) / 2)
    back = (3 - math.sqrt(3)) / 6
    first = places - (skewed - skewed.sum(0) * back)
    upper = (first[0] > first[1]).astype(np.float64)
    total = np.zeros((rows, columns))
    for step in (np.zeros((2, rows, columns)), np.stack([upper, 1 - upper]), np.ones((2, rows, columns))):
        offset = first - step + step.sum(0) * back
        corner = (skewed + step).astype(np.int64)
        angle = angles[(corner[0] * 1619 + corner[1] * 31337) % len(angles)]
        near = np.maximum(0.5 - (offset**2).sum(0), 0)
        total += near**4 * (np.cos(angle) * offset[0] + np.sin(angle) * offset[1])
    return _enlarged(np.clip(0.5 + 0.5 * 70 * total, 0, 1), sides, how)


def _reduced(sides: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return height and width in this proportion, with the given longer side, and neither above its original."""
    factor = min(1.0, max(longest, 1) / max(sides))
    return max(1, round(sides[0] * factor)), max(1, round(sides[1] * factor))


def _enlarged(field: Batch, sides: tuple[int, int], how: str) -> Batch:
    import cv2

    if field.shape == sides:
        return field
    ways = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
    values: Batch = np.clip(cv2.resize(field, (sides[1], sides[0]), interpolation=ways[how]), 0, 1)
    return values


FUNCTIONS: tuple[Callable[..., Step], ...] = (
    colour_space, times_hue_saturation, bilateral_blur, mean_shift_blur, convolved, added_noise, replaced_pixels, pooled,
    fewer_colours, cut_out, snowy_ground, outlines, clouds, snow_flakes, cells_of_one_colour, even_tiles, dropped_channels,
    even_lightness,
)  # fmt: skip
