"""Random choices among augmentations: which of them an image gets, or with which parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np

from mlpipe import names
from mlpipe.data.augment import blend_masks, geometry, libraries, pixel_changes, styles
from mlpipe.data.augment.pixel_changes import (
    Space,
    as_type,
    brightest,
    check,
    converted,
    each,
    grid,
    image_by_image,
    of_three,
    spread,
)
from mlpipe.data.augment.samples import PIPELINE, Batch, Step, apply, mix
from mlpipe.errors import ConfigError, listing, problem

_HOME, _TORCHVISION = "albumentations.", "torchvision.transforms.v2."
# Makes a step from the name in the configuration and the object of that name.
Adapt = Callable[[str, Any], Any]


def some_of(
    *,
    pipelines: list[list[dict[str, Any]]],
    least: Annotated[int, ">= 0"] = 1,
    most: Annotated[int, ">= 0"] | None = 1,
    p: Annotated[float, ">= 0", "<= 1"] = 1.0,
    otherwise: list[dict[str, Any]] | None = None,
    shuffled: bool = False,
) -> Step:
    """Apply some of several pipelines to each image (imgaug's SomeOf, OneOf, Sequential, Sometimes).

    Args:
        pipelines: Lists of albumentations transforms or steps of this module, with `_target_` and parameters.
        least: The smallest number of pipelines to apply.
        most: The largest number; the number is drawn uniformly; None: all pipelines.
        p: The share of images that some pipelines are applied to.
        otherwise: A pipeline for the other images; None: they stay as they are.
        shuffled: Whether the order of pipelines is drawn for each image instead of following the list.

    Raises:
        ConfigError: If a transform is of another kind, or a number does not fit.
    """
    most = len(pipelines) if most is None else most
    if not least <= most <= len(pipelines):
        wrong = f"least and most must be at most {len(pipelines)} pipelines, in this order"
        raise ConfigError(problem(f"{PIPELINE}: some_of", wrong, got=[least, most], fix="lower them"))
    choice = SomeOf(pipelines, otherwise or [], least, most, p, shuffled)
    return choice.adapted(_adapted_step)


def with_drawn(
    *,
    transform: dict[str, Any],
    ranges: dict[str, list[float]],
) -> Step:
    """Apply an albumentations transform with parameters that are drawn from a range for each image.

    Args:
        transform: The transform, with `_target_` and its other parameters.
        ranges: Two bounds for each parameter that is drawn.

    Raises:
        ConfigError: If it is not such a transform, or a range does not have two bounds.
    """
    for name, bounds in ranges.items():
        check(f"with_drawn.ranges.{name}", bounds)
    return Drawn(transform, ranges, _adapted_step).adapted(_adapted_step)


@dataclass(frozen=True)
class SomeOf:
    """Result of `some_of`: a step for images whose draws can also be used for partners such as masks.

    Attributes:
        pipelines: The pipelines to draw from.
        otherwise: The pipeline for images that get none of them.
        least: The smallest number of pipelines.
        most: The largest number of pipelines.
        p: The share of images that some pipelines are applied to.
        shuffled: Whether the order of pipelines is drawn, too.
        steps: The steps of the pipelines.
        others: The steps of `otherwise`.
    """

    pipelines: Sequence[Sequence[Mapping[str, Any]]]
    otherwise: Sequence[Mapping[str, Any]]
    least: int
    most: int
    p: float
    shuffled: bool = False
    steps: Sequence[Sequence[Any]] = ()
    others: Sequence[Any] = ()

    def adapted(self, adapt: Adapt) -> SomeOf:
        """Return the same choice among steps of another kind, such as steps for images and their masks.

        Args:
            adapt: Makes a step from the name in the configuration and the object of that name.
        """
        steps = [[adapt(*made(node)) for node in pipeline] for pipeline in self.pipelines]
        return replace(self, steps=steps, others=[adapt(*made(node)) for node in self.otherwise])

    def chosen(self, seed: int) -> Sequence[Any]:
        """Return the steps for an image with this seed."""
        drawn = np.random.default_rng([seed, 1])
        if drawn.random() >= self.p:
            return self.others
        count = int(drawn.integers(self.least, self.most + 1))
        numbers = drawn.permutation(len(self.steps))[:count].tolist()
        if not self.shuffled:
            numbers.sort()
        return [step for number in numbers for step in self.steps[number]]

    def __call__(self, images: Any, seeds: Any) -> Any:
        """Return the changed images."""
        return image_by_image(partial(_by_choice, self), images, seeds)


@dataclass(frozen=True)
class Drawn:
    """Result of `with_drawn`, with the interface of `SomeOf`.

    Attributes:
        transform: The transform.
        ranges: Two bounds for each parameter that is drawn.
        adapt: Makes a step from the name in the configuration and the object of that name.
    """

    transform: Mapping[str, Any]
    ranges: Mapping[str, Sequence[float]]
    adapt: Adapt

    def adapted(self, adapt: Adapt) -> Drawn:
        """As for `SomeOf`; refuses a transform that cannot be made or adapted."""
        adapt(*made({**self.transform, **{name: low for name, (low, _) in self.ranges.items()}}))
        return replace(self, adapt=adapt)

    def chosen(self, seed: int) -> Sequence[Any]:
        """As for `SomeOf`."""
        drawn = np.random.default_rng([seed, 2])
        values = {name: float(drawn.uniform(low, high)) for name, (low, high) in self.ranges.items()}
        return [self.adapt(*made({**self.transform, **values}))]

    def __call__(self, images: Any, seeds: Any) -> Any:
        """Return the changed images."""
        return image_by_image(partial(_by_choice, self), images, seeds)


Choice = SomeOf | Drawn


@dataclass(frozen=True)
class Inside:
    """A step that combines an image with the results of inner pipelines for it or for some of its channels.

    Attributes:
        parts: For each pipeline, the names of its nodes and the objects of these names.
        steps: The steps of each pipeline.
        change: Combines an image, its seed, and each pipeline as a function of an image, to the changed image.
    """

    parts: Sequence[Sequence[tuple[str, Any]]]
    steps: Sequence[Sequence[Step]]
    change: Callable[..., Batch]

    def __call__(self, images: Any, seeds: Any) -> Any:
        """Return the changed images."""
        return image_by_image(self._changed, images, seeds)

    def _changed(self, image: Batch, seed: int) -> Batch:
        return self.change(image, seed, [partial(self._through, number, seed) for number in range(len(self.parts))])

    def _through(self, number: int, seed: int, image: Batch) -> Batch:
        if not self.steps[number]:
            return image
        own = mix(np.array([seed], np.uint64), number)
        return np.asarray(apply(self.steps[number], [np.ascontiguousarray(image)], own)[0])


def _inside(change: Callable[..., Batch], *pipelines: Sequence[Mapping[str, Any]] | None) -> Inside:
    parts = [[made(node) for node in pipeline or ()] for pipeline in pipelines]
    return Inside(parts, [[_adapted_step(*part) for part in pipeline] for pipeline in parts], change)


def blended(
    *,
    first: list[dict[str, Any]] | None = None,
    second: list[dict[str, Any]] | None = None,
    alpha: tuple[float, float] = (0.0, 1.0),
    over: Literal["image", "pixels", "smooth", "spectrum"] = "image",
    per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0,
    cells: tuple[int, int] = (2, 16),
    iterations: tuple[int, int] = (1, 3),
    join: list[Literal["max", "min", "avg"]] | None = None,
    exponent: tuple[float, float] = (-4.0, 4.0),
    sharp: Annotated[float, ">= 0", "<= 1"] = 1.0,
    enlarged: list[Literal["nearest", "linear", "cubic"]] | None = None,
    middle: tuple[float, float] | None = None,
) -> Step:
    """Blend the results of two pipelines (imgaug's Alpha, AlphaElementwise, SimplexNoiseAlpha, FrequencyNoiseAlpha).

    Args:
        first: One pipeline, as for `some_of`; None: the unchanged image.
        second: The other pipeline.
        alpha: The range of the share of the first; not used for noise, which is the share itself.
        over: One share for the image, one for each pixel, or a noise over the image, smooth or with a power spectrum.
        per_channel: The share of images whose channels have separate shares.
        cells: The range of the longer side of the noise, before it is enlarged.
        iterations: The smallest and largest number of such noises.
        join: How several noises are combined, drawn from these; None: the maximum.
        exponent: The range of the exponent of the spectrum.
        sharp: The share of images whose noise is pushed to 0 and 1.
        enlarged: The interpolation of the noise, drawn from these; None: nearest with probability 1/20, cubic with 1/3.
        middle: The range of the threshold for pushing to 0 or 1: -10 pushes all of the noise to 1, 10 all of it to 0;
            None: a normal distribution with standard deviation 5.

    Raises:
        ConfigError: If a transform is of another kind, or a range is not valid.
    """
    pixel_changes.check("blended.alpha", alpha, 0, 1)
    pixel_changes.check("blended.middle", middle or (0, 0))
    pixel_changes.check("blended.exponent", exponent, -8, 8)
    for name, bounds in (("cells", cells), ("iterations", iterations)):
        pixel_changes.check(f"blended.{name}", bounds, 1, 4096)
    shares = partial(
        _shares, alpha=alpha, over=over, per_channel=per_channel, cells=cells, iterations=iterations,
        join=join or ["max"], exponent=exponent, sharp=sharp, enlarged=enlarged, middle=middle,
    )  # fmt: skip
    return _inside(partial(_blended, shares=shares), first, second)


def blended_along(
    *,
    first: list[dict[str, Any]] | None = None,
    second: list[dict[str, Any]] | None = None,
    axis: Literal["x", "y"] = "x",
    low: tuple[float, float] = (0.0, 0.2),
    high: tuple[float, float] = (0.8, 1.0),
    start: tuple[float, float] = (0.0, 0.2),
    end: tuple[float, float] = (0.8, 1.0),
) -> Step:
    """Blend the results of two pipelines by a linear gradient (imgaug's BlendAlphaHorizontalLinearGradient and Vertical).

    Args:
        first: One pipeline, as for `some_of`; None: the unchanged image.
        second: The other pipeline.
        axis: The direction of the gradient.
        low: The range of the share of the first before the gradient.
        high: The range of this share behind it.
        start: The range of the place where the gradient starts, as a share of the side.
        end: The range of the place where it ends.

    Raises:
        ConfigError: If a transform is of another kind, or a range is not valid.
    """
    ranges = {"low": low, "high": high, "start": start, "end": end}
    for name, bounds in ranges.items():
        check(f"blended_along.{name}", bounds, 0, 1)
    return _inside(partial(_blended, shares=partial(_gradient_shares, axis=axis, ranges=ranges)), first, second)


def _gradient_shares(
    drawn: np.random.Generator,
    image: Batch,
    *,
    axis: Literal["x", "y"],
    ranges: Mapping[str, tuple[float, float]],
) -> Batch:
    low, high, start, end = (float(drawn.uniform(*ranges[name])) for name in ("low", "high", "start", "end"))
    return blend_masks.gradient(image.shape[:2], axis, (low, high), (start, end))[:, :, np.newaxis]


def blended_in_cells(
    *,
    first: list[dict[str, Any]] | None = None,
    second: list[dict[str, Any]] | None = None,
    rows: tuple[int, int],
    columns: tuple[int, int],
    alpha: tuple[float, float] | None = None,
    checkered: bool = False,
) -> Step:
    """Blend the results of two pipelines in the cells of a grid (imgaug's BlendAlphaRegularGrid, BlendAlphaCheckerboard).

    Args:
        first: One pipeline, as for `some_of`; None: the unchanged image.
        second: The other pipeline.
        rows: The range of the number of rows.
        columns: The range of the number of columns.
        alpha: The range of the share of the first, drawn for each cell; None: either of both.
        checkered: Whether the first and the second alternate instead.

    Raises:
        ConfigError: If a transform is of another kind, or a range is not valid.
    """
    for name, bounds in (("rows", rows), ("columns", columns)):
        check(f"blended_in_cells.{name}", bounds, 1, 10_000)
    check("blended_in_cells.alpha", alpha or (0, 1), 0, 1)
    shares = partial(_cell_shares, counts=(rows, columns), alpha=alpha, checkered=checkered)
    return _inside(partial(_blended, shares=shares), first, second)


def _cell_shares(
    drawn: np.random.Generator,
    image: Batch,
    *,
    counts: Sequence[tuple[int, int]],
    alpha: tuple[float, float] | None,
    checkered: bool,
) -> Batch:
    rows, columns = (
        min(int(drawn.integers(low, high + 1)), side) for (low, high), side in zip(counts, image.shape, strict=False)
    )
    if checkered:
        values = blend_masks.checkerboard(rows, columns)
    else:
        values = _drawn_shares(drawn, alpha, rows * columns).reshape(rows, columns)
    return blend_masks.cells(image.shape[:2], values)[:, :, np.newaxis]


def _drawn_shares(drawn: np.random.Generator, alpha: tuple[float, float] | None, count: int) -> Batch:
    """Return shares from a range, or 0 and 1 with equal probability; shape (count,)."""
    return drawn.integers(0, 2, count).astype(np.float64) if alpha is None else drawn.uniform(*alpha, count)


def blended_by_hue(
    *,
    first: list[dict[str, Any]] | None = None,
    second: list[dict[str, Any]] | None = None,
    bins: tuple[int, int] = (5, 15),
    smoothness: tuple[float, float] = (0.1, 0.3),
    alpha: tuple[float, float] | None = None,
    rotation: tuple[float, float] = (0.0, 360.0),
    of: Space = "RGB",
) -> Step:
    """Blend the results of two pipelines by the hue of each pixel (imgaug's BlendAlphaSomeColors).

    Args:
        first: One pipeline, as for `some_of`; None: the unchanged image.
        second: The other pipeline.
        bins: The range of the number of ranges of hues that have a share of their own.
        smoothness: The range of how far the shares of neighbouring hues mix.
        alpha: The range of the share of the first, drawn for each range of hues; None: either of both.
        rotation: The range of the angle at which the ranges of hues start, in degrees.
        of: The colour space of the images.

    Raises:
        ConfigError: If a transform is of another kind, or a range is not valid.
    """
    check("blended_by_hue.bins", bins, 1, 256)
    check("blended_by_hue.rotation", rotation, -360, 360)
    for name, bounds in (("smoothness", smoothness), ("alpha", alpha or (0, 1))):
        check(f"blended_by_hue.{name}", bounds, 0, 1)
    shares = partial(_hue_shares, bins=bins, smoothness=smoothness, alpha=alpha, rotation=rotation, of=of)
    return _inside(partial(_blended, shares=shares), first, second)


def _hue_shares(
    drawn: np.random.Generator,
    image: Batch,
    *,
    bins: tuple[int, int],
    smoothness: tuple[float, float],
    alpha: tuple[float, float] | None,
    rotation: tuple[float, float],
    of: Space,
) -> Batch:
    of_three("blended_by_hue", image)
    shares = _drawn_shares(drawn, alpha, int(drawn.integers(bins[0], bins[1] + 1)))
    first = round(float(drawn.uniform(*rotation)) * 256 / 360) % 256
    hue = converted(pixel_changes.as_bytes(image), of, "HSV")[..., 0]
    return blend_masks.hues(hue, shares.tolist(), first, float(drawn.uniform(*smoothness)))[:, :, np.newaxis]


def _blended(
    image: Batch,
    seed: int,
    pipelines: Sequence[Callable[[Batch], Batch]],
    *,
    shares: Callable[[np.random.Generator, Batch], Batch],
) -> Batch:
    first, second = (pipeline(image) for pipeline in pipelines)
    if first.shape != second.shape:
        fix = "leave out what changes the size of images"
        wrong = "both pipelines must give images of one size"
        raise ConfigError(problem(f"{PIPELINE}: blended", wrong, got=[first.shape, second.shape], fix=fix))
    # A mask has the size of the image that it is made of, so that of both versions.
    share = shares(np.random.default_rng([seed, 25]), image if image.shape == first.shape else first)
    return as_type(share * first + (1 - share) * second, image)


def _shares(
    drawn: np.random.Generator,
    image: Batch,
    *,
    alpha: tuple[float, float],
    over: str,
    per_channel: float,
    cells: tuple[int, int],
    iterations: tuple[int, int],
    join: Sequence[str],
    exponent: tuple[float, float],
    sharp: float,
    enlarged: Sequence[str] | None,
    middle: tuple[float, float] | None,
) -> Batch:
    """Return the share of the first pipeline, for the image, each pixel, or each value of it."""
    height, width, channels = image.shape
    count = channels if drawn.random() < per_channel else 1
    if over in ("image", "pixels"):
        return drawn.uniform(*alpha, (count,) if over == "image" else (height, width, count))
    fields, ways = [], list(enlarged) if enlarged else ["nearest", "linear", "cubic"]
    shares = None if enlarged else [0.05, 0.6, 0.35]
    for _ in range(count):
        several = []
        for _ in range(int(drawn.integers(iterations[0], iterations[1] + 1))):
            how = str(drawn.choice(ways, p=shares))
            longest = int(drawn.integers(cells[0], cells[1] + 1))
            several.append(
                pixel_changes.smooth_noise(drawn, (height, width), longest, how)
                if over == "smooth"
                else pixel_changes.spectral_noise(drawn, (height, width), float(drawn.uniform(*exponent)), longest, how)
            )
        joins: dict[str, Callable[..., Any]] = {"max": np.max, "min": np.min, "avg": np.mean}
        field = np.asarray(joins[str(drawn.choice(list(join)))](several, 0))
        if drawn.random() < sharp:
            # imgaug's sigmoid, whose threshold is drawn from a normal distribution.
            threshold = drawn.normal(0, 5) if middle is None else drawn.uniform(*middle)
            field = 1 / (1 + np.exp(-(20 * field - 10 - threshold)))
        fields.append(field)
    return np.stack(fields, 2)


def on_channels(*, channels: list[Annotated[int, ">= 0"]], pipeline: list[dict[str, Any]]) -> Step:
    """Apply a pipeline to some channels (imgaug's WithChannels).

    Args:
        channels: The channel numbers, from 0.
        pipeline: As for `some_of`.

    Raises:
        ConfigError: If a transform is of another kind.
    """
    return _inside(partial(_on_channels, channels=list(channels)), pipeline)


def _on_channels(
    image: Batch, seed: int, pipelines: Sequence[Callable[[Batch], Batch]], *, channels: Sequence[int]
) -> Batch:
    if not channels or max(channels) >= image.shape[2]:
        wrong = f"images have the channels {listing(range(image.shape[2]))}"
        raise ConfigError(problem(f"{PIPELINE}: on_channels.channels", wrong, got=list(channels)))
    part = pipelines[0](image[:, :, list(channels)])
    if part.shape[:2] != image.shape[:2]:
        fix = "leave out what changes the size of images"
        raise ConfigError(
            problem(f"{PIPELINE}: on_channels", "all channels must have one size", got=part.shape, fix=fix)
        )
    changed = image.copy()
    changed[:, :, list(channels)] = part
    return changed


def in_colours(*, space: Space, of: Space = "RGB", pipeline: list[dict[str, Any]]) -> Step:
    """Apply a pipeline to images in another colour space (imgaug's WithColorspace).

    Args:
        space: The other colour space.
        of: The colour space of the images, before and after.
        pipeline: As for `some_of`; channels are those of the other space, as integers in OpenCV's scale.

    Raises:
        ConfigError: If a transform is of another kind.
    """
    return _inside(partial(_in_colours, space=space, of=of), pipeline)


def _in_colours(
    image: Batch, seed: int, pipelines: Sequence[Callable[[Batch], Batch]], *, space: str, of: str
) -> Batch:
    of_three("in_colours", image)
    changed = pipelines[0](converted(image, of, space))
    if space == "HSV" and image.dtype == np.uint8:
        # Hue is an angle: values wrap around at 180 steps.
        changed = changed.copy()
        changed[..., 0] %= 180
    return converted(changed, space, of)


def in_polar(*, pipeline: list[dict[str, Any]]) -> Step:
    """Apply a pipeline to images in polar coordinates (imgaug's WithPolarWarping).

    Args:
        pipeline: As for `some_of`.

    Raises:
        ConfigError: If a transform is of another kind.
    """
    return _inside(_in_polar, pipeline)


def _in_polar(image: Batch, seed: int, pipelines: Sequence[Callable[[Batch], Batch]]) -> Batch:
    import cv2

    height, width, channels = image.shape
    centre, radius = (width / 2, height / 2), float(np.hypot(height / 2, width / 2))
    # Nearest-neighbour in both directions, as in imgaug; a size of 0 lets OpenCV choose.
    flags = cv2.WARP_FILL_OUTLIERS | cv2.WARP_POLAR_LINEAR
    polar = cv2.warpPolar(np.ascontiguousarray(image), (0, 0), centre, radius, flags)
    changed = np.ascontiguousarray(pipelines[0](polar.reshape(*polar.shape[:2], channels)))
    back = cv2.warpPolar(changed, (width, height), centre, radius, flags | cv2.WARP_INVERSE_MAP)
    return np.asarray(back).reshape(height, width, -1)


def _by_choice(choice: Choice, image: Batch, seed: int) -> Batch:
    steps = choice.chosen(seed)
    return np.asarray(apply(steps, [image], np.array([seed], np.uint64))[0]) if steps else image


def _adapted_step(target: str, transform: Any) -> Step:
    return libraries.adapt(transform)


def edges(
    *,
    alpha: tuple[float, float] = (0.0, 0.75),
    direction: tuple[float, float] | None = None,
) -> Step:
    """Blend in the edges between neighbouring pixels (imgaug's EdgeDetect and DirectedEdgeDetect).

    Args:
        alpha: The range of the share of the edges.
        direction: The range of the direction of edges: 0 is the top, 0.25 the right; None: all directions.

    Raises:
        ConfigError: If the range of shares is not valid.
    """
    check("edges.alpha", alpha, 0, 1)
    return each(partial(_with_edges, alpha=alpha, direction=direction))


def _with_edges(image: Batch, seed: int, *, alpha: tuple[float, float], direction: tuple[float, float] | None) -> Batch:
    import cv2

    drawn = np.random.default_rng([seed, 3])
    share = float(drawn.uniform(*alpha))
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float64)
    if direction is not None:
        kernel = _directed_kernel(float(drawn.uniform(*direction)))
    kernel = share * kernel
    kernel[1, 1] += 1 - share
    filtered = cv2.filter2D(image.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return as_type(filtered.reshape(image.shape), image)


def _directed_kernel(direction: float) -> np.ndarray[Any, Any]:
    """Return imgaug's kernel: neighbours weighted by how close their angle is to the direction, against the middle pixel."""
    angle = np.deg2rad(int(direction * 360) % 360 - 90)
    towards = np.array([np.cos(angle), np.sin(angle)])
    kernel = np.zeros((3, 3))
    for x in (-1, 0, 1):
        for y in (-1, 0, 1):
            if (x, y) != (0, 0):
                cosine = float(np.clip(np.array([x, y]) @ towards / np.hypot(x, y), -1, 1))
                kernel[y + 1, x + 1] = (1 - np.rad2deg(np.arccos(cosine)) / 180) ** 4
    kernel /= kernel.sum()
    kernel[1, 1] = -1
    return kernel


def gray(*, alpha: tuple[float, float] = (0.0, 1.0)) -> Step:
    """Blend colour images with their greyscale version (imgaug's Grayscale).

    Args:
        alpha: The range of the share of grey.

    Raises:
        ConfigError: If the range of shares is not valid.
    """
    check("gray.alpha", alpha, 0, 1)
    return each(partial(_greyed, alpha=alpha))


def _greyed(image: Batch, seed: int, *, alpha: tuple[float, float]) -> Batch:
    share = float(np.random.default_rng([seed, 4]).uniform(*alpha))
    of_three("gray", image)
    grey = image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return as_type((1 - share) * image + share * grey[:, :, np.newaxis], image)


def dropped_cells(
    *,
    p: tuple[float, float] = (0.02, 0.02),
    size: tuple[float, float] = (0.1, 0.1),
    cells: tuple[int, int] | None = None,
    least: Annotated[int, ">= 1"] = 4,
    per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0,
) -> Step:
    """Set cells of a coarse grid to zero (imgaug's CoarseDropout).

    Args:
        p: The range of the share of cells.
        size: The range of the number of cells along each side, as a share of its pixels.
        cells: The range of that number itself, instead of `size`.
        least: The smallest number of cells along a side.
        per_channel: The share of images whose channels have separate cells.

    Raises:
        ConfigError: If a range is not valid.
    """
    for name, bounds, most in (("p", p, 1.0), ("size", size, 1.0), ("cells", cells or (1, 1), math.inf)):
        check(f"dropped_cells.{name}", bounds, 0, most)
    change = partial(_without_cells, p=p, size=size, cells=cells, least=least, per_channel=per_channel)
    return each(change)


def _without_cells(
    image: Batch,
    seed: int,
    *,
    p: tuple[float, float],
    size: tuple[float, float],
    cells: tuple[int, int] | None,
    least: int,
    per_channel: float,
) -> Batch:
    drawn = np.random.default_rng([seed, 5])
    chance, (height, width, channels) = drawn.uniform(*p), image.shape
    rows, columns = grid(drawn, (height, width), size, cells, least)
    mask = drawn.random((rows, columns, channels if drawn.random() < per_channel else 1)) >= chance
    # Each pixel takes the value of its cell.
    changed: Batch = image * spread(mask, height, width)
    return changed


def inverted(*, p: Annotated[float, ">= 0", "<= 1"] = 1.0, per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0) -> Step:
    """Invert the brightness (imgaug's Invert).

    Args:
        p: The share of images, or of channels, that are inverted.
        per_channel: The share of images whose channels are drawn separately.
    """
    return each(partial(_inverted, p=p, per_channel=per_channel))


def _inverted(image: Batch, seed: int, *, p: float, per_channel: float) -> Batch:
    drawn = np.random.default_rng([seed, 6])
    count = image.shape[2] if drawn.random() < per_channel else 1
    return np.where(drawn.random(count) < p, brightest(image) - image, image).astype(image.dtype)


def linear_contrast(
    *, alpha: tuple[float, float] = (1.0, 1.0), per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0
) -> Step:
    """Multiply the difference of pixels from middle grey, 127 of 255, by a factor (imgaug's LinearContrast).

    Args:
        alpha: The range of the factor.
        per_channel: The share of images whose channels have separate factors.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("linear_contrast.alpha", alpha, 0)
    return each(partial(_contrasted, alpha=alpha, per_channel=per_channel))


def _contrasted(image: Batch, seed: int, *, alpha: tuple[float, float], per_channel: float) -> Batch:
    drawn = np.random.default_rng([seed, 7])
    factors = drawn.uniform(*alpha, image.shape[2] if drawn.random() < per_channel else 1)
    top = brightest(image)
    middle = top // 2 if isinstance(top, int) else top / 2
    return as_type(middle + factors * (image - float(middle)), image)


def hue_saturation(
    *,
    value: tuple[float, float] = (0.0, 0.0),
    hue: tuple[float, float] | None = None,
    saturation: tuple[float, float] | None = None,
    per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0,
) -> Step:
    """Add to hue and saturation, both on a scale of 255 (imgaug's AddToHueAndSaturation).

    Args:
        value: The range of the integer that is added to both.
        hue: The range for the hue alone, instead of `value`.
        saturation: The range for the saturation alone, instead of `value`.
        per_channel: The share of images whose hue and saturation get separate numbers from `value`.

    Raises:
        ConfigError: If a range is not valid.
    """
    for name, bounds in (("value", value), ("hue", hue or (0, 0)), ("saturation", saturation or (0, 0))):
        check(f"hue_saturation.{name}", bounds, -255, 255)
    return each(partial(_of_other_hue, value=value, hue=hue, saturation=saturation, per_channel=per_channel))


def _of_other_hue(
    image: Batch,
    seed: int,
    *,
    value: tuple[float, float],
    hue: tuple[float, float] | None,
    saturation: tuple[float, float] | None,
    per_channel: float,
) -> Batch:
    import cv2

    of_three("hue_saturation", image)
    drawn = np.random.default_rng([seed, 8])
    if hue is None and saturation is None:
        first, second = (_drawn_whole_number(drawn, value) for _ in range(2))
        more_hue, more_saturation = first, second if drawn.random() < per_channel else first
    else:
        more_hue, more_saturation = (_drawn_whole_number(drawn, bounds or (0, 0)) for bounds in (hue, saturation))
    # Hue is an angle of up to 180 steps; imgaug truncates fractions of a step.
    turn = int(more_hue / 255 * 180)
    if image.dtype == np.uint8:
        plane = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int16)
        plane[..., 0] = (plane[..., 0] + turn) % 180
        plane[..., 1] = np.clip(plane[..., 1] + more_saturation, 0, 255)
        result: Batch = cv2.cvtColor(plane.astype(np.uint8), cv2.COLOR_HSV2RGB)
        return result
    top = brightest(image)
    exact: Batch = cv2.cvtColor((image / top).astype(np.float32), cv2.COLOR_RGB2HSV)
    exact[..., 0] = (exact[..., 0] + 2 * turn) % 360
    exact[..., 1] = np.clip(exact[..., 1] + more_saturation / 255, 0, 1)
    return as_type(cv2.cvtColor(exact, cv2.COLOR_HSV2RGB).astype(np.float64) * top, image)


def _drawn_whole_number(drawn: np.random.Generator, bounds: tuple[float, float]) -> int:
    return int(drawn.integers(math.ceil(bounds[0]), max(math.floor(bounds[1]), math.ceil(bounds[0])) + 1))


def gamma_contrast(
    *, gamma: tuple[float, float] = (1.0, 1.0), per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0
) -> Step:
    """Raise pixel values, as shares of the maximum, to a power (imgaug's GammaContrast).

    Args:
        gamma: The range of the power.
        per_channel: The share of images whose channels have separate powers.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("gamma_contrast.gamma", gamma, 0)
    return each(partial(_curved, stream=9, curve=_power, bounds=[gamma], per_channel=per_channel))


def _power(shares: Batch, top: float, powers: Batch) -> Batch:
    return np.asarray(top * shares**powers)


def sigmoid_contrast(
    *,
    gain: tuple[float, float] = (10.0, 10.0),
    cutoff: tuple[float, float] = (0.5, 0.5),
    per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0,
) -> Step:
    """Map pixel values v, as shares of the maximum, to 1 / (1 + exp(gain (cutoff - v))) (imgaug's SigmoidContrast).

    Args:
        gain: The range of the gain.
        cutoff: The range of the share that becomes one half.
        per_channel: The share of images whose channels have separate curves.

    Raises:
        ConfigError: If a range is not valid.
    """
    for name, bounds in (("gain", gain), ("cutoff", cutoff)):
        check(f"sigmoid_contrast.{name}", bounds)
    return each(partial(_curved, stream=10, curve=_sigmoid, bounds=[gain, cutoff], per_channel=per_channel))


def _sigmoid(shares: Batch, top: float, gains: Batch, cutoffs: Batch) -> Batch:
    return np.asarray(top / (1 + np.exp(gains * (cutoffs - shares))))


def log_contrast(
    *, gain: tuple[float, float] = (1.0, 1.0), per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0
) -> Step:
    """Map pixel values v, as shares of the maximum, to gain log2(1 + v) (imgaug's LogContrast).

    Args:
        gain: The range of the gain.
        per_channel: The share of images whose channels have separate gains.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("log_contrast.gain", gain, 0)
    return each(partial(_curved, stream=11, curve=_logarithm, bounds=[gain], per_channel=per_channel))


def _logarithm(shares: Batch, top: float, gains: Batch) -> Batch:
    return np.asarray(top * gains * np.log2(1 + shares))


def _curved(
    image: Batch,
    seed: int,
    *,
    stream: int,
    curve: Callable[..., Batch],
    bounds: Sequence[tuple[float, float]],
    per_channel: float,
) -> Batch:
    """Apply a curve to an image's values as shares of the maximum; parameters are drawn for all channels or for each."""
    drawn, top = np.random.default_rng([seed, stream]), float(brightest(image))
    count = image.shape[2] if drawn.random() < per_channel else 1
    return as_type(curve(image / top, top, *(drawn.uniform(*interval, count) for interval in bounds)), image)


def made(node: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the name in a node and its object: an albumentations or torchvision transform, or a step of this module.

    Args:
        node: `_target_` and parameters.

    Raises:
        ConfigError: If it is anything else, or its parameters are wrong.
    """
    import albumentations

    target = str(node.get("_target_"))
    params = {key: value for key, value in node.items() if key != "_target_"}
    kind = getattr(albumentations, target.removeprefix(_HOME), None) if target.startswith(_HOME) else None
    path = names.current(target)
    functions: tuple[Callable[..., Any], ...] = (
        some_of,
        with_drawn,
        edges,
        gray,
        dropped_cells,
        inverted,
        linear_contrast,
        hue_saturation,
        gamma_contrast,
        sigmoid_contrast,
        log_contrast,
        blended,
        blended_along,
        blended_in_cells,
        blended_by_hue,
        on_channels,
        in_colours,
        in_polar,
        geometry.fitted,
        geometry.jigsaw,
        *pixel_changes.FUNCTIONS,
        *styles.FUNCTIONS,
    )
    own = {f"{function.__module__}.{function.__name__}": function for function in functions}
    try:
        if isinstance(kind, type) and issubclass(kind, albumentations.BasicTransform):
            return target, kind(**params)
        if path in own:
            return path, own[path](**params)
        if target.startswith(_TORCHVISION):
            from torchvision.transforms import v2

            other = getattr(v2, target.removeprefix(_TORCHVISION), None)
            if isinstance(other, type) and issubclass(other, v2.Transform):
                return target, other(**params)
    except (TypeError, ValueError) as error:
        raise ConfigError(problem(f"{PIPELINE}: {target}", f"cannot be made ({error})", fix="correct it")) from error
    fix = "name a transform of albumentations or of torchvision.transforms.v2"
    raise ConfigError(problem(f"{PIPELINE}._target_", "is not allowed inside of another", got=target, fix=fix))
