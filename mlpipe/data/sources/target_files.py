"""Targets that are images: which files or arrays they are, and their pixels again, as a task for a cache of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.task import Dtype, Task
from mlpipe.errors import ConfigError, problem

TYPE = "target_files"
_NAMES: Mapping[int, tuple[str, ...]] = {
    1: ("grey",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "opacity"),
}  # fmt: skip


def names_of(channels: int, *, of_files: bool = True) -> list[str]:
    """What the channels of a target are called; those of arrays by their numbers."""
    if of_files and channels in _NAMES:
        return list(_NAMES[channels])
    return [f"channel {number}" for number in range(channels)]


def described(
    root: Path | None, channels: int, dtype: Dtype, parts: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """What a task's source says of its targets.

    Args:
        root: The folder that their paths begin in; None: each image is its own target.
        channels: How many channels they have.
        dtype: How their values are kept.
        parts: For arrays the file or folder of each part.
    """
    where = {part: str(path) for part, path in (parts or {}).items()}
    return {"root": None if root is None else str(root), "channels": channels, "dtype": dtype, **where}


def are_own(of: Task) -> bool:
    """Whether the images of a task are their own targets."""
    return "targets" in of.source and of.source["targets"]["root"] is None


def task_of(images_task: Task) -> Task:
    """The targets of a task's images as a task of their own, for a cache like the images'.

    Args:
        images_task: The task; one with targets in files.
    """
    given = images_task.source["targets"]
    samples = replace(images_task.samples, digests=tuple(digest for _, digest in images_task.samples.masks))
    source = {"type": TYPE, "images": images_task}
    return replace(
        images_task, channels=given["channels"], dtype=given["dtype"], source=source, samples=samples, notes=()
    )


def preprocessing_of(of_images: Preprocessing, channels: int) -> Preprocessing:
    """What happens to targets where this happens to images.

    Args:
        of_images: The images' own.
        channels: How many channels targets have.

    Raises:
        ConfigError: For transforms before the resize, which would change images alone.
    """
    if of_images.before is not None:
        fix = "use augmentations.cpu.pipeline, which moves images and targets together"
        raise ConfigError(problem("preprocessing.before", "changes no targets", fix=fix))
    return replace(of_images, id=f"{of_images.id}-targets", channels=channels)


def encoded(pixels: npt.NDArray[Any]) -> bytes:
    """A PNG of 8 or 16 bit.

    Args:
        pixels: Shape (height, width, 1, 3 or 4), uint8 or uint16; colours are red, green, blue.
    """
    import cv2

    # OpenCV has blue first.
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    _, content = cv2.imencode(".png", np.ascontiguousarray(pixels[:, :, order]))
    return content.tobytes()
