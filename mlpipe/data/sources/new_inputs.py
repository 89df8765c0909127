"""Unlabelled images or arrays for prediction, outside of any task: a folder, an archive of images, or a single file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe import current_folder
from mlpipe.data import archives, kind, task, visible_files
from mlpipe.data.archives import opened
from mlpipe.data.decoding import images
from mlpipe.data.decoding.value_rules import Decoding
from mlpipe.data.sources.error_lists import raise_some
from mlpipe.data.sources.listings import array_files, file_headers
from mlpipe.data.sources.listings.array_layout import Form, pixel_digest
from mlpipe.data.sources.source import finished
from mlpipe.data.task import Row, Task
from mlpipe.errors import DataError, counted, problem


def new_images(*, root: str, like: Task, data_dir: str | None = None) -> Task:
    """Return a task of unlabelled images with the classes of another task.

    Every image file below the folder counts, whatever the names of its sub-folders. The task is named after the folder and
    a hash of its contents.

    Args:
        root: The folder, a zip or tar archive of it, or one image file.
        like: The task that the images are predicted for.
        data_dir: The folder for unpacked archives and cached facts about files; None: neither is kept.

    Raises:
        DataError: If there is no image, or the other task is not a task of image files.
    """
    if like.dtype == "float32":
        fix = "describe the new arrays as a task, and predict it with mode.eval_on"
        raise DataError(problem("mode.source", f"{like.name} is made of arrays, not of image files", got=root, fix=fix))
    path = current_folder.expanded(root).absolute()
    if path.is_file() and path.suffix.lower() in images.EXTENSIONS:
        base, image_files, notes = path.parent, [path], list[str]()
    elif path.is_file() and not archives.is_archive(path):
        wrong, fix = "is neither an image nor an archive", "name a folder of images, a zip or tar archive, or one image"
        raise DataError(problem("mode.source", wrong, got=root, fix=fix))
    else:
        base = opened(root, data_dir, "mode.source")
        image_files, notes = visible_files.images_below(base), visible_files.notes([base])
    if not image_files:
        kinds = ", ".join(sorted(images.EXTENSIONS))
        raise DataError(problem("mode.source", "holds no image", got=root, fix=f"images end in {kinds}"))
    looks = file_headers.look(image_files, file_headers.memory_file(data_dir, base))
    rule = Decoding.of((like.bases or (like,))[0].source)
    if any(look.is_respread or (look.is_transparent and like.channels != 4) for look in looks):
        rule = replace(rule, is_needed=True)
    target = kind.of(like.kind).unknown(len(like.classes))
    rows = [
        Row(file.relative_to(base).as_posix(), "unlabelled", target, facts.digest)
        for file, facts in zip(image_files, looks, strict=True)
    ]
    return _unlabelled_task(like, path, rows, {"type": "folder", "root": str(base), **rule.as_plain()}, notes)


def new_arrays(*, root: str, like: Task) -> Task:
    """Return a task of unlabelled arrays with the classes of another task of arrays.

    Args:
        root: The .npy, .npz or HDF5 file, or a folder of such files.
        like: The task that the arrays are predicted for; it defines the position of the channel axis.

    Raises:
        DataError: If there is no array, or one cannot be read, has other channels, or has NaN or infinite values.
    """
    base, form = current_folder.expanded(root).absolute(), Form.of((like.bases or (like,))[0].source)
    target = kind.of(like.kind).unknown(len(like.classes))
    rows, wrong = list[Row](), list[str]()
    for name, value in array_files.arrays_below(base, "mode.source", form):
        if value.shape[-1] != like.channels:
            has = f"has {counted(value.shape[-1], 'channel')}, the samples of {like.name} have {like.channels}"
            wrong.append(problem(name, has, fix=f"give arrays with as many (task.layout is {form.layout})"))
        if not np.isfinite(value).all():
            wrong.append(problem(name, "has values that are no numbers (NaN or infinite)", fix="replace them"))
        rows.append(Row(f"test/{name}", "unlabelled", target, pixel_digest(value)))
    raise_some(wrong)
    notes = visible_files.notes([base], array_files.ENDS) if base.is_dir() else []
    return _unlabelled_task(
        like, base, rows, {"type": "samples", "layout": form.layout, "axes": form.axes, "test": str(base)}, notes
    )


def _unlabelled_task(like: Task, path: Path, rows: list[Row], source: dict[str, Any], notes: list[str]) -> Task:
    new_task = task.make(
        f"new-{path.stem if path.is_file() else path.name}",
        like.classes,
        rows,
        channels=like.channels,
        kind=like.kind,
        dtype=like.dtype,
        source=source,
        notes=notes,
        has_new_classes=False,
    )
    return finished(new_task, allow_overlap=True)
