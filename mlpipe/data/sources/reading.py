"""Read the pixels of a stored task's samples, wherever they lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe.data.decoding import images
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.decoding.value_rules import Decoding
from mlpipe.data.sources import (
    array_files,
    embedded,
    generated,
    idx_files,
    labelled_folders,
    looking,
    mask_files,
    python_items,
    record_files,
    sample_files,
    sample_targets,
    sliced_volumes,
    target_files,
)
from mlpipe.data.task import Task, origins
from mlpipe.errors import DataError, problem

Pixels = np.ndarray[Any, Any]
Read = Callable[[int], Pixels]


def reader(of: Task, channels: int, least: int | None = None) -> Read:
    """A function from row number to pixels of shape (height, width, channels) and the task's dtype.

    Large JPEG files may come reduced, their shorter side still `least` pixels or more (`file_values.reduction`).
    Grey images are repeated where more channels are asked for. The function raises `UnreadableImageError` for an image
    that cannot be used, and `DataError` for one that is not the file that the task was created from.
    """
    if of.bases:
        return _variant_reader(of, channels, least)
    kind, ids = of.source["type"], of.samples.ids
    if kind == "fashion_mini":
        return lambda row: in_channels(embedded.fashion_mini_image(ids[row]), channels)
    if kind == "digits":
        return lambda row: in_channels(embedded.digits_image(ids[row]), channels)
    if kind == "arrays":
        read = array_files.rows(of.source)
        return lambda row: in_channels(read(ids[row]), channels)
    if kind == "items":
        of_item = python_items.rows_of(of.source)
        return lambda row: in_channels(of_item(ids[row]), channels)
    if kind == "records":
        of_record = record_files.rows_of(of.source)
        return lambda row: of_record(ids[row])
    if kind == mask_files.TYPE:
        of_arrays = {
            "samples": sample_targets.rows_of,
            sliced_volumes.TYPE: sliced_volumes.mask_rows_of,
            "items": python_items.mask_rows_of,
        }
        return of_arrays.get(of.source["images"].source["type"], mask_files.rows_of)(of)
    if kind == sliced_volumes.TYPE:
        of_slice = sliced_volumes.rows_of(of)
        return lambda row: in_channels(of_slice(row), channels)
    if kind == target_files.TYPE:
        return _target_reader(of, channels, least)
    of_sample = {"mnist": idx_files, "samples": sample_files, generated.TYPE: generated}
    if kind in of_sample:
        of_file: Callable[[str], Pixels] = of_sample[kind].rows_of(of.source)
        return lambda row: in_channels(of_file(ids[row]), channels)
    if kind == "folders":
        return lambda row: _file_image(labelled_folders.path_of(of.source, ids[row]), of, row, channels, least)
    if not isinstance(of.source.get("root"), str):
        fix = "remove its task.json and create the task again"
        raise DataError(problem(f"task {of.name}", "does not say where its images lie (task.json)", fix=fix))
    base = Path(of.source["root"])
    return lambda row: _file_image(base / ids[row], of, row, channels, least)


def _variant_reader(of: Task, channels: int, least: int | None) -> Read:
    readers = [reader(base, channels, least) for base in of.bases]
    part, row = origins(of)
    return lambda place: readers[part[place]](int(row[place]))


def _target_reader(of: Task, channels: int, least: int | None) -> Read:
    """The pixels of target images; a row without one cannot be used."""
    source = of.source["images"].source
    if source["type"] == "samples":
        return sample_targets.rows_of(of)
    base = Path(source["targets"]["root"])

    def read(row: int) -> Pixels:
        name, _ = of.samples.masks[row]
        if not name:
            raise UnreadableImageError("has no target")
        return _file_image(base / name, of, row, channels, least)

    return read


def files_of(of: Task) -> list[Path] | None:
    """The image file of each sample of a stored task; None where its samples are not files of images."""
    kind, ids = of.source["type"], of.samples.ids
    if of.bases or kind in ("arrays", "samples", "items", "records", "mnist", mask_files.TYPE, target_files.TYPE):
        return None
    if kind == "folders":
        return [labelled_folders.path_of(of.source, name) for name in ids]
    base = of.source.get("root")
    return [Path(base) / name for name in ids] if isinstance(base, str) else None


def root(of: Task) -> Path | None:
    """The folder that a task's files lie in, None when it has no files."""
    return Path(of.source["root"]) if "root" in of.source else None


def in_channels(pixels: Pixels, channels: int) -> Pixels:
    """Pixels of shape (height, width, channels), or with other spatial axes; a single channel is repeated.

    Raises:
        UnreadableImageError: When the image has another number of channels.
    """
    if pixels.shape[-1] == channels:
        return pixels
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, channels, axis=-1)
    raise UnreadableImageError(f"has {pixels.shape[-1]} channels, {channels} are wanted")


def _file_image(path: Path, of: Task, row: int, channels: int, least: int | None) -> Pixels:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(f"cannot be opened ({error.strerror})") from error
    looking.check_unchanged(path, content, of.samples.digests[row], of.name)
    return images.decode(content, channels, 16 if of.dtype == "uint16" else 8, least, Decoding.of(of.source))
