"""Source of a stored task: reads inputs and targets, and refuses paths outside its folders; the final name of a new one."""

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
    """Roots of the paths that a task stores.

    Attributes:
        bases: The folder, or file, that a path begins in by the first part of the path; of "" those of all.
        anywhere: Whether a table or a program of the user's own named each file, wherever it lies.
        end: What ends a path in a stored name, before the name of an array in that file.
    """

    bases: Mapping[str, Path] = field(default_factory=dict)
    anywhere: bool = False
    end: str = ""

    def file(self, name: str) -> Path:
        """The file that a stored path leads to."""
        if "" in self.bases:
            return self.bases[""] / name
        part, _, rest = name.partition("/")
        return self.bases[part] / rest

    def outside(self, names: Iterable[str]) -> list[str]:
        """The stored paths that lead out of `bases`; never any where they may lie anywhere."""
        return [] if self.anywhere or not self.bases else [name for name in names if not self._holds(name)]

    def _holds(self, name: str) -> bool:
        path = name.partition(self.end)[0] if self.end else name
        if "" not in self.bases:
            part, _, path = path.partition("/")
            if part not in self.bases:
                return False
        return not path.startswith("/") and not (".." in path and ".." in path.split("/"))


class Source:
    """The samples of a stored task; making one reads nothing.

    Args:
        task: The task.
    """

    # Whether samples are arrays in files, one by one.
    has_arrays = False

    def __init__(self, task: Task) -> None:
        self.task = task

    @property
    def layout(self) -> Layout | None:
        """Layout of several named arrays in the one that a sample is; None: a sample is what it is."""
        return None

    @property
    def has_objects(self) -> bool:
        """Whether targets stand at places of the images, and move with them."""
        return "boxes" in (self.task.bases or (self.task,))[0].source

    def objects(self) -> Boxes:
        """What stands where, of samples that have such targets."""
        return boxes.of_task(self.task)

    @property
    def searched(self) -> Path | None:
        """The folder that is searched for samples; None: nothing is searched."""
        return None

    def cuts(self) -> dict[str, Cuts]:
        """The slices of the volume of each part; empty where samples are no slices."""
        return {}

    def title(self, name: str) -> str:
        """Name of a sample for people.

        Args:
            name: Its id.
        """
        return name

    @property
    def inputs_in(self) -> Places:
        """Roots of the paths of inputs, which are the samples' ids; none where ids are no paths."""
        return Places()

    @property
    def targets_in(self) -> Places:
        """Roots of the paths in `samples.masks`; none where they are no paths."""
        return Places()

    def roots(self) -> tuple[Path, ...]:
        """The folders and files that the command line or a table named; inputs and targets are read from them alone."""
        return (*self.inputs_in.bases.values(), *self.targets_in.bases.values())

    def outside(self) -> list[str]:
        """The stored paths that lead out of `roots`."""
        samples = self.task.samples
        return [
            *self.inputs_in.outside(samples.ids),
            *self.targets_in.outside(path for path, _ in samples.masks if path),
        ]

    def inputs(self, channels: int, least: int | None = None) -> Read:
        """A function from row number to pixels of shape (*spatial, channels) and the task's dtype.

        Args:
            channels: How many are wanted; a single one is repeated.
            least: Large JPEG files may come reduced, their shorter side still so many pixels or more.

        Raises:
            UnreadableImageError: By the function, for an image that cannot be used.
            DataError: When samples cannot be read at all; by the function for one that is not what the task was made of.
        """
        raise NotImplementedError

    def targets(self, channels: int, least: int | None = None) -> Read:
        """A function from row number to what a row's target holds in a file: class numbers, or values of another image.

        Args:
            channels: Of target images, as for `inputs`.
            least: Alike.

        Raises:
            UnreadableImageError: By the function, for a row without one.
            DataError: As for `inputs`.
        """
        raise NotImplementedError

    def files(self) -> list[Path] | None:
        """The image file of each sample; None where samples are not files of images."""
        return None


class ByName(Source):
    """Samples that are read by their ids."""

    def by_name(self) -> Callable[[str], Pixels]:
        """A function from id to pixels of shape (*spatial, channels)."""
        raise NotImplementedError

    def inputs(self, channels: int, least: int | None = None) -> Read:
        """The sample of each row's id."""
        read, ids = self.by_name(), self.task.samples.ids
        return lambda row: in_channels(read(ids[row]), channels)

    def unchanged(self) -> Callable[[str, Pixels | None], Pixels]:
        """A function from the id and the stored array of a sample to that array, where the task was made of it.

        Raises:
            DataError: By the function, for another array or None: its file has changed.
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
    """The samples of a variant, which are those of several tasks.

    Args:
        task: The variant.
        bases: The sources of its `bases`.
    """

    def __init__(self, task: Task, bases: list[Source]) -> None:
        super().__init__(task)
        self._bases, self.has_arrays = bases, bases[0].has_arrays

    @property
    def layout(self) -> Layout | None:
        """That of the first task."""
        return self._bases[0].layout

    @property
    def searched(self) -> Path | None:
        """That of the first task."""
        return self._bases[0].searched

    def cuts(self) -> dict[str, Cuts]:
        """Those of the first task."""
        return self._bases[0].cuts()

    def roots(self) -> tuple[Path, ...]:
        """Those of all its tasks."""
        return tuple(root for base in self._bases for root in base.roots())

    def inputs(self, channels: int, least: int | None = None) -> Read:
        """The pixels of each row in the task that it is of."""
        reads = [base.inputs(channels, least) for base in self._bases]
        part, row = origins(self.task)
        return lambda place: reads[part[place]](int(row[place]))


class Targets(Source):
    """The targets of a task as inputs of a task of their own, for a cache like that of images.

    Args:
        task: What `mask_files.task_of` or `target_files.task_of` gave.
        owner: The source of the task whose targets they are.
    """

    def __init__(self, task: Task, owner: Source) -> None:
        super().__init__(task)
        self._owner = owner

    def roots(self) -> tuple[Path, ...]:
        """Those of the task whose targets they are."""
        return self._owner.roots()

    def inputs(self, channels: int, least: int | None = None) -> Read:
        """The targets of the other task."""
        return self._owner.targets(channels, least)


def in_channels(pixels: Pixels, channels: int) -> Pixels:
    """Pixels of shape (height, width, channels), or with other spatial axes; a single channel is repeated.

    Raises:
        UnreadableImageError: When the image has another number of channels.
    """
    if pixels.shape[-1] == channels:
        return pixels
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, channels, axis=-1)
    raise UnreadableImageError(f"has {counted(pixels.shape[-1], 'channel')}, {counted(channels, 'is', 'are')} wanted")


def finished(task: Task, allow_overlap: bool) -> Task:
    """The task under its final name, which ends in a hash of everything in it.

    Raises:
        DataError: When images, or groups, of a part that is judged are learned too, and that is not allowed.
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
