"""Preprocessing of every image before it is cached: once, the same for all folds and runs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpipe import __version__, files
from mlpipe.data import code_digests
from mlpipe.data.augment import geometry, libraries, samples
from mlpipe.data.augment.samples import Step
from mlpipe.data.decoding import images
from mlpipe.data.decoding.images import Pixels
from mlpipe.errors import ConfigError, problem

Resize = Literal["squash", "short_side", "pad"]
Interpolation = Literal["nearest", "box", "bilinear", "bicubic", "lanczos", "linear"]


# The minimum ratio of a reduced JPEG's size to the resized size, as in Pillow's `Image.thumbnail`.
_OVERSAMPLED = 2
# The packages whose code may run in the steps before the resize.
_LIBRARIES = ("albumentations", "scipy", "torch", "torchvision")


@dataclass(frozen=True)
class Preprocessing:
    """A deterministic change of one image to a fixed size.

    Attributes:
        id: The start of the cache folder's name.
        channels: The number of channels of the images.
        size: Height and width in pixels, one number for both or a pair; None: the image's own size.
        resize: How the aspect ratio is handled.
        keep: `fixed` caches the result; `original` caches the image itself, which is resized when it is loaded, after
            augmentations that need the full image.
        max_side: With `original`, larger images are reduced so that their longer side has this length; None: never.
        interpolation: The filter of the resize.
        fill: The value of pixels that `pad` adds.
        before: The steps applied to every image before the resize.
    """

    id: str
    channels: int
    size: int | tuple[int, int] | None
    resize: Resize
    keep: Literal["fixed", "original"] = "fixed"
    max_side: int | None = None
    interpolation: Interpolation = "bilinear"
    fill: int = 0
    before: BeforeResize | None = None

    @property
    def sides(self) -> tuple[int, int] | None:
        """Return the height and width of the result; None: the image's own."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def is_ragged(self) -> bool:
        """Return whether cached images differ in size."""
        return self.keep == "original"

    @property
    def least(self) -> int | None:
        """Return the shortest side that a JPEG decoded at a reduced size must have; None: it must not be reduced."""
        if self.before is not None:
            return None
        length = self.max_side if self.is_ragged else max(self.sides or (0,)) or None
        # `nearest` keeps existing values, which a reduced image changes; `linear` uses only a few of its pixels.
        return None if length is None or self.interpolation in ("nearest", "linear") else _OVERSAMPLED * length

    def __call__(self, pixels: Pixels) -> Pixels:
        """Return the pixels to cache for an image of shape (height, width, channels)."""
        if not self.is_ragged:
            return self.fixed(pixels)
        height, width = pixels.shape[:2]
        share = (self.max_side or max(height, width)) / max(height, width)
        return pixels if share >= 1 else self._scaled(pixels, share)

    def fixed(self, pixels: Pixels) -> Pixels:
        """Apply the steps before the resize to an image of shape (height, width, channels), and resize it."""
        return self.sized(pixels if self.before is None else self.before(pixels))

    def sized(self, pixels: Pixels) -> Pixels:
        """Return an image of shape (height, width, channels) in the wanted height and width."""
        height, width = pixels.shape[:2]
        if self.sides is None or (height, width) == self.sides:
            return pixels
        high, wide = self.sides
        if self.resize == "squash":
            return resized(pixels, high, wide, self.interpolation)
        changed = self._scaled(pixels, (max if self.resize == "short_side" else min)(high / height, wide / width))
        height, width = changed.shape[:2]
        if self.resize == "short_side":
            top, left = (height - high) // 2, (width - wide) // 2
            return np.ascontiguousarray(changed[top : top + high, left : left + wide])
        padded = np.full((high, wide, pixels.shape[2]), self.fill, pixels.dtype)
        top, left = (high - height) // 2, (wide - width) // 2
        padded[top : top + height, left : left + width] = changed
        return padded

    def restored(self, maps: Pixels, height: int, width: int) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Map values for the cached pixels, such as probabilities, back to the image's own pixels and size.

        Args:
            maps: Shape (height, width, channels) of the result, float32.
            height: The image's own height.
            width: Its width.

        Returns:
            Shape (height, width, channels), and a mask of the pixels that the network saw, shape (height, width):
            `short_side` crops the image to its middle.
        """
        mask = np.ones((height, width), np.bool_)
        if maps.shape[:2] == (height, width):
            return maps, mask
        if self.sides is None or self.resize == "squash":
            return resized(maps, height, width), mask
        high, wide = self.sides
        share = (max if self.resize == "short_side" else min)(high / height, wide / width)
        down, across = (max(round(side * share), 1) for side in (height, width))
        if self.resize == "pad":
            top, left = (high - down) // 2, (wide - across) // 2
            return resized(np.ascontiguousarray(maps[top : top + down, left : left + across]), height, width), mask
        top, left = (down - high) // 2, (across - wide) // 2
        around = ((top, down - high - top), (left, across - wide - left), (0, 0))
        # A filter of the resize reaches beyond the crop, where the values of its edge dilute none inside.
        whole = np.pad(maps, around, mode="edge")
        inside = np.pad(np.ones((high, wide, 1), np.uint8), around)
        return resized(whole, height, width), resized(inside, height, width, "nearest")[:, :, 0] > 0

    def key(self) -> dict[str, Any]:
        """Return the parameters that decide the cached pixels, for the cache's hash; those without effect are left out."""
        max_side = self.max_side if self.is_ragged else None
        size = None if self.is_ragged else list(self.size) if isinstance(self.size, tuple) else self.size
        before = {"before": self.before.key()} if self.before is not None and not self.is_ragged else {}
        filled = {"fill": self.fill} if self.fill else {}
        return {
            **before,
            "target": "standard",
            "channels": self.channels,
            "size": size,
            "resize": self.resize if size else None,
            "keep": self.keep,
            "max_side": max_side,
            "interpolation": self.interpolation if size or max_side else None,
            "least": self.least,
            "rules": images.RULES,
            "libraries": images.decoders(),
            **filled,
        }

    def _scaled(self, pixels: Pixels, share: float) -> Pixels:
        height, width = (max(round(side * share), 1) for side in pixels.shape[:2])
        return resized(pixels, height, width, self.interpolation)


def standard(
    channels: int,
    *,
    id: str,
    size: Annotated[int, ">= 1", "<= 8192"] | list[Annotated[int, ">= 1", "<= 8192"]] | None,
    before: list[Any] | None = None,
    resize: Literal["squash", "short_side", "pad"] = "squash",
    keep: Literal["fixed", "original"] = "fixed",
    max_side: Annotated[int, ">= 1"] | None = None,
    interpolation: Literal["nearest", "box", "bilinear", "bicubic", "lanczos", "linear"] = "bilinear",
) -> Preprocessing:
    """Resize with antialiasing (Pillow), the same way for any number of channels and for 8 bit, 16 bit and floats.

    Args:
        channels: The number of channels of the images; set by the program.
        id: The start of the cache folder's name.
        size: Height and width in pixels, one number for both or a list of two; None keeps the pixels as they are.
        before: Transforms (a list of components with `_target_`) applied to every image before the resize; in training
            after the augmentations, and also in prediction.
        resize: `squash` ignores the aspect ratio; `short_side` resizes the shorter side and crops to the middle; `pad`
            resizes the longer side and pads with zeros.
        keep: `fixed` caches the resized image; `original` caches the image itself, for augmentations that need it in full.
        max_side: With `original`: the largest length of the longer side; larger images are reduced.
        interpolation: The filter of the resize. All but `nearest` and `linear` average over all old pixels when they shrink;
            `nearest` keeps existing values, `bicubic` and `lanczos` are sharper and may overshoot; `linear` interpolates
            between the four nearest pixels, as OpenCV's resize does by default, and aliases.

    Raises:
        ConfigError: If originals are kept but no size for the network is given.
    """
    if keep == "original" and size is None:
        fix = "give a size, or use preprocessing=none for images that all have one size"
        raise ConfigError(problem("preprocessing.size", "is needed to make batches of originals", fix=fix))
    if isinstance(size, list) and len(size) != 2:
        raise ConfigError(
            problem("preprocessing.size", "must be height and width", got=size, fix="for example [96, 128]")
        )
    sides = (size[0], size[1]) if isinstance(size, list) else size
    # A list of two equal sides becomes one number, so that both spellings share a cache.
    sides = sides[0] if isinstance(sides, tuple) and sides[0] == sides[1] else sides
    steps = BeforeResize(before) if before else None
    return Preprocessing(id, channels, sides, resize, keep, max_side, interpolation, before=steps)


def resized(pixels: Pixels, height: int, width: int, interpolation: Interpolation = "bilinear") -> Pixels:
    """Resize with one of Pillow's filters, whose support grows with the reduction so that shrinking does not alias.

    `linear` is OpenCV's filter, whose support does not grow.

    Args:
        pixels: Shape (height, width, channels), uint8, uint16 or float32.
        height: The new height.
        width: The new width.
        interpolation: The filter.

    Returns:
        Shape (height, width, channels), of the same dtype.
    """
    if interpolation == "linear":
        return geometry.resized(pixels, width, height)
    method = Image.Resampling[interpolation.upper()]
    if pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return np.asarray(image.resize((width, height), method)).reshape(height, width, -1)
    # Pillow has no other modes with several channels, and would weight colours by a fourth channel as alpha.
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), method))
        for plane in np.moveaxis(pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32), 2, 0)
    ]
    changed = np.stack(planes, axis=2)
    if pixels.dtype != np.uint16:
        return changed
    # Sharp filters overshoot, and values above white would wrap around to black.
    return np.asarray(np.clip(np.rint(changed), 0, 65535), np.uint16)


class BeforeResize:
    """Steps for one image; their random draws are seeded by the image's pixels, so that the result is always the same.

    Args:
        components: The description of each step, with `target`, `params` and `build()`.
    """

    def __init__(self, components: Sequence[Any]) -> None:
        self._components = tuple(components)
        self._local = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        return BeforeResize, (self._components,)

    def __call__(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Apply the steps to an image of shape (height, width, channels).

        Raises:
            DataError: If a step cannot process the image.
        """
        # One set of steps per thread: transforms of libraries hold generators, and several threads decode images.
        if not hasattr(self._local, "steps"):
            self._local.steps = [libraries.adapt(component.build()) for component in self._components]
        steps: list[Step] = self._local.steps
        content = np.ascontiguousarray(pixels)
        seed = np.frombuffer(hashlib.blake2b(content.tobytes(), digest_size=8).digest(), np.uint64)
        changed: npt.NDArray[Any] = samples.apply(steps, content[np.newaxis], seed)[0]
        return changed

    def key(self) -> list[dict[str, Any]]:
        """Return what decides the result, for the cache's hash: steps with their parameters and code, versions of libraries."""
        steps = [
            {"target": component.identity, **component.params, **_own_code(component)} for component in self._components
        ]
        # Different versions may give different pixels; those of the resize itself are in the key of the preprocessing.
        return [*steps, {"libraries": {"mlpipe": __version__, **{name: version(name) for name in _LIBRARIES}}}]


def _own_code(component: Any) -> dict[str, str]:
    """Return the hash of the files that define a step of the user's own, because a changed file may change the step.

    A package may only re-export what another of its files defines: then both files are named.
    """
    if not component.is_users:
        return {}
    defined = getattr(component.load(), "__module__", None)
    names = [name for name in dict.fromkeys([component.target.rpartition(".")[0], defined]) if name]
    digests = code_digests.of_modules(names)
    own = [digest for name, digest in digests.items() if name in names]
    others = {name: digest for name, digest in digests.items() if name not in names}
    return {"code": "-".join([*own, *([files.digest(others)] if others else [])])} if own else {}
