"""Images with a mask each, of which every pixel says its class: two folders side by side, or a table of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from mlpipe.data import spelling, task, walking
from mlpipe.data.sources import looking, mask_files, pixel_rules
from mlpipe.data.sources.class_folders import PART_FOLDERS, finished, groups_of, opened
from mlpipe.data.sources.faults import Faults, raise_some
from mlpipe.data.sources.image_pairs import Names, Pair, paired, size_problems
from mlpipe.data.sources.looking import Look
from mlpipe.data.sources.mask_files import Mask, Values
from mlpipe.data.sources.missing import Missing
from mlpipe.data.sources.pixel_rules import Wanted
from mlpipe.data.sources.table_files import Table, read
from mlpipe.data.sources.tables import check_paths, relative, said_of_rows
from mlpipe.data.spelling import plain_all
from mlpipe.data.task import Part, Row, Task
from mlpipe.errors import DataError, listing, problem

_OPTIONAL = ("split", "fold", "group", "weight")


@dataclass(frozen=True)
class Found:
    """What there is to learn from: the folders that images and masks are named from, the pairs, and what is to be said."""

    images: Path
    masks: Path
    pairs: list[Pair]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """How masks are read, each as the key of `masks` of that name, `ignored` as its `ignore_index`; and how images are."""

    classes: list[str] | None
    values: list[int] | None
    ignored: int | None
    images: Wanted


def masks(
    *,
    root: str | None = None,
    images: str = "images",
    masks: str = "masks",
    mask_suffix: str = "",
    pairing: Literal["name", "order"] = "name",
    file: str | None = None,
    missing: bool | list[Any] | None = None,
    name: str | None = None,
    classes: list[str] | None = None,
    values: list[int] | None = None,
    ignore_index: Annotated[int, ">= 0", "<= 65535"] | None = None,
    group: str | None = None,
    channels: Literal[1, 3, 4] | None = None,
    bits: Literal[8, 16] | None = None,
    value_range: tuple[float, float] | None = None,
    background: Literal["white", "black"] = "white",
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
    data_dir: str | None = None,
) -> Task:
    """Images and masks: a file of the same path but for its ending in a second folder, or a table with a row for each pair.

    Masks are grey or palette images of which every pixel is the value of a class, or 0 and 255 for two of them. Parts are
    folders named train, val, test or unlabelled, below `images` and `masks` or above both. Images in `unlabelled` need no
    mask. The task is named after the folder and a hash of everything in it.

    Args:
        root: The folder, or a zip or tar archive of it, that holds both; None: `images` and `masks` are paths.
        images: The folder of images below `root`; with `file` the column of their paths.
        masks: The folder of masks below `root`; with `file` the column of theirs, empty for unlabelled images.
        mask_suffix: What a mask's name has more than its image's, before the ending, such as `_mask`.
        pairing: `name`, or `order`: the first image with the first mask, both sorted by their paths, for two folders whose
            names have nothing in common.
        file: A table (.csv, .tsv, .parquet) in place of two folders, its paths relative to `root`, else to its own folder;
            columns `split`, `fold`, `group` and `weight` are used when they are there.
        missing: Which cells of the table have no value, as for `csv`.
        name: The task's name before the hash; None takes the folder's or the table's.
        classes: The names of the classes; None: background and foreground for two values, else the values.
        values: The value of each class in the masks; None: 0, 1, 2, ..., or 0 and 255.
        ignore_index: The value of pixels that count neither in the loss nor in any score.
        group: A regular expression with one group, as for `folder`.
        channels: As for `folder`, of the images.
        bits: As for `folder`, of the images.
        value_range: As for `folder`, of the images.
        background: As for `folder`, of the images.
        max_unreadable: As for `folder`.
        allow_overlap: As for `folder`.
        data_dir: As for `folder`.

    Raises:
        DataError: With a sentence for each image without mask, mask without image, unequal size and unknown value.
    """
    found = (
        _of_table(file, root, images, masks, Missing(missing), data_dir)
        if file
        else _of_folders(root, images, masks, Names(mask_suffix, pairing), data_dir)
    )
    made = of_pairs(
        found,
        [relative(pair.image, found.images) for pair in found.pairs],
        name or Path(file or root or images).expanduser().absolute().name.split(".")[0],
        {"type": "mask_table" if file else "masks", "root": str(found.images)},
        Reading(classes, values, ignore_index, Wanted(channels, bits, value_range, background)),
        group=group,
        data_dir=data_dir,
    )
    return finished(made, allow_overlap)


def of_pairs(
    found: Found,
    names: Sequence[str],
    title: str,
    source: Mapping[str, Any],
    reading: Reading,
    *,
    group: str | None = None,
    data_dir: str | None = None,
) -> Task:
    """The task of images with masks, before it has its final name.

    Args:
        found: The pairs.
        names: The id of each.
        title: The task's name.
        source: How its images are found again.
        reading: How images and masks are read.
        group: As for `masks`.
        data_dir: As for `masks`.

    Raises:
        DataError: As `masks` raises it.
    """
    pairs = found.pairs
    paths = [pair.image for pair in pairs]
    looks = looking.look(paths, looking.memory_file(data_dir, found.images))
    masked = [pair.mask for pair in pairs if pair.mask is not None]
    seen = dict(zip(masked, mask_files.look(masked, looking.memory_file(data_dir, found.masks, "masks")), strict=True))
    raise_some(
        [
            problem(str(path), f"is no mask: {mask.reason}", fix="repair it")
            for path, mask in seen.items()
            if mask.reason
        ]
    )
    of_values = mask_files.values_of(list(seen.values()), plain_all(reading.classes), reading.values, reading.ignored)
    raise_some(_problems(pairs, looks, seen, of_values))
    pixels = pixel_rules.decided(paths, looks, reading.images)
    groups, of_groups = [pair.group for pair in pairs], list[str]()
    if group is not None:
        groups, of_groups = groups_of(names, group, [pair.part for pair in pairs])
    rows = [
        _row(pair, names[place], groups[place], looks[place].digest, found.masks, seen, of_values)
        for place, pair in enumerate(pairs)
    ]
    return task.make(
        title,
        of_values.names,
        rows,
        kind="segmentation",
        channels=pixels.channels,
        dtype=pixels.dtype,
        source={**source, **pixels.source, "masks": mask_files.described(found.masks, of_values)},
        notes=[
            *_notes(of_values, rows),
            *_turned_apart(pairs, looks, seen),
            *found.notes,
            *of_groups,
            *pixels.notes,
        ],
    )


def _row(pair: Pair, name: str, group: str, digest: str, base: Path, seen: dict[Path, Mask], values: Values) -> Row:
    if pair.mask is None:
        nothing = (float("nan"),) * len(values.names)
        return Row(name, "unlabelled", nothing, digest, group, pair.weight, -1)
    mask = seen[pair.mask]
    return Row(
        name, pair.part, values.shares(mask), digest, group, pair.weight, pair.fold,
        mask=(relative(pair.mask, base), mask.digest),
    )  # fmt: skip


def _problems(pairs: Sequence[Pair], looks: Sequence[Look], seen: dict[Path, Mask], values: Values) -> list[str]:
    """A sentence for each mask of another size than its image, or with a value that is no class."""
    wrong = []
    for pair, look in zip(pairs, looks, strict=True):
        if pair.mask is None:
            continue
        mask = seen[pair.mask]
        # What cannot be read is listed when it is decoded.
        wrong += size_problems(pair, look, mask.width, mask.height) if look.channels else []
        if unknown := values.unknown(mask):
            known = f"{listing(values.numbers, most=8)}"
            what = f"has values that are no class ({listing(unknown, most=5)}), the classes are {known}"
            fix = f"add task.ignore_index={unknown[-1]}, or name them with task.values and task.classes"
            wrong.append(problem(str(pair.mask), what, fix=fix))
    return wrong


def _turned_apart(pairs: Sequence[Pair], looks: Sequence[Look], seen: Mapping[Path, Mask]) -> list[str]:
    """How many masks have another EXIF orientation than their images."""
    count = sum(
        pair.mask is not None and seen[pair.mask].orientation != look.orientation
        for pair, look in zip(pairs, looks, strict=True)
        if look.channels
    )
    told = "each is turned as its own tag says"
    return [f"{count} masks have another EXIF orientation than their images; {told}"] if count else []


def _notes(values: Values, rows: Sequence[Row]) -> list[str]:
    named = ", ".join(f"{number} is {name}" for number, name in zip(values.numbers, values.names, strict=True))
    rest = "" if values.ignored is None else f"; {values.ignored} is ignored"
    notes = [f"values in the masks: {named}{rest}"] if len(values.names) <= 20 else []
    absent = [name for place, name in enumerate(values.names) if not any(row.target[place] > 0 for row in rows)]  # type: ignore[index]
    return notes + ([f"no mask has a pixel of {listing(absent)}"] if absent else [])


def _of_folders(root: str | None, images: str, masks: str, names: Names, data_dir: str | None) -> Found:
    base, both = opened(root, data_dir, "task.root") if root is not None else Path.cwd(), (images, masks)
    parts = _parts_above(base, images, masks) if root is not None else {}
    if parts:
        pairs = [
            pair for part, folder in parts.items() for pair in paired(folder / images, folder / masks, names, part)
        ]
        return Found(base, base, pairs, walking.notes([folder / one for folder in parts.values() for one in both]))
    for key, folder in (("task.images", images), ("task.masks", masks)):
        if not (base / Path(folder).expanduser()).is_dir():
            inside = listing(sorted(entry.name for entry in base.iterdir() if entry.is_dir())) or "none"
            fix = f"name the folders with task.images=DIR and task.masks=DIR; {base} has the folders {inside}"
            raise DataError(problem(key, "there is no such folder", got=str(base / folder), fix=fix))
    of_images, of_masks = (base / Path(folder).expanduser() for folder in (images, masks))
    pairs = paired(of_images, of_masks, names, None)
    return Found(of_images, of_masks, pairs, walking.notes([of_images, of_masks]))


def _parts_above(base: Path, images: str, masks: str) -> dict[Part, Path]:
    """The folders train, val, ... that hold folders of images and masks; empty where there are none."""
    found = {
        PART_FOLDERS[entry.name.lower()]: entry
        for entry in sorted(base.iterdir())
        if entry.is_dir() and entry.name.lower() in PART_FOLDERS and (entry / images).is_dir()
    }
    return found if "train" in found and not (base / images).is_dir() else {}


def _of_table(file: str, root: str | None, images: str, masks: str, missing: Missing, data_dir: str | None) -> Found:
    where = Path(file).expanduser().absolute()
    table, faults = read(where), Faults()
    image, mask = ("image" if images == "images" else images), ("mask" if masks == "masks" else masks)
    for column, key in ((image, "task.images"), (mask, "task.masks")):
        faults.of(partial(table.require, column, key), None)
    faults.tell()
    base = opened(root, data_dir, "task.root") if root is not None else where.parent
    find = spelling.finder()
    faults.add(table.torn)
    paths = [find(base, text) for text in table.stored(image)]
    of_masks = [None if missing.means(spelling.plain(text)) else find(base, text) for text in table.stored(mask)]
    faults.of(lambda: check_paths(table, image, paths, base), None)
    faults.add(_lost_masks(table, mask, of_masks, base))
    there = {key: key if key in table.names else None for key in _OPTIONAL}
    said = said_of_rows(table, there, missing, faults)
    faults.tell()
    pairs = [
        Pair(
            path,
            of_masks[index],
            said.parts[index] or "train",
            said.groups[index],
            said.weight(index),
            said.fold(index),
        )
        for index, path in enumerate(paths)
    ]
    return Found(base, base, pairs, said.notes)


def _lost_masks(table: Table, column: str, of_masks: Sequence[Path | None], base: Path) -> list[str]:
    fix = f"correct the path (taken from {base})"
    return [
        problem(table.where(index, column), "there is no such file", got=str(path), fix=fix)
        for index, path in enumerate(of_masks)
        if path is not None and not path.is_file()
    ]
