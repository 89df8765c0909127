"""Folders of images with one label file each: YOLO text or Pascal VOC XML; every box records its file and line.

Label files have the names of the images, and lie in a folder parallel to that of the images, or beside each image.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from xml.parsers import expat

from mlpipe import files, limits
from mlpipe.data import visible_files
from mlpipe.data.sources.error_lists import raise_kinds
from mlpipe.data.sources.listings.box_files import Box, BoxedImage, BoxedImages
from mlpipe.data.sources.listings.class_folders import PART_FOLDERS
from mlpipe.data.sources.targets.table_targets import number
from mlpipe.data.spelling import plain
from mlpipe.data.task import Part
from mlpipe.errors import DataError, counted, listing, problem

# What images without a label file are; None: an error asks for a choice.
WithoutFile = Literal["nothing", "unlabelled"] | None
# Folder names of images, and the folder names that replace them in the paths of label files.
_BESIDE: Mapping[str, tuple[str, ...]] = {
    "images": ("labels", "annotations"),
    "JPEGImages": ("Annotations", "labels"),
}
_ENDS = (".txt", ".xml")
# The largest label file in bytes, and the deepest nesting of XML elements.
_MOST_BYTES, _DEEPEST = 1 << 26, 64
_MOST_CLASSES = 1_000_000
_NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "classes.names")


def labelled(base: Path, without: WithoutFile) -> BoxedImages:
    """Return the images below a folder, and the boxes in the label file of each.

    An image's part is the first folder in its path that is named after one (train, valid, test, unlabelled), or as
    listed in Pascal VOC's `ImageSets/Main`.

    Args:
        base: The folder.
        without: What images without a label file are, unless they lie in `unlabelled`.

    Raises:
        DataError: With a sentence for each line and element that is not a box, and if it is not stated what images
            without labels are.
    """
    images = visible_files.images_below(base)
    label_files = {image: _labels_of(image, base) for image in images}
    paths = [path for path in label_files.values() if path is not None]
    if not paths:
        fix = "name a COCO JSON file or a table with task.file, or put YOLO text or Pascal VOC XML into a folder labels"
        raise DataError(problem("task.root", "holds no image with a file of labels", got=str(base), fix=fix))
    is_yolo = {path.suffix.lower() for path in paths} == {".txt"}
    if not is_yolo and any(path.suffix.lower() == ".txt" for path in paths):
        raise DataError(problem("task.root", "has labels as text and as XML", got=str(base), fix="keep one of them"))
    names = _class_names(base) if is_yolo else None
    parts, notes = _parts(base, images)
    entries: list[BoxedImage] = []
    wrong: list[str] = []
    lost: list[str] = []
    for image in images:
        part, path = parts.get(image), label_files[image]
        if part is None:
            continue
        if part == "unlabelled" or path is None:
            if part != "unlabelled" and without is None:
                lost.append(image.relative_to(base).as_posix())
            own: list[Box] | None = None if part == "unlabelled" or without != "nothing" else []
            entries.append(BoxedImage(image, own, part if own is not None else "unlabelled", path or image))
            continue
        read = _yolo(path, base, names, wrong) if is_yolo else _voc(path, base, wrong)
        boxes, size = read
        entries.append(BoxedImage(image, boxes, part, path, size, is_relative=is_yolo))
    raise_kinds(wrong, _missing_label_problems(lost))
    return BoxedImages(entries, names, notes)


def _missing_label_problems(lost: Sequence[str]) -> list[str]:
    if not lost:
        return []
    have = counted(len(lost), "image has", "images have")
    fix = "add task.without_file=nothing where they show no object, or task.without_file=unlabelled where nobody looked"
    return [problem("task.without_file", f"{have} no file of labels ({listing(lost, most=3)})", fix=fix)]


def _labels_of(image: Path, base: Path) -> Path | None:
    """Return the label file of an image: in the folder that replaces the folder of images, or beside the image."""
    parts = image.relative_to(base).parts
    # Of several folders of that name, the last one is replaced.
    for place in range(len(parts) - 2, -1, -1):
        for folder in _BESIDE.get(parts[place], ()):
            beside = base.joinpath(*parts[:place], folder, *parts[place + 1 :])
            for end in _ENDS:
                if beside.with_suffix(end).is_file():
                    return beside.with_suffix(end)
    return next((path for end in _ENDS if (path := image.with_suffix(end)).is_file()), None)


def _parts(base: Path, images: Sequence[Path]) -> tuple[dict[Path, Part], list[str]]:
    """Return the part of each image that has one, and notes."""
    lists = {
        name: _text(path, base).split()
        for name in ("trainval", "train", "val", "test")
        if (path := base / "ImageSets" / "Main" / f"{name}.txt").is_file()
    }
    of_names: dict[str, Part] = {}
    for name, own in lists.items():
        # The first list is the union of the next two.
        others = {stem for other in lists if other not in (name, "trainval") for stem in lists[other]}
        if twice := [stem for stem in own if stem in others and name != "trainval"]:
            fix = "keep each image in one of them, so that none is learned and judged"
            reason = f"lists what another list has too: {listing(dict.fromkeys(twice), most=3)}"
            raise DataError(problem(f"ImageSets/Main/{name}.txt", reason, fix=fix))
        of_names |= dict.fromkeys(own, PART_FOLDERS["train" if name == "trainval" else name])
    if of_names:
        parts = {image: of_names[image.stem] for image in images if image.stem in of_names}
        gone, lost = len(images) - len(parts), len(set(of_names) - {image.stem for image in images})
        notes = [f"{counted(gone, 'image is', 'images are')} in no list of ImageSets/Main and left out"] if gone else []
        return parts, notes + ([f"{counted(lost, 'name')} in ImageSets/Main without an image"] if lost else [])
    image_parts: dict[Path, Part] = {}
    for image in images:
        folders = (PART_FOLDERS.get(name.lower()) for name in image.relative_to(base).parts[:-1])
        image_parts[image] = next((part for part in folders if part is not None), "train")
    return image_parts, []


def _class_names(base: Path) -> list[str] | None:
    """Return the class names in the order of their numbers: `names` in a YAML file, or the lines of a text file."""
    for path in sorted((*base.glob("*.yaml"), *base.glob("*.yml"))):
        try:
            content = files.plain_yaml(_text(path, base))
        except (OSError, ValueError) as error:
            raise DataError(problem(str(path), f"cannot be read ({error})", fix="repair it")) from error
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, dict):
            if set(names) != set(range(len(names))):
                fix = "number the classes 0, 1, 2, ..."
                raise DataError(problem(str(path), "has names without a number", got=listing(names, most=5), fix=fix))
            names = [names[place] for place in range(len(names))]
        if isinstance(names, list):
            # YAML reads `no`, `off` and `null` as other values than names.
            if odd := [name for name in names if not isinstance(name, str | int | float) or isinstance(name, bool)]:
                fix = "put it into quotes"
                raise DataError(problem(str(path), "has a name that is no text", got=odd[0], fix=fix))
            return [plain(str(name)) for name in names]
    for name in _NAME_FILES:
        for path in (base / name, base / "labels" / name):
            if path.is_file():
                return [plain(line) for line in _text(path, base).splitlines() if line.strip()]
    return None


def _yolo(path: Path, base: Path, names: Sequence[str] | None, wrong: list[str]) -> tuple[list[Box], None]:
    """Return the boxes of a text file with one line each: class number, centre, width and height relative to the image.

    A line with more numbers is a polygon, whose bounding box is used.
    """
    boxes, is_hidden = [], _leads_out(path, base)
    for place, line in enumerate(_decoded(path, base).splitlines(), 1):
        cells = line.split()
        if not cells:
            continue
        where = f"{path.relative_to(base).as_posix()} line {place}"
        values = [number(cell) for cell in cells]
        first = values[0]
        if None in values or len(values) < 5 or len(values) % 2 == 0:
            fix = "write a class number, then x and y of the middle, width and height as shares of the image's"
            wrong.append(problem(where, "is no box", got=None if is_hidden else line.strip()[:80], fix=fix))
        elif first is None or first != int(first) or not 0 <= first < (_MOST_CLASSES if names is None else len(names)):
            last = _MOST_CLASSES if names is None else len(names)
            demand = f"a class number from 0 to {last - 1}"
            got = None if is_hidden else cells[0]
            wrong.append(problem(where, f"does not begin with {demand}", got=got, fix="correct it"))
        else:
            label = names[int(first)] if names is not None else str(int(first))
            boxes.append(Box(label, _corners([value or 0.0 for value in values[1:]]), where))
    return boxes, None


def _corners(values: Sequence[float]) -> tuple[float, float, float, float]:
    if len(values) > 4:
        return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    x, y, width, height = values
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _voc(path: Path, base: Path, wrong: list[str]) -> tuple[list[Box], tuple[int, int] | None]:
    """Return the boxes of a Pascal VOC XML file, which counts pixels from 1 and includes both ends, and the image's size."""
    name = path.relative_to(base).as_posix()
    texts = _elements(path, name, is_hidden=_leads_out(path, base))
    boxes: list[Box] = []
    for place in range(len([key for key in texts if key.startswith(_OBJECT) and key.endswith("]")])):
        label, line = texts.get(f"{_OBJECT}[{place}]/name", ("", 0))
        line = line or texts[f"{_OBJECT}[{place}]"][1]
        values = [number(texts.get(f"{_OBJECT}[{place}]/bndbox/{side}", ("", 0))[0]) for side in _SIDES]
        if not label or None in values:
            fix = "give it a name, and a bndbox of xmin, ymin, xmax and ymax"
            wrong.append(problem(f"{name} line {line}", "has no class, or sides that are no numbers", fix=fix))
            continue
        x0, y0, x1, y1 = (value or 0.0 for value in values)
        boxes.append(Box(label, (x0 - 1, y0 - 1, x1, y1), f"{name} line {line}"))
    wide, high = (number(texts.get(f"{_ROOT}/size/{side}", ("", 0))[0]) for side in ("width", "height"))
    return boxes, (int(wide), int(high)) if wide and high else None


_ROOT = "annotation"
_OBJECT, _SIDES = f"{_ROOT}/object", ("xmin", "ymin", "xmax", "ymax")


def _elements(path: Path, name: str, *, is_hidden: bool) -> dict[str, tuple[str, int]]:
    """Return text and line of the first element of each path in an XML file; objects are numbered (`annotation/object[0]`).

    A document type declaration is refused before its entities can be expanded.

    Raises:
        DataError: If it is damaged, declares a document type, or is nested too deeply.
    """
    elements: dict[str, tuple[str, int]] = {}
    opened: list[tuple[str, list[str], int]] = []
    objects = itertools.count()
    parser = expat.ParserCreate()

    def start(tag: str, attributes: Any) -> None:
        if len(opened) >= _DEEPEST:
            raise ValueError(f"it is nested too deeply in line {parser.CurrentLineNumber}")
        place = f"{opened[-1][0]}/{tag}" if opened else tag
        if not opened and tag != _ROOT:
            first = "another" if is_hidden else repr(tag)
            raise ValueError(f"its first element is {first}, that of Pascal VOC is {_ROOT!r}")
        opened.append((f"{place}[{next(objects)}]" if place == _OBJECT else place, [], parser.CurrentLineNumber))

    def end(tag: str) -> None:
        place, texts, line = opened.pop()
        elements.setdefault(place, (plain("".join(texts)), line))

    def refuse(*_: Any) -> None:
        raise ValueError(f"it declares a document type in line {parser.CurrentLineNumber}, which labels do not need")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = lambda text: opened[-1][1].append(text) if opened else None
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(_content(path), True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DataError(problem(name, f"cannot be read as XML ({error})", fix="repair it")) from error
    return elements


def _leads_out(path: Path, base: Path) -> bool:
    """Return whether a link in a folder leads to a file outside of it, which must not be shown, as it may be private.

    The file itself or any folder in its path may be the link.
    """
    on_the_way = itertools.takewhile(lambda place: place != base, (path, *path.parents))
    return any(place.is_symlink() for place in on_the_way) and not path.resolve().is_relative_to(base.resolve())


def _text(path: Path, base: Path) -> str:
    """Return the text of a file of names, which error messages and tasks show.

    Raises:
        DataError: If it is not UTF-8, or a link to a file outside of the folder.
    """
    if _leads_out(path, base):
        wrong, fix = "is a link that leads out of the folder", "replace it by what it leads to"
        raise DataError(problem(path.relative_to(base).as_posix(), wrong, fix=fix))
    return _decoded(path, base)


def _decoded(path: Path, base: Path) -> str:
    try:
        return _content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        name = path.relative_to(base).as_posix()
        raise DataError(problem(name, f"is not UTF-8 text ({error.reason})", fix="save it as UTF-8")) from error


def _content(path: Path) -> bytes:
    try:
        return limits.content(path, _MOST_BYTES)
    except OSError as error:
        raise DataError(problem(str(path), f"cannot be opened ({error.strerror})", fix="repair it")) from error
