"""Task from images with boxes: boxes are checked against the images and the classes, and clipped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data import task
from mlpipe.data.sources.error_lists import raise_kinds
from mlpipe.data.sources.listings import file_headers, pixel_rules
from mlpipe.data.sources.listings.box_files import BoxedImage, BoxedImages
from mlpipe.data.sources.listings.file_headers import Look
from mlpipe.data.sources.listings.pixel_rules import PixelSettings
from mlpipe.data.sources.listings.table_rows import relative
from mlpipe.data.sources.targets import boxes
from mlpipe.data.task import Row, Task
from mlpipe.errors import problem


def task_of(
    found: BoxedImages,
    base: Path,
    title: str,
    source: Mapping[str, Any],
    settings: PixelSettings,
    *,
    data_dir: str | None = None,
) -> Task:
    """The task of images with boxes, before it has its final name.

    Args:
        found: The images.
        base: The folder that ids are paths from.
        title: The task's name.
        source: How its images are found again.
        settings: How they are read.
        data_dir: Where what was seen of files is remembered; None: it is not.

    Raises:
        DataError: With a sentence for each image that is not there and each box that cannot be one.
    """
    images = sorted(found.images, key=lambda one: relative(one.path, base))
    paths = [one.path for one in images]
    raise_kinds(
        [
            problem(one.file.name, "there is no such image", got=str(one.path), fix="correct the path")
            for one in images
            if not one.path.is_file()
        ]
    )
    looks = file_headers.look(paths, file_headers.memory_file(data_dir, base))
    classes = found.classes or sorted({box.label for one in images for box in one.boxes or ()})
    number = {name: place for place, name in enumerate(classes)}
    of_images = [_boxes_of(one, look, number) for one, look in zip(images, looks, strict=True)]
    pixels = pixel_rules.format_of(paths, looks, settings)
    rows = [_row(one, own, look, base, len(classes)) for one, own, look in zip(images, of_images, looks, strict=True)]
    sizes = [(look.width, look.height) for look in looks]
    return task.make(
        title,
        classes,
        rows,
        kind="detection",
        channels=pixels.channels,
        dtype=pixels.dtype,
        source={**source, **pixels.source, "boxes": boxes.described(of_images, sizes)},
        notes=[*found.notes, *pixels.notes],
    )


def _boxes_of(image: BoxedImage, look: Look, number: Mapping[str, int]) -> npt.NDArray[np.float64] | None:
    if image.boxes is None:
        return None
    found = np.array([(*box.corners, number[box.label]) for box in image.boxes], np.float64)
    found = found.reshape(-1, boxes.COLUMNS)
    return found


def _row(image: BoxedImage, own: npt.NDArray[np.float64] | None, look: Look, base: Path, classes: int) -> Row:
    name = relative(image.path, base)
    if own is None:
        return Row(name, "unlabelled", (float("nan"),) * classes, look.digest, image.group, image.weight)
    return Row(
        name, image.part, boxes.counts(own, classes), look.digest, image.group, image.weight, image.fold,
        mask=(image.file.name, boxes.digest_of(own)),
    )  # fmt: skip
