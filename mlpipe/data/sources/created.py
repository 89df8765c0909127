"""Tasks that were created earlier: by their names, and the readers of their samples.

One table leads from the `type` of a stored source to the class that reads it.
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

# What opens the samples of a stored task, by the `type` that its source says.
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
    """A task created earlier, by its name.

    Args:
        name: The task's name.
        data_dir: The folder of all tasks.
        max_unreadable: As for `folder`.

    Raises:
        DataError: When there is no such task.
    """
    path = Path(data_dir) / name / "task.json"
    if not path.is_file():
        known = sorted(file.parent.name for file in Path(data_dir).glob("*/task.json"))
        fix = did_you_mean(name, known, otherwise=f"known tasks: {listing(known) or 'none'}")
        raise DataError(problem("task", "there is no such task", got=name, fix=fix))
    return _with_rule(load(path), data_dir)


def _with_rule(stored: Task, data_dir: str) -> Task:
    """The task with the rule for its pixels where it is of a time before the rule, and has an image that depends on it.

    Its images are decoded by the rule now, and must not be taken from a cache of that time.
    """
    paths = open(stored).files()
    if paths is None or "decoding" in stored.source or stored.channels == 4:
        return stored
    looks = file_headers.look(paths, file_headers.memory_file(data_dir, Path(stored.name), "created"))
    if not any(look.is_transparent or look.is_respread for look in looks):
        return stored
    return replace(stored, source={**stored.source, **replace(PLAIN, is_needed=True).as_plain()})


def open(task: Task, where: str | None = None) -> Source:
    """The samples of a stored task, of a variant of one, or of its targets alone; nothing is read yet.

    Args:
        task: The task.
        where: The task's file, for the error; None: the task's name.

    Raises:
        DataError: When a stored path leads out of the folders that were named.
    """
    if task.bases:
        return Variant(task, [open(base) for base in task.bases])
    if isinstance(owner := task.source.get("images"), Task):
        return Targets(task, open(owner))
    # A type of no source here is of images in a folder, if it says one.
    source = _STORED.get(task.source.get("type", ""), ImageFiles)(task)
    if outside := source.outside():
        wrong = f"has samples outside of its folder: {listing(outside, most=3)}"
        raise DataError(problem(where or f"task {task.name}", wrong, fix="remove it and create the task again"))
    return source


def reader(task: Task, channels: int, least: int | None = None) -> Read:
    """A function from row number to the pixels of a task's sample, as `Source.inputs` gives it."""
    return open(task).inputs(channels, least)


def targets_of(task: Task, preprocessing: Preprocessing) -> tuple[Task, Preprocessing] | None:
    """The targets in files of a task as a task of their own for the cache, and what happens to them; None: they have no pixels.

    Args:
        task: The task.
        preprocessing: What happens to its images.

    Raises:
        ConfigError: When what happens to images cannot happen to targets.
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
        DataError: As `task.load` raises it, and when samples lie outside of the task's folders.
    """
    stored = task.load(path)
    open(stored, str(path))
    return stored


def root(task: Task) -> Path | None:
    """The folder that a task's files lie in, None when it has no files, or they lie in several."""
    return Path(task.source["root"]) if "root" in task.source else None
