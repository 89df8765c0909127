"""Random choices among augmentations: which of them an image gets, or with which parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import numpy as np

from mlpipe import names
from mlpipe.data.augment import libraries
from mlpipe.data.augment.samples import Batch, Step, apply
from mlpipe.errors import ConfigError, problem

_HOME = "albumentations."
_KEY = "augmentations.cpu.pipeline"
# What the configuration named and what it gave, to a step.
Adapt = Callable[[str, Any], Any]


def some_of(
    *,
    pipelines: list[list[dict[str, Any]]],
    least: Annotated[int, ">= 0"] = 1,
    most: Annotated[int, ">= 0"] | None = 1,
    p: Annotated[float, ">= 0", "<= 1"] = 1.0,
    otherwise: list[dict[str, Any]] | None = None,
) -> Step:
    """Put each image through some of several pipelines, in their order (imgaug's SomeOf, OneOf, Sequential, Sometimes).

    Args:
        pipelines: Each a list of transforms of albumentations, with `_target_` and parameters; or of this module.
        least: How many of them at least.
        most: How many at most, drawn evenly; None: all of them.
        p: The share of images that go through some of them.
        otherwise: A pipeline for the other images; None: they stay as they are.

    Raises:
        ConfigError: When a transform is not of these, or a number does not fit.
    """
    most = len(pipelines) if most is None else most
    if not least <= most <= len(pipelines):
        wrong = f"least and most must be at most {len(pipelines)} pipelines, in this order"
        raise ConfigError(problem(f"{_KEY}: some_of", wrong, got=[least, most], fix="lower them"))
    choice = SomeOf(pipelines, otherwise or [], least, most, p)
    return choice.adapted(_of_images)


def with_drawn(
    *,
    transform: dict[str, Any],
    ranges: dict[str, list[float]],
) -> Step:
    """A transform of albumentations whose parameters are numbers, each drawn from a range for each image.

    Args:
        transform: The transform, with `_target_` and its other parameters.
        ranges: Two bounds for each parameter that is drawn.

    Raises:
        ConfigError: When it is no such transform, or a range has no two bounds.
    """
    for name, bounds in ranges.items():
        if len(bounds) != 2 or bounds[0] > bounds[1]:
            raise ConfigError(problem(f"{_KEY}: with_drawn.ranges.{name}", "must be two bounds", got=bounds))
    return Drawn(transform, ranges, _of_images).adapted(_of_images)


@dataclass(frozen=True)
class SomeOf:
    """What `some_of` gives: a step of images, which others can be put through with the same draws.

    Attributes:
        pipelines: Those that are drawn from.
        otherwise: That of the images which go through none of them.
        least: How many at least.
        most: How many at most.
        p: The share of images that go through some of them.
        steps: The pipelines' steps.
        others: Those of `otherwise`.
    """

    pipelines: Sequence[Sequence[Mapping[str, Any]]]
    otherwise: Sequence[Mapping[str, Any]]
    least: int
    most: int
    p: float
    steps: Sequence[Sequence[Any]] = ()
    others: Sequence[Any] = ()

    def adapted(self, adapt: Adapt) -> SomeOf:
        """The same choice among steps of another kind, such as those of images and their masks.

        Args:
            adapt: What the configuration named and what it gave, to a step.
        """
        steps = [[adapt(*made(one)) for one in pipeline] for pipeline in self.pipelines]
        return replace(self, steps=steps, others=[adapt(*made(one)) for one in self.otherwise])

    def chosen(self, seed: int) -> Sequence[Any]:
        """The steps that an image with this seed goes through."""
        drawn = np.random.default_rng([seed, 1])
        if drawn.random() >= self.p:
            return self.others
        count = int(drawn.integers(self.least, self.most + 1))
        numbers = sorted(drawn.permutation(len(self.steps))[:count].tolist())
        return [step for number in numbers for step in self.steps[number]]

    def __call__(self, images: Any, seeds: Any) -> Any:
        """The changed images."""
        return _image_by_image(partial(_by_choice, self), images, seeds)


@dataclass(frozen=True)
class Drawn:
    """What `with_drawn` gives, as `SomeOf`.

    Attributes:
        transform: The transform.
        ranges: Two bounds for each parameter that is drawn.
        adapt: What the configuration named and what it gave, to a step.
    """

    transform: Mapping[str, Any]
    ranges: Mapping[str, Sequence[float]]
    adapt: Adapt

    def adapted(self, adapt: Adapt) -> Drawn:
        """As of `SomeOf`; a transform that cannot be made, or is no such step, is refused here."""
        adapt(*made({**self.transform, **{name: low for name, (low, _) in self.ranges.items()}}))
        return replace(self, adapt=adapt)

    def chosen(self, seed: int) -> Sequence[Any]:
        """As of `SomeOf`."""
        drawn = np.random.default_rng([seed, 2])
        values = {name: float(drawn.uniform(low, high)) for name, (low, high) in self.ranges.items()}
        return [self.adapt(*made({**self.transform, **values}))]

    def __call__(self, images: Any, seeds: Any) -> Any:
        """The changed images."""
        return _image_by_image(partial(_by_choice, self), images, seeds)


Choice = SomeOf | Drawn


def _by_choice(choice: Choice, image: Batch, seed: int) -> Batch:
    steps = choice.chosen(seed)
    return np.asarray(apply(steps, [image], np.array([seed], np.uint64))[0]) if steps else image


def _of_images(target: str, transform: Any) -> Step:
    return libraries.adapt(transform)


def edges(
    *,
    alpha: tuple[float, float] = (0.0, 0.75),
    direction: tuple[float, float] | None = None,
) -> Step:
    """Blend in where neighbouring pixels differ (imgaug's EdgeDetect and DirectedEdgeDetect).

    Args:
        alpha: Between which bounds the share of the edges is drawn.
        direction: From where edges count, drawn between two bounds: 0 is the top, 0.25 the right; None: from all sides.

    Raises:
        ConfigError: When the shares are none.
    """
    if not 0 <= alpha[0] <= alpha[1] <= 1:
        raise ConfigError(problem(f"{_KEY}: edges.alpha", "must be two shares from 0 to 1", got=list(alpha)))
    return _each(partial(_with_edges, alpha=alpha, direction=direction))


def _with_edges(image: Batch, seed: int, *, alpha: tuple[float, float], direction: tuple[float, float] | None) -> Batch:
    import cv2

    drawn = np.random.default_rng([seed, 3])
    share = float(drawn.uniform(*alpha))
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float64)
    if direction is not None:
        kernel = _directed(float(drawn.uniform(*direction)))
    kernel = share * kernel
    kernel[1, 1] += 1 - share
    filtered = cv2.filter2D(image.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return _as_type(filtered.reshape(image.shape), image)


def _directed(direction: float) -> np.ndarray[Any, Any]:
    """imgaug's kernel: each neighbour counts by how near its angle is to the direction, the middle pixel against them."""
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
    """Blend colour images with their grey version (imgaug's Grayscale).

    Args:
        alpha: Between which bounds the share of grey is drawn.

    Raises:
        ConfigError: When the shares are none.
    """
    if not 0 <= alpha[0] <= alpha[1] <= 1:
        raise ConfigError(problem(f"{_KEY}: gray.alpha", "must be two shares from 0 to 1", got=list(alpha)))
    return _each(partial(_greyed, alpha=alpha))


def _greyed(image: Batch, seed: int, *, alpha: tuple[float, float]) -> Batch:
    share = float(np.random.default_rng([seed, 4]).uniform(*alpha))
    if image.shape[2] != 3:
        raise ConfigError(problem(f"{_KEY}: gray", "is for three channels", got=image.shape[2], fix="leave it out"))
    grey = image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return _as_type((1 - share) * image + share * grey[:, :, np.newaxis], image)


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
        p: Between which bounds the share of cells is drawn.
        size: Between which bounds the number of cells along each side is drawn, as a share of its pixels.
        cells: Between which bounds that number itself is drawn, in place of `size`.
        least: How many cells a side has at least.
        per_channel: The share of images whose channels have cells of their own.

    Raises:
        ConfigError: When bounds are none.
    """
    for name, bounds, most in (("p", p, 1.0), ("size", size, 1.0), ("cells", cells or (1, 1), math.inf)):
        if not 0 <= bounds[0] <= bounds[1] <= most:
            raise ConfigError(problem(f"{_KEY}: dropped_cells.{name}", "must be two bounds", got=list(bounds)))
    change = partial(_without_cells, p=p, size=size, cells=cells, least=least, per_channel=per_channel)
    return _each(change)


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
    if cells is None:
        grid = [int(side * share) for side, share in zip((height, width), drawn.uniform(*size, 2), strict=True)]
    else:
        grid = drawn.integers(cells[0], cells[1] + 1, 2).tolist()
    rows, columns = (max(count, least) for count in grid)
    kept = drawn.random((rows, columns, channels if drawn.random() < per_channel else 1)) >= chance
    # Each pixel goes with the cell that it lies in.
    placed = kept[np.arange(height) * rows // height][:, np.arange(width) * columns // width]
    changed: Batch = image * placed
    return changed


def inverted(*, p: Annotated[float, ">= 0", "<= 1"] = 1.0, per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0) -> Step:
    """Turn bright into dark (imgaug's Invert).

    Args:
        p: The share of images, or of channels, that it happens to.
        per_channel: The share of images whose channels are drawn each by itself.
    """
    return _each(partial(_inverted, p=p, per_channel=per_channel))


def _inverted(image: Batch, seed: int, *, p: float, per_channel: float) -> Batch:
    drawn = np.random.default_rng([seed, 6])
    count = image.shape[2] if drawn.random() < per_channel else 1
    return np.where(drawn.random(count) < p, _brightest(image) - image, image).astype(image.dtype)


def linear_contrast(
    *, alpha: tuple[float, float] = (1.0, 1.0), per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0
) -> Step:
    """Multiply how far pixels are from the middle grey, 127 of 255 (imgaug's LinearContrast).

    Args:
        alpha: Between which bounds the factor is drawn.
        per_channel: The share of images whose channels have factors of their own.

    Raises:
        ConfigError: When bounds are none.
    """
    if not 0 <= alpha[0] <= alpha[1]:
        raise ConfigError(problem(f"{_KEY}: linear_contrast.alpha", "must be two bounds >= 0", got=list(alpha)))
    return _each(partial(_contrasted, alpha=alpha, per_channel=per_channel))


def _contrasted(image: Batch, seed: int, *, alpha: tuple[float, float], per_channel: float) -> Batch:
    drawn = np.random.default_rng([seed, 7])
    factors = drawn.uniform(*alpha, image.shape[2] if drawn.random() < per_channel else 1)
    top = _brightest(image)
    middle = top // 2 if isinstance(top, int) else top / 2
    return _as_type(middle + factors * (image - float(middle)), image)


def hue_saturation(
    *,
    value: tuple[float, float] = (0.0, 0.0),
    hue: tuple[float, float] | None = None,
    saturation: tuple[float, float] | None = None,
    per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0,
) -> Step:
    """Add to hue and saturation, both as of 255 (imgaug's AddToHueAndSaturation).

    Args:
        value: Between which bounds the whole number that is added to both is drawn.
        hue: Bounds for the hue alone, in place of `value`.
        saturation: Bounds for the saturation alone, in place of `value`.
        per_channel: The share of images for which hue and saturation have numbers of their own out of `value`.

    Raises:
        ConfigError: When bounds are none.
    """
    for name, bounds in (("value", value), ("hue", hue or (0, 0)), ("saturation", saturation or (0, 0))):
        if not -255 <= bounds[0] <= bounds[1] <= 255:
            wrong = "must be two bounds from -255 to 255"
            raise ConfigError(problem(f"{_KEY}: hue_saturation.{name}", wrong, got=list(bounds)))
    return _each(partial(_of_other_hue, value=value, hue=hue, saturation=saturation, per_channel=per_channel))


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

    if image.shape[2] != 3:
        wrong = "is for three channels"
        raise ConfigError(problem(f"{_KEY}: hue_saturation", wrong, got=image.shape[2], fix="leave it out"))
    drawn = np.random.default_rng([seed, 8])
    if hue is None and saturation is None:
        first, second = (_whole(drawn, value) for _ in range(2))
        more_hue, more_saturation = first, second if drawn.random() < per_channel else first
    else:
        more_hue, more_saturation = (_whole(drawn, one or (0, 0)) for one in (hue, saturation))
    # Hue is an angle of up to 180 steps, in which imgaug cuts fractions off.
    turn = int(more_hue / 255 * 180)
    if image.dtype == np.uint8:
        plane = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int16)
        plane[..., 0] = (plane[..., 0] + turn) % 180
        plane[..., 1] = np.clip(plane[..., 1] + more_saturation, 0, 255)
        found: Batch = cv2.cvtColor(plane.astype(np.uint8), cv2.COLOR_HSV2RGB)
        return found
    top = _brightest(image)
    exact: Batch = cv2.cvtColor((image / top).astype(np.float32), cv2.COLOR_RGB2HSV)
    exact[..., 0] = (exact[..., 0] + 2 * turn) % 360
    exact[..., 1] = np.clip(exact[..., 1] + more_saturation / 255, 0, 1)
    return _as_type(cv2.cvtColor(exact, cv2.COLOR_HSV2RGB).astype(np.float64) * top, image)


def _whole(drawn: np.random.Generator, bounds: tuple[float, float]) -> int:
    return int(drawn.integers(math.ceil(bounds[0]), max(math.floor(bounds[1]), math.ceil(bounds[0])) + 1))


def gamma_contrast(
    *, gamma: tuple[float, float] = (1.0, 1.0), per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0
) -> Step:
    """Raise shares of the brightest value to a power (imgaug's GammaContrast).

    Args:
        gamma: Between which bounds the power is drawn.
        per_channel: The share of images whose channels have powers of their own.

    Raises:
        ConfigError: When bounds are none.
    """
    if not 0 <= gamma[0] <= gamma[1]:
        raise ConfigError(problem(f"{_KEY}: gamma_contrast.gamma", "must be two bounds >= 0", got=list(gamma)))
    return _each(partial(_curved, stream=9, curve=_power, bounds=[gamma], per_channel=per_channel))


def _power(shares: Batch, top: float, powers: Batch) -> Batch:
    return np.asarray(top * shares**powers)


def sigmoid_contrast(
    *,
    gain: tuple[float, float] = (10.0, 10.0),
    cutoff: tuple[float, float] = (0.5, 0.5),
    per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0,
) -> Step:
    """Shares v of the brightest value become 1 / (1 + exp(gain (cutoff - v))) of it (imgaug's SigmoidContrast).

    Args:
        gain: Between which bounds the gain is drawn.
        cutoff: Between which bounds the share is drawn that becomes a half.
        per_channel: The share of images whose channels have curves of their own.

    Raises:
        ConfigError: When bounds are none.
    """
    for name, bounds in (("gain", gain), ("cutoff", cutoff)):
        if bounds[0] > bounds[1]:
            raise ConfigError(problem(f"{_KEY}: sigmoid_contrast.{name}", "must be two bounds", got=list(bounds)))
    return _each(partial(_curved, stream=10, curve=_sigmoid, bounds=[gain, cutoff], per_channel=per_channel))


def _sigmoid(shares: Batch, top: float, gains: Batch, cutoffs: Batch) -> Batch:
    return np.asarray(top / (1 + np.exp(gains * (cutoffs - shares))))


def log_contrast(
    *, gain: tuple[float, float] = (1.0, 1.0), per_channel: Annotated[float, ">= 0", "<= 1"] = 0.0
) -> Step:
    """Shares v of the brightest value become gain log2(1 + v) of it (imgaug's LogContrast).

    Args:
        gain: Between which bounds the gain is drawn.
        per_channel: The share of images whose channels have gains of their own.

    Raises:
        ConfigError: When bounds are none.
    """
    if not 0 <= gain[0] <= gain[1]:
        raise ConfigError(problem(f"{_KEY}: log_contrast.gain", "must be two bounds >= 0", got=list(gain)))
    return _each(partial(_curved, stream=11, curve=_logarithm, bounds=[gain], per_channel=per_channel))


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
    """An image through a curve of shares of the brightest value, whose parameters are drawn for all channels or for each."""
    drawn, top = np.random.default_rng([seed, stream]), float(_brightest(image))
    count = image.shape[2] if drawn.random() < per_channel else 1
    return _as_type(curve(image / top, top, *(drawn.uniform(*one, count) for one in bounds)), image)


def made(node: Mapping[str, Any]) -> tuple[str, Any]:
    """What a node names, and what it gives: a transform of albumentations, or a step of this module.

    Args:
        node: `_target_` and parameters.

    Raises:
        ConfigError: When it is something else, or its parameters are wrong.
    """
    import albumentations

    target = str(node.get("_target_"))
    given = {key: value for key, value in node.items() if key != "_target_"}
    kind = getattr(albumentations, target.removeprefix(_HOME), None) if target.startswith(_HOME) else None
    path = names.current(target)
    functions = (
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
    )
    own = {f"{__name__}.{one.__name__}": one for one in functions}
    try:
        if isinstance(kind, type) and issubclass(kind, albumentations.BasicTransform):
            return target, kind(**given)
        if path in own:
            return path, own[path](**given)
    except (TypeError, ValueError) as error:
        raise ConfigError(problem(f"{_KEY}: {target}", f"cannot be made ({error})", fix="correct it")) from error
    fix = "name a transform of albumentations"
    raise ConfigError(problem(f"{_KEY}._target_", "is not allowed inside of another", got=target, fix=fix))


def _each(change: Callable[[Batch, int], Batch]) -> Step:
    return partial(_image_by_image, change)


def _image_by_image(change: Callable[[Batch, int], Batch], images: Any, seeds: Any) -> Any:
    changed = [change(image, seed) for image, seed in zip(images, seeds.tolist(), strict=True)]
    same = not isinstance(images, list) and len({image.shape for image in changed}) == 1
    return np.stack(changed) if same else changed


def _brightest(image: Batch) -> int | float:
    return 1.0 if np.issubdtype(image.dtype, np.floating) else int(np.iinfo(image.dtype).max)


def _as_type(values: Any, image: Batch) -> Batch:
    is_float = np.issubdtype(image.dtype, np.floating)
    clipped: Batch = np.clip(values if is_float else np.rint(values), 0, _brightest(image))
    return clipped.astype(image.dtype)
