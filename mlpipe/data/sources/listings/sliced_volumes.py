"""Slices of one large array as samples, with class numbers from another array: their facts for a task, and their pixels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mlpipe import files
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.sources.listings import file_headers
from mlpipe.data.sources.listings.array_layout import pixel_digest
from mlpipe.data.sources.source import Read, Source, in_channels
from mlpipe.data.sources.targets import mask_files
from mlpipe.data.sources.targets.mask_files import Mask
from mlpipe.data.task import IGNORED, Task
from mlpipe.data.volumes import arrays, slices
from mlpipe.data.volumes.arrays import Volume
from mlpipe.data.volumes.slices import Cuts, Grid
from mlpipe.errors import DataError, in_short, listing, problem

# The kind of tasks of slices with class numbers.
KIND: Final = "segmentation"
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Place:
    """An array in a file, and the configuration key that named it.

    Attributes:
        file: The file.
        key: The configuration key, for error messages.
        dataset: The array's name in it; None: its only one.
        dataset_key: The configuration key of that name.
    """

    file: Path
    key: str
    dataset: str | None
    dataset_key: str

    def open(self) -> Volume:
        """Return the array, open for as long as it is used."""
        return arrays.kept(self.file, self.key, dataset=self.dataset, dataset_key=self.dataset_key)


def place_of(file: Path, part: str, dataset: str | None, *, targets: bool) -> Place:
    """Return the place of a part's volume, or of its class numbers."""
    if targets:
        return Place(file, f"task.{part}_targets", dataset, "task.target_dataset")
    return Place(file, f"task.{part}", dataset, "task.dataset")


def spatial_shape(volume: Volume, axes: int) -> tuple[int, ...]:
    """Return the shape of a volume without its channels."""
    return volume.shape[len(volume.shape) - axes :]


def image(volume: Volume, grid: Grid, index: int) -> npt.NDArray[np.float32]:
    """Return a slice as the network sees it, shape (height, width, channels), or with other spatial axes."""
    pixels = np.moveaxis(slices.cut(volume, grid, index), 0, -1)
    return np.ascontiguousarray(pixels, np.float32)


def labels(volume: Volume, grid: Grid, index: int) -> Array:
    """Return the values of the part of a slice that counts, with the axes of the volume."""
    region: Any = grid.region(index)
    values = volume[(0, *region)] if len(volume.shape) > len(region) else volume[region]
    return np.asarray(values)


def classes_of(values: mask_files.Values, own: Array, grid: Grid, index: int) -> npt.NDArray[np.uint8]:
    """Return the class numbers of a slice as the network sees it, with the shape `grid.cut.seen`.

    Positions whose predictions do not count are `IGNORED`: the padding, and positions outside of the volume.

    Args:
        values: The value of each class.
        own: The result of `labels`.
        grid: All slices.
        index: The slice's number.
    """
    classes = np.full((1, *grid.cut.seen), IGNORED, np.uint8)
    _, counts = slices.counted(grid, index, classes)
    counts[0] = values.classes(own.astype(np.int64))
    return np.asarray(classes[0])


def image_digests(place: Place, cuts: Cuts, memory: Path | None) -> list[str]:
    """Return a hash of every slice of a volume; constant slices get distinct hashes, as they do not show where they are from.

    Args:
        place: The volume.
        cuts: Its slices.
        memory: The file that caches hashes while the volume's file does not change.

    Raises:
        DataError: If the file is damaged, or holds anything but finite numbers.
    """

    def see(path: Path) -> list[str]:
        volume = place.open()
        return [
            _digest(name, values, place)
            for name, values in _named_slices(volume, place, cuts, lambda grid, at: image(volume, grid, at))
        ]

    (digests,) = file_headers.remembered_facts(
        [place.file], memory, see, list, lambda item: [str(digest) for digest in item]
    )
    return digests


def masks_of(place: Place, cuts: Cuts, memory: Path | None) -> list[Mask]:
    """Return the values in every slice of a volume of class numbers, for the part that counts.

    Args:
        place: The volume.
        cuts: Its slices.
        memory: As for `image_digests`.

    Raises:
        DataError: If the file is damaged, or holds anything but integers.
    """

    def see(path: Path) -> list[Mask]:
        volume = place.open()
        return [
            _counted_mask(name, values, place)
            for name, values in _named_slices(volume, place, cuts, lambda grid, at: labels(volume, grid, at))
        ]

    def plain(found: list[Mask]) -> list[Any]:
        return [[mask.digest, [[value, count] for value, count in mask.counts.items()]] for mask in found]

    def again(item: list[Any]) -> list[Mask]:
        return [Mask(str(digest), {int(value): int(count) for value, count in counts}, 0, 0) for digest, counts in item]

    (result,) = file_headers.remembered_facts([place.file], memory, see, plain, again)
    return result


def _named_slices(volume: Volume, place: Place, cuts: Cuts, read: Callable[[Grid, int], Array]) -> Any:
    """Yield name and values of every slice, one at a time."""
    byte_count = 0
    for name, (grid, at) in cuts.places.items():
        values = _read(place, name, grid, at, read)
        yield name, values
        byte_count += values.nbytes
        if byte_count >= arrays.RELEASE_AFTER:
            byte_count = 0
            volume.release()


def _read(place: Place, name: str, grid: Grid, at: int, read: Callable[[Grid, int], Array]) -> Array:
    try:
        return read(grid, at)
    except arrays.DAMAGED as error:
        wrong = f"{name} cannot be read from {place.file} ({in_short(error)})"
        raise DataError(problem(place.key, wrong, fix="save the file again")) from error


def _digest(name: str, pixels: Array, place: Place) -> str:
    least, most = float(pixels.min()), float(pixels.max())
    if not np.isfinite([least, most]).all():
        fix = "replace what is infinite or no number in the file"
        raise DataError(problem(place.key, f"{name} holds values from {least:g} to {most:g}", fix=fix))
    return files.digest([name, least]) if least == most else pixel_digest(pixels)


def _counted_mask(name: str, values: Array, place: Place) -> Mask:
    if (values % 1).any() or not 0 <= values.min() <= values.max() <= mask_files.LARGEST:
        wrong = f"{name} holds no class numbers: whole numbers from 0 to {mask_files.LARGEST} are wanted"
        raise DataError(problem(place.key, wrong, got=str(place.file), fix="save class numbers"))
    numbers, counts = np.unique(values, return_counts=True)
    value_counts = {int(number): int(count) for number, count in zip(numbers, counts, strict=True)}
    return Mask(_label_digest(values), value_counts, 0, 0)


def _label_digest(values: Array) -> str:
    return pixel_digest(values.astype(np.uint16))


class _Opened:
    """Volumes of a task, opened when they are needed and checked to have an unchanged shape.

    Args:
        task: The task.
        cuts: The slices of the volume of each part.
        targets: Whether these are the volumes of class numbers.
    """

    def __init__(self, task: Task, cuts: Mapping[str, Cuts], *, targets: bool) -> None:
        self._task, self._cuts, self._targets, self._lock = task, cuts, targets, threading.Lock()
        self._volumes: dict[str, Volume] = {}
        self._read = 0

    def place(self, part: str) -> Place:
        """Return the place of a part's volume."""
        described = self._task.source["masks"] if self._targets else self._task.source
        return place_of(Path(described[part]), part, described["dataset"], targets=self._targets)

    def of(self, name: str) -> tuple[Volume, Grid, int]:
        """Return the volume, the slices of the set and the slice number of a sample.

        Raises:
            DataError: If the volume is missing, or has another shape.
        """
        part = name.partition("/")[0]
        grid, index = self._cuts[part].places[name]
        with self._lock:
            if part not in self._volumes:
                volume = self.place(part).open()
                if spatial_shape(volume, len(grid.shape)) != grid.shape:
                    raise _change_error(str(self.place(part).file), self._task)
                self._volumes[part] = volume
            self._read += 4 * int(np.prod(grid.cut.seen))
            if self._read >= arrays.RELEASE_AFTER:
                self._read = 0
                self._volumes[part].release()
        return self._volumes[part], grid, index


class VolumeSlices(Source):
    """Slices of volumes; an id is the part, the slice set and the number of the slice."""

    def roots(self) -> tuple[Path, ...]:
        """Return the files of volumes and of class numbers."""
        source = self.task.source
        return tuple(
            Path(place[part]) for place in (source, source["masks"]) for part in source["shapes"] if part in place
        )

    def cuts(self) -> dict[str, Cuts]:
        """Return the slices of the volume of each part."""
        sets = slices.slice_sets(self.task.source["slices"], "task.slices")
        return {part: Cuts(part, sets, tuple(shape)) for part, shape in self.task.source["shapes"].items()}

    def inputs(self, channels: int, least: int | None = None) -> Read:
        """Return arrays as `image` does; a volume that is missing, damaged or changed is an error."""
        of, opened = self.task, _Opened(self.task, self.cuts(), targets=False)

        def read(row: int) -> Array:
            name = of.samples.ids[row]
            volume, grid, index = opened.of(name)
            place = opened.place(name.partition("/")[0])
            values = _read(place, name, grid, index, lambda grid, at: image(volume, grid, at))
            if _digest(name, values, place) != of.samples.digests[row]:
                raise _change_error(name, of)
            return in_channels(values, channels)

        return read

    def targets(self, channels: int, least: int | None = None) -> Read:
        """Return class numbers as `classes_of` does; a volume that is missing, damaged or changed is an error."""
        of, opened = self.task, _Opened(self.task, self.cuts(), targets=True)
        values = mask_files.stored_values(of.source["masks"])

        def read(row: int) -> Array:
            name, digest = of.samples.masks[row]
            if not name:
                raise UnreadableImageError("has no mask")
            volume, grid, index = opened.of(name)
            place = opened.place(name.partition("/")[0])
            own = _read(place, name, grid, index, lambda grid, at: labels(volume, grid, at))
            if _label_digest(own) != digest:
                raise _change_error(name, of)
            return classes_of(values, own, grid, index)[..., np.newaxis]

        return read


def _change_error(name: str, task: Task) -> DataError:
    fix = "run the command that created the task again, which makes a new task of what is there now"
    return DataError(problem(name, f"has changed since the task {task.name} was created", fix=fix))


def shape_problems(volume: Volume, axes: int, key: str, of: Sequence[int] | None = None) -> list[str]:
    """Return a sentence if a volume has other axes than slices, or targets another shape than their volume.

    Args:
        volume: The volume.
        axes: The number of spatial axes of slice sets.
        key: The configuration key.
        of: The spatial shape that targets must have; None: it is not a volume of targets.
    """
    shape = list(volume.shape)
    if of is None:
        if len(shape) in (axes, axes + 1):
            return []
        wrong = f"has {len(shape)} axes, sizes are for {axes} and one of channels in front"
        return [problem(key, wrong, got=shape, fix="give task.slices sizes for each spatial axis")]
    if shape in (list(of), [1, *of]):
        return []
    fix = f"give a class number for each place, shape {listing(list(of))}"
    return [problem(key, f"has another shape than the volume, {list(of)}", got=shape, fix=fix)]
