"""Existing tasks by name, and the readers of their samples.

One table maps the `type` of a stored source to the class that reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from mlpipe.data import task
from mlpipe.data.decoding.value_rules import PLAIN
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.sources.arrays import Arrays
from mlpipe.data.sources.digits import Digits
from mlpipe.data.sources.fashion_mini import FashionMini
from mlpipe.data.sources.initial_values import Waves
from mlpipe.data.sources.listings import file_headers
from mlpipe.data.sources.listings.image_files import FolderFiles, ImageFiles, NamedFiles, PartFiles
from mlpipe.data.sources.listings.python_sets import PythonItems
from mlpipe.data.sources.listings.record_files import RecordRows
from mlpipe.data.sources.listings.sliced_volumes import VolumeSlices
from mlpipe.data.sources.mnist import IdxFiles
from mlpipe.data.sources.samples import ArraySamples
from mlpipe.data.sources.source import Read, Source, Targets, Variant
from mlpipe.data.sources.targets import boxes, mask_files, target_files
from mlpipe.data.task import Task
from mlpipe.errors import DataError, did_you_mean, listing, problem

# The class that reads the samples of a stored task, by the `type` in its source.
_STORED: Mapping[str, type[Source]] = {
    "arrays": Arrays,
    "box_list": ImageFiles,
    "box_table": NamedFiles,
    "boxes": FolderFiles,
    "csv": NamedFiles,
    "digits": Digits,
    "elpv": ImageFiles,
    "fashion_mini": FashionMini,
    "folder": FolderFiles,
    "folders": PartFiles,
    "import": NamedFiles,
    "initial_values": Waves,
    "items": PythonItems,
    "mask_table": NamedFiles,
    "masks": FolderFiles,
    "mnist": IdxFiles,
    "records": RecordRows,
    "samples": ArraySamples,
    "slices": VolumeSlices,
}


def created(*, name: str, data_dir: str, max_unreadable: Annotated[int, ">= 0"] = 0) -> Task:
    """An existing task, by its name.

    Args:
        name: The task's name.
        data_dir: The folder of all tasks.
        max_unreadable: As for `folder`.

    Raises:
        DataError: If there is no such task.
    """
    path = Path(data_dir) / name / "task.json"
    if not path.is_file():
        known = sorted(file.parent.name for file in Path(data_dir).glob("*/task.json"))
        fix = did_you_mean(name, known, otherwise=f"known tasks: {listing(known) or 'none'}")
        raise DataError(problem("task", "there is no such task", got=name, fix=fix))
    return _with_rule(load(path), data_dir)


def _with_rule(stored: Task, data_dir: str) -> Task:
    """Add the rule for decoding pixels to a task that was stored before the rule existed and has images it affects.

    Its images are now decoded by the rule, so they must not be taken from a cache filled without it.
    """
    paths = open(stored).files()
    if paths is None or "decoding" in stored.source or stored.channels == 4:
        return stored
    looks = file_headers.look(paths, file_headers.memory_file(data_dir, Path(stored.name), "created"))
    if not any(look.is_transparent or look.is_respread for look in looks):
        return stored
    return replace(stored, source={**stored.source, **replace(PLAIN, is_needed=True).as_plain()})


def open(task: Task, where: str | None = None) -> Source:
    """Return the source of a stored task, of a variant, or of a task's targets alone; nothing is read yet.

    Args:
        task: The task.
        where: The task's file, for the error message; None: the task's name.

    Raises:
        DataError: If a stored path leads out of the folders that the user named.
    """
    if task.bases:
        return Variant(task, [open(base) for base in task.bases])
    if isinstance(owner := task.source.get("images"), Task):
        return Targets(task, open(owner))
    # An unknown type is read as images in a folder, if the source names one.
    source = _STORED.get(task.source.get("type", ""), ImageFiles)(task)
    if outside := source.outside():
        wrong = f"has samples outside of its folder: {listing(outside, most=3)}"
        raise DataError(problem(where or f"task {task.name}", wrong, fix="remove it and create the task again"))
    return source


def reader(task: Task, channels: int, least: int | None = None) -> Read:
    """Return a function from row number to the pixels of a sample, as `Source.inputs` does."""
    return open(task).inputs(channels, least)


def targets_of(task: Task, preprocessing: Preprocessing) -> tuple[Task, Preprocessing] | None:
    """Return a task for caching the targets that are stored in files, and its preprocessing; None: no such targets.

    Args:
        task: The task.
        preprocessing: The preprocessing of its images.

    Raises:
        ConfigError: If the preprocessing of the images cannot be applied to the targets.
    """
    if "masks" in task.source:
        return mask_files.task_of(task), mask_files.preprocessing_of(preprocessing)
    if "targets" not in task.source:
        boxes.check(preprocessing)
        return None
    targets = target_files.task_of(task)
    return targets, target_files.preprocessing_of(preprocessing, targets.channels, target_files.scale_of(task))


def load(path: Path) -> Task:
    """Read a task that `task.save` wrote.

    Raises:
        DataError: As for `task.load`, and if samples lie outside of the task's folders.
    """
    stored = task.load(path)
    open(stored, str(path))
    return stored


def root(task: Task) -> Path | None:
    """Return the folder that holds a task's files; None: there are no files, or several folders."""
    return Path(task.source["root"]) if "root" in task.source else None
