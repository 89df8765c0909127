"""Image-valued targets: their files or arrays, their pixels, and a separate task for the cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.decoding.value_rules import PLAIN, Decoding
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.task import Dtype, Task
from mlpipe.errors import ConfigError, problem

# The ratio of targets' height and width to those of their images.
Scale = tuple[Fraction, Fraction]
SAME: Scale = (Fraction(1), Fraction(1))
_NAMES: Mapping[int, tuple[str, ...]] = {
    1: ("grey",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "opacity"),
}  # fmt: skip


def names_of(channels: int, *, of_files: bool = True) -> list[str]:
    """Return the names of a target's channels; those of arrays are numbers."""
    if of_files and channels in _NAMES:
        return list(_NAMES[channels])
    return [f"channel {number}" for number in range(channels)]


def described(
    root: Path | None,
    channels: int,
    dtype: Dtype,
    parts: Mapping[str, Path] | None = None,
    scale: Scale = SAME,
    decoding: Decoding = PLAIN,
) -> dict[str, Any]:
    """Return image-valued targets as keys of a task's source.

    Args:
        root: The folder that their paths are relative to; None: each image is its own target.
        channels: The number of channels.
        dtype: The dtype of values.
        parts: For arrays, the file or folder of each part.
        scale: Their size relative to that of their images.
        decoding: The rule by which files become pixels.
    """
    where = {part: str(path) for part, path in (parts or {}).items()}
    sizes = {} if scale == SAME else {"scale": [str(factor) for factor in scale]}
    return {
        "root": None if root is None else str(root),
        "channels": channels,
        "dtype": dtype,
        **where,
        **sizes,
        **decoding.as_plain(),
    }


def scale_of(task: Task) -> Scale:
    """Return the scale of a task's targets, relative to the height and width of its images; 1 for any other task."""
    high, wide = (task.bases or (task,))[0].source.get("targets", {}).get("scale", ("1", "1"))
    return Fraction(high), Fraction(wide)


def common_scale(sizes: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> Scale:
    """Return the scale that most targets have.

    Args:
        sizes: Height and width of each target, and of its image.
    """
    counted = Counter(_scale(*pair) for pair in sizes)
    return counted.most_common(1)[0][0] if counted else SAME


def has_scale(target: tuple[int, int], image: tuple[int, int], scale: Scale) -> bool:
    """Return whether a target has this scale relative to its image."""
    return _scale(target, image) == scale


def in_words(scale: Scale) -> str:
    """Return advice for a target whose scale differs from the others'."""
    if scale == SAME:
        return "make them of one size"
    return f"make it {scale[0]} times as high and {scale[1]} times as wide, as others are"


def _scale(target: tuple[int, int], image: tuple[int, int]) -> Scale:
    return Fraction(target[0], image[0]), Fraction(target[1], image[1])


def are_own(task: Task) -> bool:
    """Return whether the images of a task are their own targets."""
    return "targets" in task.source and task.source["targets"]["root"] is None


def are_bytes(task: Task) -> bool:
    """Return whether the target images of a task have 8 bits; False for any other task."""
    return bool((task.bases or (task,))[0].source.get("targets", {}).get("dtype") == "uint8")


def task_of(images_task: Task) -> Task:
    """Return the targets of a task's images as a separate task, to be cached like the images.

    Args:
        images_task: A task with targets in files.
    """
    description = images_task.source["targets"]
    samples = replace(images_task.samples, digests=tuple(digest for _, digest in images_task.samples.masks))
    source = {"images": images_task, **Decoding.of(description).as_plain()}
    return replace(
        images_task,
        channels=description["channels"],
        dtype=description["dtype"],
        source=source,
        samples=samples,
        notes=(),
    )


def preprocessing_of(of_images: Preprocessing, channels: int, scale: Scale = SAME) -> Preprocessing:
    """Return the preprocessing of targets that fits that of their images.

    Args:
        of_images: The preprocessing of the images.
        channels: The number of channels of targets.
        scale: Their size relative to that of their images.

    Raises:
        ConfigError: For transforms before the resize, which would only change images; for image sizes that give
            targets no valid size, and for ways to resize that would shift targets against their images.
    """
    if of_images.before is not None:
        fix = "use augmentations.cpu.pipeline, which moves images and targets together"
        raise ConfigError(problem("preprocessing.before", "changes no targets", fix=fix))
    alike = replace(of_images, id=f"{of_images.id}-targets", channels=channels)
    if scale == SAME:
        return alike
    if of_images.sides is not None and of_images.resize != "squash":
        wrong = "would put targets of another size beside their images"
        raise ConfigError(problem("preprocessing.resize", wrong, got=of_images.resize, fix="use squash"))
    if of_images.max_side is not None and scale[0] != scale[1]:
        wrong = "reduces images and targets of another shape differently"
        raise ConfigError(problem("preprocessing.max_side", wrong, got=of_images.max_side, fix="set it to null"))
    if of_images.max_side is not None:
        alike = replace(alike, max_side=max(1, round(of_images.max_side * scale[0])))
    if of_images.sides is None:
        return alike
    high, wide = (side * factor for side, factor in zip(of_images.sides, scale, strict=True))
    if high.denominator != 1 or wide.denominator != 1:
        wrong = f"gives targets of {high} x {wide} pixels, {scale[0]} times as high and {scale[1]} times as wide"
        fix = "choose one that gives whole numbers"
        raise ConfigError(problem("preprocessing.size", wrong, got=list(of_images.sides), fix=fix))
    return replace(alike, size=(int(high), int(wide)) if high != wide else int(high))


def encoded(pixels: npt.NDArray[Any]) -> bytes:
    """Return a PNG of 8 or 16 bit.

    Args:
        pixels: Shape (height, width, 1, 3 or 4), uint8 or uint16, in RGB order.
    """
    import cv2

    # OpenCV uses BGR order.
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    _, content = cv2.imencode(".png", np.ascontiguousarray(pixels[:, :, order]))
    return content.tobytes()
