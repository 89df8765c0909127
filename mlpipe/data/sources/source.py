"""Base class of the sources of stored tasks, which read inputs and targets and refuse paths outside of their folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe import files
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.records.layout import Layout
from mlpipe.data.sources.listings.array_layout import pixel_digest
from mlpipe.data.sources.targets import boxes
from mlpipe.data.sources.targets.boxes import Boxes
from mlpipe.data.splits import checks
from mlpipe.data.task import Task, origins
from mlpipe.data.volumes.slices import Cuts
from mlpipe.errors import DataError, counted, problem

Pixels = np.ndarray[Any, Any]
Read = Callable[[int], Pixels]


@dataclass(frozen=True)
class Places:
    """Root folders of the paths that a task stores.

    Attributes:
        bases: The root folder or file for each first component of a path; the key "" applies to all paths.
        anywhere: Whether a table or the user's own program named each file, so that files may lie anywhere.
        end: The separator between a path and the name of an array in that file, in a stored name.
    """

    bases: Mapping[str, Path] = field(default_factory=dict)
    anywhere: bool = False
    end: str = ""

    def file(self, name: str) -> Path:
        """Return the file of a stored path."""
        if "" in self.bases:
            return self.bases[""] / name
        part, _, rest = name.partition("/")
        return self.bases[part] / rest

    def outside(self, names: Iterable[str]) -> list[str]:
        """Return the stored paths that lead out of `bases`; none if they may lie anywhere."""
        return [] if self.anywhere or not self.bases else [name for name in names if not self._holds(name)]

    def _holds(self, name: str) -> bool:
        path = name.partition(self.end)[0] if self.end else name
        if "" not in self.bases:
            part, _, path = path.partition("/")
            if part not in self.bases:
                return False
        return not path.startswith("/") and not (".." in path and ".." in path.split("/"))


class Source:
    """Samples of a stored task; creating a source reads nothing.

    Args:
        task: The task.
    """

    # Whether samples are stored as one array per sample in files.
    has_arrays = False

    def __init__(self, task: Task) -> None:
        self.task = task

    @property
    def layout(self) -> Layout | None:
        """Return the layout of several named arrays that are packed into one sample; None: samples are plain arrays."""
        return None

    @property
    def has_objects(self) -> bool:
        """Return whether targets are located in the image, so that they move with it."""
        return "boxes" in (self.task.bases or (self.task,))[0].source

    def objects(self) -> Boxes:
        """Return the boxes of samples with such targets."""
        return boxes.of_task(self.task)

    @property
    def searched(self) -> Path | None:
        """Return the folder that is searched for samples; None: nothing is searched."""
        return None

    def cuts(self) -> dict[str, Cuts]:
        """Return the slices of the volume of each part; empty if samples are not slices."""
        return {}

    def title(self, name: str) -> str:
        """Return the name of a sample for display.

        Args:
            name: Its id.
        """
        return name

    @property
    def inputs_in(self) -> Places:
        """Return the roots of the input paths, which are the sample ids; no roots if ids are not paths."""
        return Places()

    @property
    def targets_in(self) -> Places:
        """Return the roots of the paths in `samples.masks`; no roots if these are not paths."""
        return Places()

    def roots(self) -> tuple[Path, ...]:
        """Return the folders and files that the command line or a table named; nothing outside of them is read."""
        return (*self.inputs_in.bases.values(), *self.targets_in.bases.values())

    def outside(self) -> list[str]:
        """Return the stored paths that lead out of `roots`."""
        samples = self.task.samples
        return [
            *self.inputs_in.outside(samples.ids),
            *self.targets_in.outside(path for path, _ in samples.masks if path),
        ]

    def inputs(self, channels: int, least: int | None = None) -> Read:
        """Return a function from row number to pixels of shape (*spatial, channels) and the task's dtype.

        Args:
            channels: The wanted number of channels; a single channel is repeated.
            least: Large JPEG files may be decoded at a reduced size with at least this shorter side, in pixels.

        Raises:
            UnreadableImageError: By the function, for an image that cannot be used.
            DataError: If samples cannot be read at all; by the function, for a sample that has changed since.
        """
        raise NotImplementedError

    def targets(self, channels: int, least: int | None = None) -> Read:
        """Return a function from row number to the target stored in a file: class numbers, or values of another image.

        Args:
            channels: The number of channels of target images, as for `inputs`.
            least: As for `inputs`.

        Raises:
            UnreadableImageError: By the function, for a row without a target.
            DataError: As for `inputs`.
        """
        raise NotImplementedError

    def files(self) -> list[Path] | None:
        """Return the image file of each sample; None if samples are not image files."""
        return None


class ByName(Source):
    """Samples that are read by their ids."""

    def by_name(self) -> Callable[[str], Pixels]:
        """Return a function from id to pixels of shape (*spatial, channels)."""
        raise NotImplementedError

    def inputs(self, channels: int, least: int | None = None) -> Read:
        """Return a function from row number to the sample with that row's id."""
        read, ids = self.by_name(), self.task.samples.ids
        return lambda row: in_channels(read(ids[row]), channels)

    def unchanged(self) -> Callable[[str, Pixels | None], Pixels]:
        """Return a function that checks a sample's stored array against the task's digest and returns it.

        Raises:
            DataError: By the function, for another array or None, because the file has changed.
        """
        digests = dict(zip(self.task.samples.ids, self.task.samples.digests, strict=True))

        def check(name: str, stored: Pixels | None) -> Pixels:
            if stored is None or pixel_digest(stored) != digests[name]:
                where = ", ".join(dict.fromkeys(root.name for root in self.roots()))
                fix = "run the command that created the task again, which makes a new task of what is there now"
                wrong = f"has changed since the task {self.task.name} was created"
                raise DataError(problem(f"{where}: {name}", wrong, fix=fix))
            return stored

        return check


class Variant(Source):
    """Samples of a variant, which come from several tasks.

    Args:
        task: The variant.
        bases: The sources of its `bases`.
    """

    def __init__(self, task: Task, bases: list[Source]) -> None:
        super().__init__(task)
        self._bases, self.has_arrays = bases, bases[0].has_arrays

    @property
    def layout(self) -> Layout | None:
        """Return the layout of the first task."""
        return self._bases[0].layout

    @property
    def searched(self) -> Path | None:
        """Return the searched folder of the first task."""
        return self._bases[0].searched

    def cuts(self) -> dict[str, Cuts]:
        """Return the slices of the first task."""
        return self._bases[0].cuts()

    def roots(self) -> tuple[Path, ...]:
        """Return the roots of all its tasks."""
        return tuple(root for base in self._bases for root in base.roots())

    def inputs(self, channels: int, least: int | None = None) -> Read:
        """Return the pixels of each row from the task that the row comes from."""
        return self._by_origin([base.inputs(channels, least) for base in self._bases])

    def targets(self, channels: int, least: int | None = None) -> Read:
        """Return the target of each row from the task that the row comes from."""
        return self._by_origin([base.targets(channels, least) for base in self._bases])

    def _by_origin(self, reads: list[Read]) -> Read:
        part, row = origins(self.task)
        return lambda place: reads[part[place]](int(row[place]))


class Targets(Source):
    """Targets of a task as the inputs of another task, so that they are cached like images.

    Args:
        task: The result of `mask_files.task_of` or `target_files.task_of`.
        owner: The source of the task that the targets belong to.
    """

    def __init__(self, task: Task, owner: Source) -> None:
        super().__init__(task)
        self._owner = owner

    def roots(self) -> tuple[Path, ...]:
        """Return the roots of the owner."""
        return self._owner.roots()

    def inputs(self, channels: int, least: int | None = None) -> Read:
        """Return the targets of the owner."""
        return self._owner.targets(channels, least)


def in_channels(pixels: Pixels, channels: int) -> Pixels:
    """Return pixels with the wanted number of channels (last axis); a single channel is repeated.

    Raises:
        UnreadableImageError: If the image has another number of channels.
    """
    if pixels.shape[-1] == channels:
        return pixels
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, channels, axis=-1)
    raise UnreadableImageError(f"has {counted(pixels.shape[-1], 'channel')}, {counted(channels, 'is', 'are')} wanted")


def finished(task: Task, allow_overlap: bool) -> Task:
    """Return the task under its final name, which ends in a hash of its contents.

    Raises:
        DataError: If images, or groups, of a part that is judged are also in a part that is learned, unless allowed.
    """
    if not allow_overlap:
        wrong = [*checks.overlap_problems(task.samples), *checks.group_overlap_problems(task.samples)]
        if wrong:
            raise DataError(wrong)
    rules = [rule for place in (task.source, task.source.get("targets", {})) if (rule := place.get("decoding"))]
    digest = files.digest([task.source_hash, task.channels, *rules])[:8]
    name = f"{files.safe_name(task.name)}-{digest}"
    return Task(
        name, task.kind, task.classes, task.channels, task.source, task.samples, dtype=task.dtype, notes=task.notes
    )
