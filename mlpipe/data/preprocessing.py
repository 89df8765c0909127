"""Preprocessing of every image before the cache, once: the same for all folds and runs."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpipe import files
from mlpipe.data.augment import geometry, libraries, samples
from mlpipe.data.augment.samples import Step
from mlpipe.data.decoding import images
from mlpipe.data.decoding.images import Pixels
from mlpipe.errors import ConfigError, problem

Resize = Literal["squash", "short_side", "pad"]
Interpolation = Literal["nearest", "box", "bilinear", "bicubic", "lanczos", "linear"]


# How many times larger than the result an image is at least before it is resized, as in Pillow's `Image.thumbnail`.
_OVERSAMPLED = 2


@dataclass(frozen=True)
class Preprocessing:
    """A deterministic change of one image to a fixed size.

    Attributes:
        id: The name that the cache's folder begins with.
        channels: How many channels the images have.
        size: Height and width in pixels, both or each; None keeps what the image has.
        resize: How the shape is met.
        keep: `fixed` caches the result; `original` caches the image as it is, and it is resized when it is loaded, after
            augmentations that want the whole of it.
        max_side: With `original`, larger images are reduced so that their longer side has this length; None: never.
        interpolation: How new pixels are weighed from old ones.
        fill: What `pad` fills up with.
        before: What happens to every image before it is resized.
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
        """Height and width of the result; None: as the image."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def is_ragged(self) -> bool:
        """Whether cached images have sizes of their own."""
        return self.keep == "original"

    @property
    def least(self) -> int | None:
        """The shortest side that a JPEG must keep when it is decoded at a reduced size; None: it must not be reduced."""
        if self.before is not None:
            return None
        length = self.max_side if self.is_ragged else max(self.sides or (0,)) or None
        # `nearest` keeps values that are there, and a reduced image has others; `linear` sees few of them.
        return None if length is None or self.interpolation in ("nearest", "linear") else _OVERSAMPLED * length

    def __call__(self, pixels: Pixels) -> Pixels:
        """The cached pixels of an image of shape (height, width, channels)."""
        if not self.is_ragged:
            return self.fixed(pixels)
        height, width = pixels.shape[:2]
        share = (self.max_side or max(height, width)) / max(height, width)
        return pixels if share >= 1 else self._scaled(pixels, share)

    def fixed(self, pixels: Pixels) -> Pixels:
        """An image of shape (height, width, channels) through what comes before the resize, and resized."""
        return self.sized(pixels if self.before is None else self.before(pixels))

    def sized(self, pixels: Pixels) -> Pixels:
        """An image of shape (height, width, channels) as one of the wanted height and width."""
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
        """Maps of an image's cached pixels, such as probabilities, at the places and in the size of the image itself.

        Args:
            maps: Shape (height, width, channels) of the result, float32.
            height: The image's own height.
            width: Its width.

        Returns:
            Shape (height, width, channels), and where the network saw the image, shape (height, width): `short_side` cuts
            off what lies outside of the middle.
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
        whole = np.zeros((down, across, maps.shape[2]), maps.dtype)
        inside = np.zeros((down, across, 1), np.uint8)
        whole[top : top + high, left : left + wide], inside[top : top + high, left : left + wide] = maps, 1
        return resized(whole, height, width), resized(inside, height, width, "nearest")[:, :, 0] > 0

    def key(self) -> dict[str, Any]:
        """Parameters that decide the cached pixels, for the cache's hash: those that change nothing are left out."""
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
    """Resize with antialiasing (Pillow), the same way for any number of channels, 8 or 16 bit or floats.

    Args:
        channels: How many channels the images have; the program gives it.
        id: The name that the cache's folder begins with.
        size: Height and width in pixels, one number for both or a list of two; None keeps the pixels as they are.
        before: Transforms (components in place of mappings with a `_target_`) that every image goes through before the
            resize, in training after its augmentations, in prediction too.
        resize: `squash` changes the shape to a square; `short_side` resizes the shorter side and cuts out the middle; `pad`
            resizes the longer side and fills up with zeros.
        keep: `fixed` caches the resized image; `original` caches it as it is, for augmentations that want the whole.
        max_side: With `original`: the longest side that is kept; larger images are reduced.
        interpolation: The filter of the resize. All but `nearest` weigh every old pixel when they shrink; `nearest` keeps
            values as they are, `bicubic` and `lanczos` are sharper and may overshoot; `linear` weighs the four nearest
            pixels only, as OpenCV's resize does by itself, and aliases.

    Raises:
        ConfigError: When originals are kept and there is no size to make of them for the network.
    """
    if keep == "original" and size is None:
        fix = "give a size, or use preprocessing=none for images that all have one size"
        raise ConfigError(problem("preprocessing.size", "is needed to make batches of originals", fix=fix))
    if isinstance(size, list) and len(size) != 2:
        raise ConfigError(
            problem("preprocessing.size", "must be height and width", got=size, fix="for example [96, 128]")
        )
    sides = (size[0], size[1]) if isinstance(size, list) else size
    # A list of two equal sides is the square of that side, so that both share a cache.
    sides = sides[0] if isinstance(sides, tuple) and sides[0] == sides[1] else sides
    steps = BeforeResize(before) if before else None
    return Preprocessing(id, channels, sides, resize, keep, max_side, interpolation, before=steps)


def resized(pixels: Pixels, height: int, width: int, interpolation: Interpolation = "bilinear") -> Pixels:
    """Resize with one of Pillow's filters, whose support grows with the reduction, so that shrinking does not alias.

    `linear` is OpenCV's, whose support does not grow.

    Args:
        pixels: Shape (height, width, channels), uint8, uint16 or float32.
        height: The new height.
        width: The new width.
        interpolation: The filter.

    Returns:
        Shape (height, width, channels), of the same type.
    """
    if interpolation == "linear":
        return geometry.resized(pixels, width, height)
    method = Image.Resampling[interpolation.upper()]
    if pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return np.asarray(image.resize((width, height), method)).reshape(height, width, -1)
    # Pillow knows no other kinds with several channels, and would weigh colours by a fourth one.
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), method))
        for plane in np.moveaxis(pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32), 2, 0)
    ]
    changed = np.stack(planes, axis=2)
    if pixels.dtype != np.uint16:
        return changed
    # Sharp filters overshoot, and what is above white would come out black.
    return np.asarray(np.clip(np.rint(changed), 0, 65535), np.uint16)


class BeforeResize:
    """Steps over one image; what is random in them is drawn from the image's own pixels, so that it is always the same.

    Args:
        components: What makes each step, with `target`, `params` and `build()`.
    """

    def __init__(self, components: Sequence[Any]) -> None:
        self._components = tuple(components)
        self._local = threading.local()

    def __reduce__(self) -> tuple[Any, ...]:
        return BeforeResize, (self._components,)

    def __call__(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An image of shape (height, width, channels), changed.

        Raises:
            DataError: When a step cannot take it.
        """
        # Transforms of libraries keep generators, and images are decoded in several threads.
        if not hasattr(self._local, "steps"):
            self._local.steps = [libraries.adapt(component.build()) for component in self._components]
        steps: list[Step] = self._local.steps
        content = np.ascontiguousarray(pixels)
        seed = np.frombuffer(hashlib.blake2b(content.tobytes(), digest_size=8).digest(), np.uint64)
        changed: npt.NDArray[Any] = samples.apply(steps, content[np.newaxis], seed)[0]
        return changed

    def key(self) -> list[dict[str, Any]]:
        """Parameters that decide how images are changed, for the cache's hash; with the file of a step of the user's own."""
        return [
            {"target": component.identity, **component.params, **_own_code(component)} for component in self._components
        ]


def _own_code(component: Any) -> dict[str, str]:
    """The hash of the file that a step of the user's own is written in: another text may be another step.

    A package may only name what another file of it has: then of both.
    """
    if not component.is_users:
        return {}
    defined = getattr(component.load(), "__module__", None)
    modules = [sys.modules.get(name) for name in dict.fromkeys([component.target.rpartition(".")[0], defined]) if name]
    digests = [files.digest_file(Path(module.__file__)) for module in modules if module and module.__file__]
    return {"code": "-".join(digests)} if digests else {}
