"""Task of pairs of images and masks: the class of each value, and the share of each class in every mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlpipe.data import task
from mlpipe.data.sources.error_lists import raise_some
from mlpipe.data.sources.listings import file_headers, pixel_rules
from mlpipe.data.sources.listings.file_headers import Look
from mlpipe.data.sources.listings.image_pairs import Pair, size_problems
from mlpipe.data.sources.listings.path_groups import groups_of
from mlpipe.data.sources.listings.pixel_rules import PixelSettings
from mlpipe.data.sources.listings.table_rows import relative
from mlpipe.data.sources.targets import mask_files
from mlpipe.data.sources.targets.mask_files import Mask, Values
from mlpipe.data.spelling import plain_all
from mlpipe.data.task import Row, Task
from mlpipe.errors import counted, listing, problem


@dataclass(frozen=True)
class MaskedImages:
    """Training images with masks: the folders that their names are relative to, the pairs, and notes."""

    images: Path
    masks: Path
    pairs: list[Pair]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """Settings for reading masks, each a key of `masks` (`ignored` is `ignore_index`), and for reading images."""

    classes: list[str] | None
    values: list[int] | None
    ignored: int | None
    images: PixelSettings


def of_pairs(
    images: MaskedImages,
    names: Sequence[str],
    title: str,
    source: Mapping[str, Any],
    reading: Reading,
    *,
    group: str | None = None,
    data_dir: str | None = None,
) -> Task:
    """Return the task of images with masks, before it has its final name.

    Args:
        images: The pairs.
        names: The id of each.
        title: The task's name.
        source: The entries of the task's source for finding its images again.
        reading: How images and masks are read.
        group: As for `masks`.
        data_dir: As for `masks`.

    Raises:
        DataError: As for `masks`.
    """
    pairs = images.pairs
    paths = [pair.image for pair in pairs]
    looks = file_headers.look(paths, file_headers.memory_file(data_dir, images.images))
    masked = [pair.mask for pair in pairs if pair.mask is not None]
    mask_looks = dict(
        zip(masked, mask_files.look(masked, file_headers.memory_file(data_dir, images.masks, "masks")), strict=True)
    )
    raise_some(
        [
            problem(str(path), f"is no mask: {mask.reason}", fix="repair it")
            for path, mask in mask_looks.items()
            if mask.reason
        ]
    )
    of_values = mask_files.values_of(
        list(mask_looks.values()), plain_all(reading.classes), reading.values, reading.ignored
    )
    raise_some(_problems(pairs, looks, mask_looks, of_values))
    pixels = pixel_rules.format_of(paths, looks, reading.images)
    groups, of_groups = [pair.group for pair in pairs], list[str]()
    if group is not None:
        groups, of_groups = groups_of(names, group, [pair.part for pair in pairs])
    rows = [
        _row(pair, names[place], groups[place], looks[place].digest, images.masks, mask_looks, of_values)
        for place, pair in enumerate(pairs)
    ]
    return task.make(
        title,
        of_values.names,
        rows,
        kind="segmentation",
        channels=pixels.channels,
        dtype=pixels.dtype,
        source={**source, **pixels.source, "masks": mask_files.described(images.masks, of_values)},
        notes=[
            *_notes(of_values, rows),
            *_turned_apart(pairs, looks, mask_looks),
            *images.notes,
            *of_groups,
            *pixels.notes,
        ],
    )


def _row(
    pair: Pair, name: str, group: str, digest: str, base: Path, mask_looks: dict[Path, Mask], values: Values
) -> Row:
    if pair.mask is None:
        nothing = (float("nan"),) * len(values.names)
        return Row(name, "unlabelled", nothing, digest, group, pair.weight, -1)
    mask = mask_looks[pair.mask]
    return Row(
        name, pair.part, values.shares(mask), digest, group, pair.weight, pair.fold,
        mask=(relative(pair.mask, base), mask.digest),
    )  # fmt: skip


def _problems(pairs: Sequence[Pair], looks: Sequence[Look], mask_looks: dict[Path, Mask], values: Values) -> list[str]:
    """Return a sentence for each mask of another size than its image, or with a value that is not a class."""
    wrong = []
    for pair, look in zip(pairs, looks, strict=True):
        if pair.mask is None:
            continue
        mask = mask_looks[pair.mask]
        # Unreadable images are reported when they are decoded.
        wrong += size_problems(pair, look, mask.width, mask.height) if look.channels else []
        if unknown := values.unknown(mask):
            known = f"{listing(values.numbers, most=8)}"
            fault = f"has values that are no class ({listing(unknown, most=5)}), the classes are {known}"
            fix = f"add task.ignore_index={unknown[-1]}, or name them with task.values and task.classes"
            wrong.append(problem(str(pair.mask), fault, fix=fix))
    return wrong


def _turned_apart(pairs: Sequence[Pair], looks: Sequence[Look], mask_looks: Mapping[Path, Mask]) -> list[str]:
    """Return a note about masks whose EXIF orientation differs from their images'."""
    count = sum(
        pair.mask is not None and mask_looks[pair.mask].orientation != look.orientation
        for pair, look in zip(pairs, looks, strict=True)
        if look.channels
    )
    clause = "each is turned as its own tag says"
    return (
        [f"{counted(count, 'mask has', 'masks have')} another EXIF orientation than the image; {clause}"]
        if count
        else []
    )


def _notes(values: Values, rows: Sequence[Row]) -> list[str]:
    rest = "" if values.ignored is None else f"; {values.ignored} is ignored"
    if [str(number) for number in values.numbers] == list(values.names):
        note = f"classes have no names but the values in the masks, {', '.join(values.names)}; task.classes names them"
    else:
        pairs = zip(values.numbers, values.names, strict=True)
        note = "values in the masks: " + ", ".join(f"{number} is {name}" for number, name in pairs)
    notes = [f"{note}{rest}"] if len(values.names) <= 20 else []
    absent = [name for place, name in enumerate(values.names) if not any(row.target[place] > 0 for row in rows)]  # type: ignore[index]
    return notes + ([f"no mask has a pixel of {listing(absent)}"] if absent else [])
