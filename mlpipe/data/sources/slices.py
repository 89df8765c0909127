"""Slices of a volume with a class for every voxel, as a task of images (or lines, or boxes) with masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from mlpipe import current_folder, files
from mlpipe.data import task
from mlpipe.data.sources.listings import file_headers, sliced_volumes
from mlpipe.data.sources.listings.sliced_volumes import Place
from mlpipe.data.sources.source import finished
from mlpipe.data.sources.targets import mask_files
from mlpipe.data.sources.targets.mask_files import Mask, Values
from mlpipe.data.task import Part, Row, Task
from mlpipe.data.volumes import arrays
from mlpipe.data.volumes import slices as cutting
from mlpipe.data.volumes.slices import Cuts, Grid, SliceSet
from mlpipe.errors import ConfigError, DataError, listing, problem

_KEY = "task.slices"
_MOST_AXES = 3


def slices(
    *,
    slices: list[dict[str, Any]],
    train: str | None = None,
    train_targets: str | None = None,
    test: str | None = None,
    test_targets: str | None = None,
    dataset: str | None = None,
    target_dataset: str | None = None,
    classes: list[str] | None = None,
    values: list[int] | None = None,
    ignore_index: Annotated[int, ">= 0", "<= 65535"] | None = None,
    blocks: Annotated[int, ">= 0"] = 25,
    name: str | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
    data_dir: str | None = None,
) -> Task:
    """Slices of a volume in a .npy, .npz or HDF5 file; the mask is the same slice of an array of class numbers.

    Values reach the network unchanged, as float32. A volume may be larger than memory: it is scanned once, and again when
    its file changes.

    Args:
        slices: Slice sets, as for `mode.slices` of `mml evaluate`; all of one size, with one, two or three axes.
        train: The file of the training volume, with the channel axis first or without a channel axis.
        train_targets: The file of its class numbers, of the volume's spatial shape; one leading channel is allowed.
        test: The file of a test volume.
        test_targets: The file of its class numbers; None: the volume is only predicted.
        dataset: The name of the array in the volume files, if they hold several arrays.
        target_dataset: The same for the files of class numbers.
        classes: The class names; None: as for `masks`.
        values: The value of each class; None: as for `masks`.
        ignore_index: The value of voxels that are left out of the loss and all scores.
        blocks: The number of blocks of consecutive slices that the training volume is divided into; a fold consists of whole
            blocks, because neighbouring slices are nearly identical. 0: every slice is on its own.
        name: The task's name before the hash; None: the file's name.
        max_unreadable: As for `folder`; a volume that cannot be read is always an error.
        allow_overlap: As for `folder`.
        data_dir: The folder for cached facts about files; None: they are not kept.

    Raises:
        ConfigError: If slice sets are wrong, or their slices differ in size.
        DataError: If files are missing or damaged, or shapes or class numbers do not fit.
    """
    sets = cutting.slice_sets(slices, _KEY)
    _require_one_size(sets)
    parts = _opened({"train": train, "test": test}, {"train": train_targets, "test": test_targets}, sets,
                    dataset, target_dataset)  # fmt: skip
    masks: dict[str, list[Mask]] = {volume_part.part: volume_part.masks(slices, data_dir) for volume_part in parts}
    class_values = mask_files.values_of(
        [mask for listed in masks.values() for mask in listed], classes, values, ignore_index
    )
    _require_known(parts, masks, class_values)
    rows = [
        row
        for volume_part in parts
        for row in _rows(volume_part, masks[volume_part.part], class_values, blocks, slices, data_dir)
    ]
    places: dict[str, _Part] = {volume_part.part: volume_part for volume_part in parts}
    described = mask_files.described(parts[0].volume.file, class_values) | {"dataset": target_dataset}
    described |= {
        part: str(volume_part.targets.file) for part, volume_part in places.items() if volume_part.targets is not None
    }
    source: dict[str, Any] = {
        "type": "slices",
        "axes": sets[0].rank,
        "slices": [dict(slice_set) for slice_set in slices],
        "dataset": dataset,
        "shapes": {part: list(volume_part.cuts.shape) for part, volume_part in places.items()},
        **{part: str(volume_part.volume.file) for part, volume_part in places.items()},
        "masks": described,
    }
    new_task = task.make(
        name or parts[0].volume.file.stem,
        class_values.names,
        rows,
        kind="segmentation",
        channels=parts[0].channels,
        dtype="float32",
        source=source,
        notes=_notes(parts[0].cuts, blocks),
    )
    return finished(new_task, allow_overlap)


@dataclass(frozen=True)
class _Part:
    """A part of the task.

    Attributes:
        part: `train` or `test`.
        volume: The place of its volume.
        targets: The place of its class numbers; None: it has none.
        cuts: Its slices.
        channels: The number of channels.
    """

    part: Part
    volume: Place
    targets: Place | None
    cuts: Cuts
    channels: int

    def digests(self, sets: Sequence[Mapping[str, Any]], data_dir: str | None) -> list[str]:
        """Return the hash of every slice."""
        return sliced_volumes.image_digests(self.volume, self.cuts, self._memory(self.volume, sets, data_dir))

    def masks(self, sets: Sequence[Mapping[str, Any]], data_dir: str | None) -> list[Mask]:
        """Return the values in the mask of every slice; empty without class numbers."""
        if self.targets is None:
            return []
        return sliced_volumes.masks_of(self.targets, self.cuts, self._memory(self.targets, sets, data_dir))

    def _memory(self, place: Place, sets: Sequence[Mapping[str, Any]], data_dir: str | None) -> Path | None:
        digest = files.digest([place.key, place.dataset, self.cuts.shape, [dict(slice_set) for slice_set in sets]])
        return file_headers.memory_file(data_dir, place.file, digest)


def _require_one_size(sets: Sequence[SliceSet]) -> None:
    """Require slices of one size with at most three axes, so that a network can learn from them.

    Raises:
        ConfigError: If they have more than three axes, or several sizes.
    """
    problems = []
    for number, slice_set in enumerate(sets):
        place = f"{_KEY}[{number}].sizes"
        if slice_set.rank > _MOST_AXES:
            wrong = f"gives slices of {slice_set.rank} axes, networks take {_MOST_AXES} at most"
            fix = "set sizes to 1 along the others"
            problems.append(problem(place, wrong, got=list(slice_set.sizes), fix=fix))
        elif slice_set.seen != sets[0].seen:
            wrong = f"gives {list(slice_set.seen)} with what is put around, {_KEY}[0] gives {list(sets[0].seen)}"
            fix = "training takes slices of one size: give padded_sizes that agree"
            problems.append(problem(place, wrong, got=list(slice_set.sizes), fix=fix))
    if problems:
        raise ConfigError(problems)


def _opened(
    inputs: Mapping[Part, str | None],
    targets: Mapping[Part, str | None],
    sets: Sequence[SliceSet],
    dataset: str | None,
    target_dataset: str | None,
) -> list[_Part]:
    """Return the parts that exist, after checking that their shapes fit the slices and each other.

    Raises:
        DataError: With one sentence for each fault.
    """
    if all(path is None for path in inputs.values()):
        raise DataError(problem("task.train", "a file is needed", fix="add task.train=volume.npy"))
    wrong = [
        problem(f"task.{part}_targets", "is of a volume that is not there", fix=f"add task.{part}=volume.npy")
        for part, path in targets.items()
        if path is not None and inputs[part] is None
    ]
    if inputs["train"] is not None and targets["train"] is None:
        fix = "name the file of class numbers"
        wrong.append(problem("task.train_targets", "is needed", fix=fix))
    parts = list[_Part]()
    for part, input_path in inputs.items():
        if input_path is None:
            continue
        try:
            parts.append(_part(part, input_path, targets[part], sets, (dataset, target_dataset)))
        except DataError as error:
            wrong += error.problems
    if len({volume_part.channels for volume_part in parts}) > 1:
        counts = listing([volume_part.channels for volume_part in parts])
        wrong.append(problem("task.test", f"volumes have {counts} channels", fix="give both as many"))
    if wrong:
        raise DataError(wrong)
    return parts


def _part(
    part: Part, path: str, targets: str | None, sets: Sequence[SliceSet], names: tuple[str | None, str | None]
) -> _Part:
    """Return a part after checking its shapes.

    Raises:
        DataError: If a file is missing or not an array, or shapes do not fit.
        ConfigError: If no whole slice fits into the volume.
    """
    axes = len(sets[0].sizes)
    place = _place(path, part, names[0], targets=False)
    volume = place.open()
    if wrong := sliced_volumes.shape_problems(volume, axes, place.key):
        raise DataError(wrong)
    shape = sliced_volumes.spatial_shape(volume, axes)
    cuts = Cuts(part, sets, shape)
    for number, grid in enumerate(cuts.grids):
        cutting.require_cuttable(grid, f"{_KEY}[{number}]", joined=False)
    of_targets = None
    if targets is not None:
        of_targets = _place(targets, part, names[1], targets=True)
        if wrong := sliced_volumes.shape_problems(of_targets.open(), axes, of_targets.key, shape):
            raise DataError(wrong)
    return _Part(part, place, of_targets, cuts, volume.shape[0] if len(volume.shape) > axes else 1)


def _place(path: str, part: Part, dataset: str | None, *, targets: bool) -> Place:
    key = f"task.{part}_targets" if targets else f"task.{part}"
    file = arrays.file_of(current_folder.expanded(path).absolute(), key)
    return sliced_volumes.place_of(file, part, dataset, targets=targets)


def _require_known(parts: Sequence[_Part], masks: Mapping[str, Sequence[Mask]], values: Values) -> None:
    """Require that every value in the arrays of class numbers is a class.

    Raises:
        DataError: With one sentence for each volume that has unknown values.
    """
    wrong = []
    for part in parts:
        unknown = sorted({value for mask in masks[part.part] for value in values.unknown(mask)})
        if unknown:
            fault = f"holds values that are no class ({listing(unknown, most=5)})"
            fix = "name them with task.values and task.classes, or task.ignore_index"
            wrong.append(problem(f"task.{part.part}_targets", fault, fix=fix))
    if wrong:
        raise DataError(wrong)


def _rows(
    part: _Part,
    masks: Sequence[Mask],
    values: Values,
    blocks: int,
    sets: Sequence[Mapping[str, Any]],
    data_dir: str | None,
) -> list[Row]:
    """Return the samples of a part."""
    rows = []
    digests = part.digests(sets, data_dir)
    for number, (name, (grid, at)) in enumerate(part.cuts.places.items()):
        group = f"{part.part}, {_block(grid, at, blocks)}" if blocks else ""
        if not masks:
            rows.append(Row(name, "unlabelled", (float("nan"),) * len(values.names), digests[number], group))
            continue
        mask = (name, masks[number].digest)
        rows.append(Row(name, part.part, values.shares(masks[number]), digests[number], group, mask=mask))
    return rows


def _block(grid: Grid, at: int, blocks: int) -> str:
    """Return the block that a slice lies in, along the axis on which slices follow each other."""
    axis = _axis(grid)
    return f"axis {axis}, block {grid.start(at)[axis] * blocks // grid.shape[axis]}"


def _axis(grid: Grid) -> int:
    """Return the axis of size 1 with the most slices; if none has several slices, any such axis."""
    flat = [axis for axis in grid.cut.flat if grid.counts[axis] > 1] or range(len(grid.shape))
    return max(flat, key=lambda axis: grid.counts[axis])


def _notes(cuts: Cuts, blocks: int) -> list[str]:
    """Return notes about folds of slices."""
    if not blocks:
        return ["neighbouring slices may come in different folds (task.blocks=0), which flatters scores of validation"]
    axes = sorted({_axis(grid) for grid in cuts.grids})
    notes = []
    if len(axes) > 1:
        wrong = f"slice sets follow the axes {listing(axes)}"
        notes.append(f"{wrong}: slices of one lie across those of another, in other folds too; judge by a test volume")
    if any(grid.coverage[_axis(grid)].max() > 1 for grid in cuts.grids):
        notes.append("slices overlap: those at the border of a block share places with the next block")
        # Slices that extend along that axis lie side by side and are not nearly identical.
    counts = [grid.counts[_axis(grid)] for grid in cuts.grids if _axis(grid) in grid.cut.flat]
    if few := [count for count in counts if blocks >= count > 1]:
        fix = f"give at most task.blocks={max(2, min(few) // 4)}"
        notes.append(f"a block holds a single slice, so neighbours may come in different folds: {fix}")
    return notes
