"""Images with bounding boxes (object detection): a COCO JSON file, YOLO text, Pascal VOC XML, or a table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from mlpipe import current_folder
from mlpipe.data import visible_files
from mlpipe.data.archives import opened
from mlpipe.data.sources.listings import box_files, box_labels
from mlpipe.data.sources.listings.box_files import BoxedImages, Columns
from mlpipe.data.sources.listings.class_folders import PART_FOLDERS
from mlpipe.data.sources.listings.pixel_rules import PixelSettings
from mlpipe.data.sources.source import finished
from mlpipe.data.sources.targets import boxed_images
from mlpipe.data.sources.targets.missing_labels import Missing
from mlpipe.data.task import Part, Task
from mlpipe.errors import DataError, no_such_file, problem

_TABLES = (".csv", ".tsv", ".parquet", ".pq")


def boxes(
    *,
    root: str | None = None,
    file: str | None = None,
    val_file: str | None = None,
    test_file: str | None = None,
    test_root: str | None = None,
    without_file: Literal["nothing", "unlabelled"] | None = None,
    path: str | None = None,
    corners: list[str] | None = None,
    target: str | None = None,
    missing: bool | list[Any] | None = None,
    name: str | None = None,
    classes: list[str] | None = None,
    group: str | None = None,
    channels: Literal[1, 3, 4] | None = None,
    bits: Literal[8, 16] | None = None,
    value_range: tuple[float, float] | None = None,
    background: Literal["white", "black"] = "white",
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
    data_dir: str | None = None,
) -> Task:
    """Images with bounding boxes of their objects.

    With `file`, a COCO JSON file or a table lists the images. Without it, every image below `root` has a label file (YOLO
    text or Pascal VOC XML), either beside it or in a folder `labels` or `Annotations` parallel to `images` or `JPEGImages`;
    or the folders of the parts (train, valid, test) hold one COCO JSON file each. The task is named after the folder or
    file and a hash of its contents.

    Args:
        root: The folder of images, or a zip or tar archive of it; None: the folder of `file`.
        file: A COCO JSON file, or a table (.csv, .tsv, .parquet) with one row per box.
        val_file: The COCO JSON file of the validation images.
        test_file: The COCO JSON file of the test images.
        test_root: The folder of the test images, if it is not `root`; only with `test_file`.
        without_file: What images without a label file are: `nothing` (they show no object) or `unlabelled`; None: such
            images are an error that asks for a choice.
        path: The table's column of paths; None: path, file, filename, image, ...
        corners: The columns of the left, top, right and bottom edges, in pixels; None: x0, y0, x1, y1, or xmin, ymin, ...
        target: The column of classes; None: class, label, name, ...
        missing: The table cells that mean "no value", as for `csv`.
        name: The task's name before the hash; None: the name of the folder or file.
        classes: The class names in order; None: those of the files, or of the training boxes, sorted.
        group: A regular expression with one group, as for `folder`.
        channels: As for `folder`.
        bits: As for `folder`.
        value_range: As for `folder`.
        background: As for `folder`.
        max_unreadable: As for `folder`.
        allow_overlap: As for `folder`.
        data_dir: As for `folder`.

    Raises:
        DataError: With one sentence for each faulty image, box and class, naming its file and line.
    """
    files = {"file": _file(file, "task.file"), "val_file": _file(val_file, "task.val_file")}
    files["test_file"] = _file(test_file, "task.test_file")
    first = next((source_file for source_file in files.values() if source_file is not None), None)
    titled = first or current_folder.expanded(root or "").absolute()
    if root is not None:
        base = opened(root, data_dir, "task.root")
    elif first is not None:
        base = first.parent
    else:
        fix = "add task.root=DIR, or task.file=FILE"
        raise DataError(problem("task.root", "a folder of images or a file is needed", fix=fix))
    is_table = first is not None and first.suffix.lower() in _TABLES
    if is_table and first is not None:
        _refuse_json_keys(val_file, test_file, test_root)
        images = box_files.table(first, base, Columns(path, corners, target), Missing(missing))
    else:
        test = _test_base(test_root, files["test_file"]) or base
        images = _images_of_json(base, files, test) or box_labels.labelled(base, without_file)
        # Sample ids are paths relative to the common parent folder.
        base = Path(os.path.commonpath([base, test]))
    new_task = boxed_images.task_of(
        images,
        base,
        name or titled.name.split(".")[0],
        # Files that are listed are not searched for; only the images of a table may lie anywhere.
        {"type": "box_table" if is_table else "boxes" if first is None else "box_list", "root": str(base)},
        PixelSettings(channels, bits, value_range, background),
        classes=classes,
        group=group,
        data_dir=data_dir,
    )
    return finished(new_task, allow_overlap)


def _file(text: str | None, key: str) -> Path | None:
    if text is None:
        return None
    path = current_folder.expanded(text).absolute()
    if not path.is_file():
        raise DataError(no_such_file(key, path, otherwise="name a COCO JSON file, or a table"))
    if path.suffix.lower() not in (".json", *_TABLES):
        fix = "name a COCO JSON file, or a table (.csv, .tsv, .parquet)"
        raise DataError(problem(key, "is neither JSON nor a table", got=text, fix=fix))
    return path


def _refuse_json_keys(val_file: str | None, test_file: str | None, test_root: str | None) -> None:
    wrong = [
        problem(f"task.{key}", "goes with a COCO JSON file", got=value, fix="give the table a column split")
        for key, value in (("val_file", val_file), ("test_file", test_file), ("test_root", test_root))
        if value is not None
    ]
    if wrong:
        raise DataError(wrong)


def _test_base(test_root: str | None, test_file: Path | None) -> Path | None:
    """Return the folder of the test images; None: they share the folder of the others."""
    if test_root is None:
        return None
    if test_file is None:
        fix = "add task.test_file=FILE, a COCO JSON file, or leave it out"
        raise DataError(problem("task.test_root", "goes with a COCO JSON file", got=test_root, fix=fix))
    path = current_folder.expanded(test_root).absolute()
    if not path.is_dir():
        raise DataError(
            problem("task.test_root", "there is no such folder", got=test_root, fix="name an existing folder")
        )
    return path


def _images_of_json(base: Path, files: dict[str, Path | None], test: Path) -> BoxedImages | None:
    """Return the images of the named COCO JSON files, else of one file in each part's folder; None: there is none.

    Args:
        base: The folder of images.
        files: The named files by their keys.
        test: The folder of test images.
    """
    parts: dict[str, Part] = {"file": "train", "val_file": "val", "test_file": "test"}
    bases = {"test_file": test}
    images = [
        box_files.coco(file, bases.get(key, base), parts[key], f"task.{key}")
        for key, file in files.items()
        if file is not None
    ]
    if images:
        return box_files.joined(images)
    folder_images = []
    for folder in visible_files.folders(base):
        part, json_files = PART_FOLDERS.get(folder.name.lower()), sorted(folder.glob("*.json"))
        if part is not None and len(json_files) == 1:
            folder_images.append(box_files.coco(json_files[0], folder, part, "task.root"))
    return box_files.joined(folder_images) if folder_images else None
