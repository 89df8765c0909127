"""Images and the boxes in them, as COCO JSON lists them; every box knows its place in the file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mlpipe import files
from mlpipe.data.sources.error_lists import raise_kinds
from mlpipe.data.spelling import plain
from mlpipe.data.task import Part
from mlpipe.errors import DataError, counted, problem


class Box(NamedTuple):
    """One box.

    Attributes:
        label: Its class.
        corners: x0, y0, x1, y1 in pixels, or as shares of the image's width and height.
        where: Its place in the file.
    """

    label: str
    corners: tuple[float, float, float, float]
    where: str


@dataclass(frozen=True)
class BoxedImage:
    """An image and its boxes.

    Attributes:
        path: The image's file.
        boxes: Its boxes; None: nobody looked for objects in it.
        part: The part that it came in.
        file: The file that says its boxes.
        is_relative: Whether corners are shares of the image's width and height.
        size: Width and height as the file says them, to be compared with the image's; None: it does not.
        group: Images of one group are never split.
        weight: How much it counts in the loss.
        fold: The fold that it came with; -1: none.
    """

    path: Path
    boxes: list[Box] | None
    part: Part
    file: Path
    is_relative: bool = False
    size: tuple[int, int] | None = None
    group: str = ""
    weight: float = 1.0
    fold: int = -1


@dataclass(frozen=True)
class BoxedImages:
    """Images with boxes, as one format lists them.

    Attributes:
        images: Them.
        classes: The names of classes in the order of the file; None: it has none, they are sorted by name.
        notes: What a person should know.
    """

    images: list[BoxedImage]
    classes: list[str] | None = None
    notes: list[str] = field(default_factory=list)


def coco(file: Path, images: Path, part: Part, key: str = "task.file") -> BoxedImages:
    """The images and boxes of a COCO JSON file; regions of many objects (`iscrowd`) are left out.

    Args:
        file: The JSON file.
        images: The folder that names of images are taken from.
        part: The part of all of them.
        key: The key that named the file, for sentences.

    Raises:
        DataError: With a sentence for each image and each annotation that is none.
    """
    content = _json(file, key)
    names = _categories(content, file)
    listed, wrong = _coco_images(content, file, images)
    found: dict[Any, list[Box]] = {number: [] for number in listed}
    crowds = 0
    for place, one in enumerate(content.get("annotations") or ()):
        where = f"{file.name} annotation {one.get('id', place) if isinstance(one, dict) else place}"
        fault = _coco_fault(one, listed, names)
        if fault:
            wrong.append(problem(where, *fault[:1], got=fault[1], fix=fault[2]))
        elif one.get("iscrowd"):
            crowds += 1
        else:
            x, y, width, height = (float(value) for value in one["bbox"])
            found[one["image_id"]].append(Box(names[one["category_id"]], (x, y, x + width, y + height), where))
    raise_kinds(wrong)
    notes = [f"{file.name}: {counted(crowds, 'region')} of many objects (iscrowd) left out"] if crowds else []
    made = [BoxedImage(path, found[number], part, file, size=size) for number, (path, size) in listed.items()]
    return BoxedImages(made, list(dict.fromkeys(names.values())), notes)


def _json(file: Path, key: str) -> dict[str, Any]:
    try:
        content = files.read_json(file)
    except (OSError, ValueError) as error:
        raise DataError(problem(key, f"{file} cannot be read ({error})", fix="repair it")) from error
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        fix = "give a file with images, annotations and categories"
        raise DataError(problem(key, "is no COCO file", got=str(file), fix=fix))
    return content


def _categories(content: dict[str, Any], file: Path) -> dict[Any, str]:
    """The name of each category by its number."""
    names: dict[Any, str] = {}
    for place, one in enumerate(content.get("categories") or ()):
        if not isinstance(one, dict) or not isinstance(one.get("name"), str) or not _is_number(one.get("id")):
            raise DataError(problem(f"{file.name} category {place}", "has no id or no name", fix="correct it"))
        names[one["id"]] = plain(one["name"])
    return dict(sorted(names.items()))


def _coco_images(
    content: dict[str, Any], file: Path, folder: Path
) -> tuple[dict[Any, tuple[Path, tuple[int, int] | None]], list[str]]:
    found: dict[Any, tuple[Path, tuple[int, int] | None]] = {}
    wrong = []
    for place, one in enumerate(content["images"]):
        where = f"{file.name} image {one.get('id', place) if isinstance(one, dict) else place}"
        if not isinstance(one, dict) or not isinstance(one.get("file_name"), str) or not _is_number(one.get("id")):
            wrong.append(problem(where, "has no id or no file_name", fix="correct it"))
        elif one["id"] in found:
            wrong.append(problem(where, "comes twice", fix="give each image its own id"))
        else:
            sides = one.get("width"), one.get("height")
            size = (int(sides[0]), int(sides[1])) if all(_is_number(side) for side in sides) else None
            found[one["id"]] = (folder / one["file_name"], size)
    return found, wrong


def _coco_fault(one: Any, listed: dict[Any, Any], names: dict[Any, str]) -> tuple[str, Any, str] | None:
    """What is wrong with an annotation, what it has, and what to do; None: nothing."""
    if not isinstance(one, dict):
        return "is no mapping", one, "correct it"
    if not _is_number(one.get("image_id")) or one["image_id"] not in listed:
        return "is of an image that is not listed", one.get("image_id"), "add the image, or remove the annotation"
    if not _is_number(one.get("category_id")) or one["category_id"] not in names:
        return "is of a category that is not listed", one.get("category_id"), "add the category"
    if not _is_box(one.get("bbox")):
        return "has no bbox of x, y, width, height", one.get("bbox"), "correct it"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_box(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 4 and all(_is_number(one) for one in value)
