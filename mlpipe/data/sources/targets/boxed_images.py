"""Task of images with boxes: boxes are checked against their images and the classes, and clipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import limits
from mlpipe.data import task
from mlpipe.data.sources.error_lists import advice, raise_kinds
from mlpipe.data.sources.listings import file_headers, pixel_rules
from mlpipe.data.sources.listings.box_files import Box, BoxedImage, BoxedImages, is_file
from mlpipe.data.sources.listings.file_headers import Look
from mlpipe.data.sources.listings.path_groups import groups_of
from mlpipe.data.sources.listings.pixel_rules import PixelSettings
from mlpipe.data.sources.listings.table_rows import relative
from mlpipe.data.sources.targets import boxes
from mlpipe.data.spelling import plain_all
from mlpipe.data.task import Row, Task
from mlpipe.errors import DataError, counted, listing, problem


def task_of(
    boxed_images: BoxedImages,
    base: Path,
    title: str,
    source: Mapping[str, Any],
    settings: PixelSettings,
    *,
    classes: Sequence[str] | None = None,
    group: str | None = None,
    data_dir: str | None = None,
) -> Task:
    """Return the task of images with boxes, before it has its final name.

    Boxes are clipped to their images. Boxes without width or height, and duplicates, are left out and counted in a note.

    Args:
        boxed_images: The images.
        base: The folder that ids are relative to.
        title: The task's name.
        source: The entries of the task's source for finding its images again.
        settings: How images are read.
        classes: The class names; None: those of the file, or of the boxes of training images, sorted.
        group: As for `boxes`.
        data_dir: The folder for cached facts about files; None: they are not kept.

    Raises:
        DataError: With a sentence for each missing image and each invalid box.
    """
    images = sorted(boxed_images.images, key=lambda entry: relative(entry.path, base))
    names, paths = [relative(entry.path, base) for entry in images], [entry.path for entry in images]
    raise_kinds(_missing_image_problems(images), _duplicate_problems(images, names))
    looks = file_headers.look(paths, file_headers.memory_file(data_dir, base))
    known = _classes(images, plain_all(classes) or boxed_images.classes)
    checked = _Checked(known)
    of_images = [checked.boxes_of(image, look) for image, look in zip(images, looks, strict=True)]
    raise_kinds(*checked.wrong.values())
    if not any(len(own) for own in of_images if own is not None):
        raise DataError(problem("task", "has no box at all", fix="give files with boxes"))
    _refuse_shares(images, of_images)
    pixels = pixel_rules.format_of(paths, looks, settings)
    groups, of_groups = [image.group for image in images], list[str]()
    if group is not None:
        groups, of_groups = groups_of(names, group, [image.part for image in images])
    rows = [
        _row(*parts, len(known))
        for parts in zip(images, of_images, names, [look.digest for look in looks], groups, strict=True)
    ]
    return task.make(
        title,
        known,
        rows,
        kind="detection",
        channels=pixels.channels,
        dtype=pixels.dtype,
        source={
            **source,
            **pixels.source,
            "boxes": boxes.described(of_images, [(look.width, look.height) for look in looks]),
        },
        notes=[*_notes(of_images, known), *checked.notes(), *boxed_images.notes, *of_groups, *pixels.notes],
    )


def _refuse_shares(images: Sequence[BoxedImage], of_images: Sequence[npt.NDArray[np.float64] | None]) -> None:
    """Refuse relative corners where pixels are expected."""
    box_arrays = [own for own in of_images if own is not None and len(own)]
    if any(image.is_relative for image in images) or max(own[:, :4].max() for own in box_arrays) > 1:
        return
    image = next(image for image, own in zip(images, of_images, strict=True) if own is box_arrays[0])
    fault = "every box lies in the first pixel of its image, as if corners were shares of its width and height"
    fix = "multiply them by width and height: corners are pixels"
    raise DataError(problem(image.file.name, fault, got=box_arrays[0][0, :4].tolist(), fix=fix))


def _missing_image_problems(images: Sequence[BoxedImage]) -> list[str]:
    fix = "correct the path, or name the folder of images with task.root"
    return [
        problem(image.file.name, "there is no such image", got=str(image.path), fix=fix)
        for image in images
        if not is_file(image.path)
    ]


def _duplicate_problems(images: Sequence[BoxedImage], names: Sequence[str]) -> list[str]:
    fix = "list each image once"
    first_images: dict[str, BoxedImage] = {}
    wrong = []
    for image, name in zip(images, names, strict=True):
        first = first_images.setdefault(name, image)
        if first is not image:
            places = image.file.name if image.file == first.file else f"{first.file.name} and {image.file.name}"
            wrong.append(problem(places, "lists an image twice", got=name, fix=fix))
    return wrong


def _classes(images: Sequence[BoxedImage], names: Sequence[str] | None) -> list[str]:
    """Return the class names; by default those of training boxes, with numbers in ascending order."""
    if names:
        return list(names)
    labels = {box.label for image in images if image.part == "train" for box in image.boxes or ()}
    are_numbers = all(label.isdecimal() for label in labels)
    return sorted(labels, key=(lambda label: (int(label), label)) if are_numbers else None)


class _Checked:
    """Boxes as numbers, and the faults of invalid ones.

    Args:
        classes: The names of the classes.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._numbers = {name: place for place, name in enumerate(classes)}
        self.wrong: dict[str, list[str]] = {"size": [], "class": [], "box": []}
        self._counts: Counter[str] = Counter()

    def boxes_of(self, image: BoxedImage, look: Look) -> npt.NDArray[np.float64] | None:
        """Return the boxes of an image, shape (boxes, 5), clipped to it; None if it is unlabelled."""
        if image.boxes is None:
            return None
        # Files that are not images are reported when they are decoded.
        size = (look.width, look.height) if look.channels else image.size
        if image.size is not None and size != image.size:
            wide, high = image.size
            fault = f"is of {look.width} x {look.height} pixels, {image.file.name} says {wide} x {high}"
            turned = ", as if it had not been turned upright" if image.size == (look.height, look.width) else ""
            fix = "correct the size, so that boxes lie where they should"
            self.wrong["size"].append(problem(str(image.path), f"{fault}{turned}", fix=fix))
            return None
        if len(image.boxes) > limits.BOXES:
            fault = f"has more than {limits.BOXES:,} boxes"
            fix = "cut it into smaller images: all have room for as many as the one with the most"
            self.wrong["box"].append(problem(str(image.path), fault, got=len(image.boxes), fix=fix))
            return None
        own = [row for box in image.boxes if (row := self._row(box, size, image.is_relative)) is not None]
        unique = list(dict.fromkeys(own))
        self._counts["twice"] += len(own) - len(unique)
        return np.array(unique, np.float64).reshape(-1, boxes.COLUMNS)

    def _row(self, box: Box, size: tuple[int, int] | None, is_relative: bool) -> tuple[float, ...] | None:
        """Return corners in pixels and class number of a box; None: it is left out."""
        number = self._numbers.get(box.label)
        if number is None:
            classes = f"the classes are {listing(self._numbers)}"
            fix = advice(self.wrong["class"], box.label, self._numbers, otherwise=classes)
            self.wrong["class"].append(problem(box.where, "is of an unknown class", got=box.label, fix=fix))
            return None
        wide, high = size or (0, 0)
        x0, y0, x1, y1 = box.corners
        if is_relative:
            x0, y0, x1, y1 = x0 * wide, y0 * high, x1 * wide, y1 * high
        corners = [round(value, 3) for value in (x0, y0, x1, y1)]
        if x1 < x0 or y1 < y0:
            fix = "write x0 < x1 and y0 < y1, with y down"
            self.wrong["box"].append(problem(box.where, "ends before it begins (x0, y0, x1, y1)", got=corners, fix=fix))
            return None
        if size is not None and (x0 >= wide or y0 >= high or x1 <= 0 or y1 <= 0) and x1 > x0 and y1 > y0:
            units = "shares of width and height" if is_relative else "pixels"
            fault = f"lies outside of its image of {wide} x {high} pixels"
            self.wrong["box"].append(problem(box.where, fault, got=corners, fix=f"correct it; numbers are {units}"))
            return None
        inside = (max(x0, 0.0), max(y0, 0.0), min(x1, wide or x1), min(y1, high or y1))
        # More than the rounding of relative corners, or of pixels counted from 1.
        self._counts["clipped"] += max(abs(a - b) for a, b in zip(inside, (x0, y0, x1, y1), strict=True)) > 1
        if inside[2] <= inside[0] or inside[3] <= inside[1]:
            self._counts["empty"] += 1
            return None
        return (*boxes.rounded(inside), float(number))

    def notes(self) -> list[str]:
        """Return notes about what was changed."""
        phrases = {
            "empty": ("box without width or height left out", "boxes without width or height left out"),
            "twice": ("box that is there twice taken once", "boxes that are there twice taken once"),
            "clipped": ("box clipped to its image", "boxes clipped to their images"),
        }
        return [counted(count, *phrases[key]) for key, count in sorted(self._counts.items()) if count]


def _row(
    image: BoxedImage, own: npt.NDArray[np.float64] | None, name: str, digest: str, group: str, classes: int
) -> Row:
    if own is None:
        return Row(name, "unlabelled", (float("nan"),) * classes, digest, group, image.weight)
    of_boxes = (image.file.name, boxes.digest_of(own))
    return Row(
        name, image.part, boxes.counts(own, classes), digest, group, image.weight, image.fold, mask=of_boxes
    )  # fmt: skip


def _notes(of_images: Sequence[npt.NDArray[np.float64] | None], classes: Sequence[str]) -> list[str]:
    known = [own for own in of_images if own is not None]
    numbers = np.concatenate([own[:, boxes.COLUMNS - 1] for own in known]).astype(int)
    counts = np.bincount(numbers, minlength=len(classes)).tolist()
    summary = listing([f"{name} {count}" for name, count in zip(classes, counts, strict=True)], most=20)
    empty = sum(not len(own) for own in known)
    without = f", {counted(empty, 'image has', 'images have')} none" if empty else ""
    notes = [f"{counted(len(numbers), 'box', 'boxes')} in {counted(len(known), 'image')} ({summary}){without}"]
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    return notes + ([f"no box is of {listing(absent)}"] if absent else [])
