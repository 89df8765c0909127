"""Images with boxes, listed by a COCO JSON file or a table; every box records its place in the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mlpipe import files
from mlpipe.data import spelling, visible_files
from mlpipe.data.sources.error_lists import Faults, raise_kinds
from mlpipe.data.sources.listings import table_files
from mlpipe.data.sources.listings.table_files import Table
from mlpipe.data.sources.listings.table_rows import group_hint, other_columns
from mlpipe.data.sources.targets.missing_labels import Missing
from mlpipe.data.sources.targets.table_targets import number
from mlpipe.data.spelling import plain
from mlpipe.data.task import Part
from mlpipe.errors import DataError, counted, listing, problem

_PATHS = ("path", "file", "filename", "file_name", "image", "image_path", "image_id")
_LABELS = ("class", "label", "name", "category", "target")
# Larger than any pixel coordinate or file size; larger numbers would not fit a C integer.
_MOST = 1e15
_SIDES = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"))


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
        boxes: Its boxes; None: unlabelled.
        part: Its part.
        file: The file that lists its boxes.
        size: Width and height in that file, to be compared with the image's; None: not given.
        group: Images of one group are never split.
        weight: Its weight in the loss.
        fold: The fold that it came with; -1: none.
        is_relative: Whether corners are shares of the image's width and height.
    """

    path: Path
    boxes: list[Box] | None
    part: Part
    file: Path
    size: tuple[int, int] | None = None
    group: str = ""
    weight: float = 1.0
    fold: int = -1
    is_relative: bool = False


@dataclass(frozen=True)
class BoxedImages:
    """Images with boxes from one format.

    Attributes:
        images: The images.
        classes: The class names in the order of the file; None: it has none, they are sorted by name.
        notes: Notes for the user.
    """

    images: list[BoxedImage]
    classes: list[str] | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Columns:
    """Columns of a table of boxes; None: the usual names.

    Attributes:
        path: The column of paths.
        sides: The columns of the left, upper, right and lower edges.
        label: The column of classes.
    """

    path: str | None = None
    sides: Sequence[str] | None = None
    label: str | None = None


def joined(parts: Sequence[BoxedImages]) -> BoxedImages:
    """Return the images of several files; classes are in the order of the first file that names them."""
    classes = list(dict.fromkeys(name for part in parts for name in part.classes or ()))
    has_names = any(part.classes is not None for part in parts)
    images = [image for part in parts for image in part.images]
    return BoxedImages(images, classes if has_names else None, [note for part in parts for note in part.notes])


def coco(file: Path, base: Path, part: Part, key: str = "task.file") -> BoxedImages:
    """Return the images and boxes of a COCO JSON file; regions of many objects (`iscrowd`) are left out.

    Args:
        file: The JSON file.
        base: The folder of images; names are relative to it, or to the folder in it that has most of them.
        part: The part of all images.
        key: The configuration key that named the file, for error messages.

    Raises:
        DataError: With a sentence for each invalid image and annotation.
    """
    content = _json(file, key)
    names, alike = _categories(content, file)
    listed = _coco_images(content, file)
    wrong = list[str]()
    boxes: dict[Any, list[Box]] = {number: [] for number in listed}
    crowds = 0
    for place, annotation in enumerate(content.get("annotations") or ()):
        where = f"{file.name} annotation {_id_or_place(annotation, place)}"
        if fault := _coco_fault(annotation, listed, names):
            reason, got, fix = fault
            wrong.append(problem(where, reason, got=got, fix=fix))
        elif annotation.get("iscrowd"):
            crowds += 1
        else:
            x, y, width, height = (float(value) for value in annotation["bbox"])
            boxes[annotation["image_id"]].append(
                Box(names[annotation["category_id"]], (x, y, x + width, y + height), where)
            )
    raise_kinds(wrong)
    folder = _folder_of(base, [name for name, _ in listed.values()], file)
    notes = [f"{file.name}: {counted(crowds, 'region')} of many objects (iscrowd) left out"] if crowds else []
    notes += [f"{file.name}: categories of one name are one class: {listing(alike)}"] if alike else []
    images = [
        BoxedImage(folder / name, boxes[number], part, file, size=size) for number, (name, size) in listed.items()
    ]
    return BoxedImages(images, list(dict.fromkeys(names.values())), notes)


def table(file: Path, base: Path, columns: Columns, missing: Missing) -> BoxedImages:
    """Return the images and boxes of a table with one row per box: path, x0, y0, x1, y1 in pixels, and class.

    An image without objects has one row with empty cells for box and class. Columns `split`, `fold`, `group` and `weight`
    are used if they exist, and must agree in all rows of an image.

    Args:
        file: A .csv, .tsv or .parquet file.
        base: The folder that paths are relative to.
        columns: The columns; None for each: the usual names.
        missing: The cells that mean "no value".

    Raises:
        DataError: With a sentence for each faulty cell, naming its line and column.
    """
    cells, faults = table_files.read(file), Faults()
    path, sides, label = _columns(cells, columns, faults)
    faults.tell()
    faults.add(cells.torn)
    optional = {key: key if cells.has(key) else None for key in ("split", "fold", "group", "weight")}
    extras = other_columns(cells, optional, missing, faults)
    rows: dict[str, list[int]] = {}
    for index, text in enumerate(cells.stored(path)):
        rows.setdefault(plain(text), []).append(index)
    faults.add(
        [problem(cells.where(index, path), "is empty", fix="write the image's path") for index in rows.pop("", [])]
    )
    boxes = _table_boxes(cells, sides, label, missing, faults)
    faults.add(_disagreements(cells, rows, optional))
    faults.tell()
    find, images = spelling.finder(), []
    for indices in rows.values():
        first = indices[0]
        part: Part = extras.parts[first] or "train"
        own = [boxes[index] for index in indices]
        known_boxes = None if part == "unlabelled" else [box for box in own if box is not None]
        place = find(base, cells.stored(path)[first])
        images.append(
            BoxedImage(
                place, known_boxes, part, file, None, extras.groups[first], extras.weight(first), extras.fold(first)
            )
        )
    hint = (
        []
        if optional["group"]
        else group_hint(cells, (path, *sides, label), "renaming it to group keeps them together")
    )
    return BoxedImages(images, notes=[*extras.notes, *hint])


def _columns(cells: Table, columns: Columns, faults: Faults) -> tuple[str, Sequence[str], str]:
    """Return the columns of paths, of the four edges, and of classes; add missing columns to `faults`."""
    for key, column in (("path", columns.path), ("target", columns.label)):
        if column is not None:
            faults.of(partial(cells.require, column, f"task.{key}"), None)
    if columns.sides is not None and len(columns.sides) != 4:
        faults.add([problem("task.corners", "must name four columns", got=columns.sides, fix="x0, y0, x1 and y1")])
    for column in columns.sides or ():
        faults.of(partial(cells.require, column, "task.corners"), None)
    path = columns.path or next((name for name in _PATHS if name in cells.names), None)
    label = columns.label or next((name for name in _LABELS if name in cells.names), None)
    sides = columns.sides or next((four for four in _SIDES if all(name in cells.names for name in four)), None)
    for choice, noun, key in ((path, "paths", "path"), (sides, "corners", "corners"), (label, "classes", "target")):
        if choice is None:
            fix = f"name {'them' if key == 'corners' else 'it'} with task.{key}; {cells.there}"
            faults.add([problem(str(cells.path), f"has no column of {noun}", fix=fix)])
    return plain(path or ""), [plain(side) for side in sides or ()], plain(label or "")


def _table_boxes(cells: Table, sides: Sequence[str], label: str, missing: Missing, faults: Faults) -> list[Box | None]:
    """Return the box of each row; None if all its cells are empty, or one is wrong, which is added to `faults`."""
    boxes: list[Box | None] = []
    wrong: list[str] = []
    columns = [cells.numerals(name) for name in sides]
    for index, name in enumerate(cells.column(label)):
        texts = [column[index] for column in columns]
        has_label = not missing.means(name)
        values = [number(text) for text in texts]
        is_box = has_label and None not in values
        if is_box:
            x0, y0, x1, y1 = (value or 0.0 for value in values)
            boxes.append(Box(name, (x0, y0, x1, y1), cells.where(index, sides[0])))
            continue
        boxes.append(None)
        if has_label or not all(missing.means(text) for text in texts):
            odd = next((place for place, value in enumerate(values) if value is None), None)
            where = cells.where(index, label if odd is None else sides[odd])
            reason = "is empty, and the row has a box" if odd is None else "is no number"
            fix = "leave all cells of box and class empty where an image has no object"
            wrong.append(problem(where, reason, got=name if odd is None else texts[odd], fix=fix))
    if doubt := missing.problem(f"{cells.path.name}, column {label}", [box.label for box in boxes if box is not None]):
        wrong.append(doubt)
    faults.add(wrong)
    return boxes


def _disagreements(cells: Table, rows: Mapping[str, Sequence[int]], optional: Mapping[str, str | None]) -> list[str]:
    """Return a sentence for each row that disagrees with the first row of its image."""
    wrong = []
    for column in (name for name in optional.values() if name is not None):
        texts = cells.column(column)
        for first, *others in rows.values():
            for index in others:
                if texts[index] != texts[first]:
                    reason = f"differs from {cells.where(first, column)}, which is of the same image"
                    wrong.append(problem(cells.where(index, column), reason, got=texts[index], fix="write the same"))
    return wrong


def _folder_of(base: Path, names: Sequence[str], file: Path) -> Path:
    """Return the folder that names are relative to: `base`, or a folder in it that has more of the first hundred files.

    Of two equal ones, the one named in the name of the box file is taken, as in `instances_val2017.json`.
    """
    folders: list[Path] = [base, *(visible_files.folders(base) if base.is_dir() else ())]

    def fit(folder: Path) -> tuple[int, bool]:
        return sum(is_file(folder / name) for name in names[:100]), folder.name in file.stem

    return max(folders, key=fit)


def is_file(path: Path) -> bool:
    """Return whether a file exists; a name that is not possible, for example too long, does not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _json(file: Path, key: str) -> dict[str, Any]:
    try:
        content = files.read_json(file)
    except (OSError, ValueError) as error:
        raise DataError(problem(key, f"{file} cannot be read ({error})", fix="repair it")) from error
    keys = ("annotations", "categories")
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("images"), list)
        or not all(isinstance(content.get(part) or [], list) for part in keys)
    ):
        fix = "give a file with lists of images, annotations and categories"
        raise DataError(problem(key, "is no COCO file", got=str(file), fix=fix))
    return content


def _categories(content: dict[str, Any], file: Path) -> tuple[dict[Any, str], list[str]]:
    """Return the name of each category by its id, in the order of ids, and the names that several have."""
    names: dict[Any, str] = {}
    for place, category in enumerate(content.get("categories") or ()):
        name = plain(category["name"]) if isinstance(category, dict) and isinstance(category.get("name"), str) else ""
        if not name or not _is_id(category.get("id")):
            raise DataError(problem(f"{file.name} category {place}", "has no id or no name", fix="correct it"))
        if names.setdefault(category["id"], name) != name:
            reason = f"comes twice, as {names[category['id']]} and as {name}"
            fix = "give each category its own id"
            raise DataError(problem(f"{file.name} category {category['id']}", reason, fix=fix))
    alike = [name for name, count in Counter(names.values()).items() if count > 1]
    # Numbers before texts, because these cannot be compared.
    return dict(sorted(names.items(), key=lambda pair: (isinstance(pair[0], str), pair[0]))), alike


def _coco_images(content: dict[str, Any], file: Path) -> dict[Any, tuple[str, tuple[int, int] | None]]:
    """Return name and size of each image by its id.

    Raises:
        DataError: With a sentence for each invalid one, because its annotations would have no image.
    """
    entries: dict[Any, tuple[str, tuple[int, int] | None]] = {}
    wrong = []
    for place, image in enumerate(content["images"]):
        where = f"{file.name} image {_id_or_place(image, place)}"
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str) or not _is_id(image.get("id")):
            wrong.append(problem(where, "has no id or no file_name", fix="correct it"))
        elif image["id"] in entries:
            wrong.append(problem(where, "comes twice", fix="give each image its own id"))
        elif image["file_name"].startswith("/") or ".." in Path(image["file_name"]).parts:
            fix = "write paths below the folder of images (task.root)"
            wrong.append(problem(where, "lies outside of the folder", got=image["file_name"], fix=fix))
        elif odd := [
            side for side in (image.get("width"), image.get("height")) if side is not None and not _is_number(side)
        ]:
            wrong.append(problem(where, "has a width or height that is no number", got=odd[0], fix="correct it"))
        else:
            wide, high = image.get("width"), image.get("height")
            entries[image["id"]] = (
                image["file_name"],
                None if wide is None or high is None else (int(wide), int(high)),
            )
    raise_kinds(wrong)
    return entries


def _coco_fault(annotation: Any, listed: dict[Any, Any], names: dict[Any, str]) -> tuple[str, Any, str] | None:
    """Return what is wrong with an annotation, the wrong value, and what to do; None: nothing."""
    if not isinstance(annotation, dict):
        return "is no mapping", annotation, "correct it"
    if not _is_id(annotation.get("image_id")) or annotation["image_id"] not in listed:
        return (
            "is of an image that is not listed",
            annotation.get("image_id"),
            "add the image, or remove the annotation",
        )
    if not _is_id(annotation.get("category_id")) or annotation["category_id"] not in names:
        return "is of a category that is not listed", annotation.get("category_id"), "add the category"
    if not _is_box(annotation.get("bbox")):
        return "has no bbox of x, y, width, height", annotation.get("bbox"), "correct it"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MOST


def _is_id(value: Any) -> bool:
    """Return whether a value is a number, as in COCO's own files, or a text, as other programs write."""
    return _is_number(value) or (isinstance(value, str) and value != "")


def _id_or_place(entry: Any, place: int) -> Any:
    """Return the id of an image or annotation, for error messages, or its position if it has none."""
    return entry["id"] if isinstance(entry, dict) and _is_id(entry.get("id")) else place


def _is_box(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 4 and all(_is_number(item) for item in value)
