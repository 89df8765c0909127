"""Images with masks (a class for every pixel): two parallel folders, or a table of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from mlpipe import current_folder
from mlpipe.data import spelling, visible_files
from mlpipe.data.archives import opened
from mlpipe.data.sources.error_lists import Faults
from mlpipe.data.sources.listings.class_folders import PART_FOLDERS
from mlpipe.data.sources.listings.image_pairs import Names, Pair, paired
from mlpipe.data.sources.listings.pixel_rules import PixelSettings
from mlpipe.data.sources.listings.table_files import Table, read
from mlpipe.data.sources.listings.table_rows import check_paths, group_hint, other_columns, relative
from mlpipe.data.sources.source import finished
from mlpipe.data.sources.targets.masked_pairs import MaskedImages, Reading, of_pairs
from mlpipe.data.sources.targets.missing_labels import Missing
from mlpipe.data.task import Part, Task
from mlpipe.errors import DataError, listing, problem

_OPTIONAL = ("split", "fold", "group", "weight")


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
    """Images and masks: files of the same path, up to the extension, in two folders, or a table with one row per pair.

    Masks are grey or palette images whose pixels hold the value of a class, or 0 and 255 for two classes. Parts are
    folders named train, val, test or unlabelled, either below `images` and `masks` or above both. Images in `unlabelled`
    need no mask. The task is named after the folder and a hash of its contents.

    Args:
        root: The folder, or a zip or tar archive of it, that holds both; None: `images` and `masks` are paths.
        images: The folder of images below `root`; with `file`, the column of their paths.
        masks: The folder of masks below `root`; with `file`, the column of their paths, empty for unlabelled images.
        mask_suffix: What is appended to an image's name, before the extension, to get its mask's name, such as `_mask`.
        pairing: `name`: match by file name; `order`: match in order, images and masks both sorted by path, for folders whose
            file names are unrelated.
        file: A table (.csv, .tsv, .parquet) instead of two folders, with paths relative to `root` or else to its own folder;
            columns `split`, `fold`, `group` and `weight` are used if they exist.
        missing: The table cells that mean "no value", as for `csv`.
        name: The task's name before the hash; None: the name of the folder or table.
        classes: The class names; None: background and foreground for two values, else the values.
        values: The mask value of each class; None: 0, 1, 2, ..., or 0 and 255.
        ignore_index: The value of pixels that are left out of the loss and all scores.
        group: A regular expression with one group, as for `folder`.
        channels: As for `folder`, for the images.
        bits: As for `folder`, for the images.
        value_range: As for `folder`, for the images.
        background: As for `folder`, for the images.
        max_unreadable: As for `folder`.
        allow_overlap: As for `folder`.
        data_dir: As for `folder`.

    Raises:
        DataError: With one sentence for each image without mask, mask without image, unequal size and unknown value.
    """
    masked_images = (
        _of_table(file, root, images, masks, Missing(missing), data_dir)
        if file
        else _of_folders(root, images, masks, Names(mask_suffix, pairing), data_dir)
    )
    new_task = of_pairs(
        masked_images,
        [relative(pair.image, masked_images.images) for pair in masked_images.pairs],
        name or current_folder.expanded(file or root or images).absolute().name.split(".")[0],
        {"type": "mask_table" if file else "masks", "root": str(masked_images.images)},
        Reading(classes, values, ignore_index, PixelSettings(channels, bits, value_range, background)),
        group=group,
        data_dir=data_dir,
    )
    return finished(new_task, allow_overlap)


def _of_folders(root: str | None, images: str, masks: str, names: Names, data_dir: str | None) -> MaskedImages:
    base, both = opened(root, data_dir, "task.root") if root is not None else Path.cwd(), (images, masks)
    parts = _parts_above(base, images, masks) if root is not None else {}
    if parts:
        pairs = [
            pair for part, folder in parts.items() for pair in paired(folder / images, folder / masks, names, part)
        ]
        return MaskedImages(
            base,
            base,
            pairs,
            visible_files.notes([folder / subfolder for folder in parts.values() for subfolder in both]),
        )
    for key, folder in (("task.images", images), ("task.masks", masks)):
        if not (base / current_folder.expanded(folder)).is_dir():
            inside = listing(sorted(entry.name for entry in base.iterdir() if entry.is_dir())) or "none"
            fix = f"name the folders with task.images=DIR and task.masks=DIR; {base} has the folders {inside}"
            raise DataError(problem(key, "there is no such folder", got=str(base / folder), fix=fix))
    of_images, of_masks = (base / current_folder.expanded(folder) for folder in (images, masks))
    pairs = paired(of_images, of_masks, names, None)
    return MaskedImages(of_images, of_masks, pairs, visible_files.notes([of_images, of_masks]))


def _parts_above(base: Path, images: str, masks: str) -> dict[Part, Path]:
    """Return the folders train, val, ... that hold folders of images and masks; empty if there are none."""
    parts = {
        PART_FOLDERS[entry.name.lower()]: entry
        for entry in sorted(base.iterdir())
        if entry.is_dir() and entry.name.lower() in PART_FOLDERS and (entry / images).is_dir()
    }
    return parts if "train" in parts and not (base / images).is_dir() else {}


def _of_table(
    file: str, root: str | None, images: str, masks: str, missing: Missing, data_dir: str | None
) -> MaskedImages:
    where = current_folder.expanded(file).absolute()
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
    faults.add(_missing_mask_problems(table, mask, of_masks, base))
    columns = {key: key if key in table.names else None for key in _OPTIONAL}
    extras = other_columns(table, columns, missing, faults)
    faults.tell()
    pairs = [
        Pair(
            path,
            of_masks[index],
            extras.parts[index] or "train",
            extras.groups[index],
            extras.weight(index),
            extras.fold(index),
        )
        for index, path in enumerate(paths)
    ]
    hint = [] if columns["group"] else group_hint(table, (image, mask), "renaming it to group keeps them together")
    return MaskedImages(base, base, pairs, [*extras.notes, *hint])


def _missing_mask_problems(table: Table, column: str, of_masks: Sequence[Path | None], base: Path) -> list[str]:
    fix = f"correct the path (taken from {base})"
    return [
        problem(table.where(index, column), "there is no such file", got=str(path), fix=fix)
        for index, path in enumerate(of_masks)
        if path is not None and not path.is_file()
    ]
