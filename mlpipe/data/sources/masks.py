"""Images with a mask each, of which every pixel says its class: two folders side by side, or a table of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from mlpipe.data import task
from mlpipe.data.sources import looking, mask_files
from mlpipe.data.sources.class_folders import PART_FOLDERS, dtype_of, finished, groups_of, images_below, opened
from mlpipe.data.sources.looking import Look
from mlpipe.data.sources.mask_files import Mask, Values
from mlpipe.data.sources.table_files import read
from mlpipe.data.sources.table_targets import raise_some
from mlpipe.data.sources.tables import check_paths, numbers_of, parts_of, relative
from mlpipe.data.task import Part, Row, Task
from mlpipe.errors import DataError, listing, problem

_OPTIONAL = ("split", "fold", "group", "weight")


@dataclass(frozen=True)
class Pair:
    """An image and its mask.

    Attributes:
        image: The image's file.
        mask: The mask's; None: it has none.
        part: The part that it came in.
        group: Images of one group are never split.
        weight: How much it counts in the loss.
        fold: The fold that it came with; -1: none.
    """

    image: Path
    mask: Path | None
    part: Part
    group: str = ""
    weight: float = 1.0
    fold: int = -1


@dataclass(frozen=True)
class Found:
    """What there is to learn from: the folders that images and masks are named from, and the pairs."""

    images: Path
    masks: Path
    pairs: list[Pair]


@dataclass(frozen=True)
class Reading:
    """How images and masks are read; each as the key of `masks` of that name, `ignored` as its `ignore_index`."""

    classes: list[str] | None
    values: list[int] | None
    ignored: int | None
    channels: int | None
    bits: int | None


@dataclass(frozen=True)
class Names:
    """How masks are called: what their names have more, whether names or order make pairs, and what they are."""

    suffix: str
    pairing: str
    what: str = "mask"


def masks(
    *,
    root: str | None = None,
    images: str = "images",
    masks: str = "masks",
    mask_suffix: str = "",
    pairing: Literal["name", "order"] = "name",
    file: str | None = None,
    name: str | None = None,
    classes: list[str] | None = None,
    values: list[int] | None = None,
    ignore_index: Annotated[int, ">= 0", "<= 65535"] | None = None,
    group: str | None = None,
    channels: Literal[1, 3, 4] | None = None,
    bits: Literal[8, 16] | None = None,
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
        name: The task's name before the hash; None takes the folder's or the table's.
        classes: The names of the classes; None: background and foreground for two values, else the values.
        values: The value of each class in the masks; None: 0, 1, 2, ..., or 0 and 255.
        ignore_index: The value of pixels that count neither in the loss nor in any score.
        group: A regular expression with one group, as for `folder`.
        channels: As for `folder`, of the images.
        bits: As for `folder`, of the images.
        max_unreadable: As for `folder`.
        allow_overlap: As for `folder`.
        data_dir: As for `folder`.

    Raises:
        DataError: With a sentence for each image without mask, mask without image, unequal size and unknown value.
    """
    found = (
        _of_table(file, root, images, masks, data_dir)
        if file
        else _of_folders(root, images, masks, Names(mask_suffix, pairing), data_dir)
    )
    made = of_pairs(
        found,
        [relative(pair.image, found.images) for pair in found.pairs],
        name or Path(file or root or images).expanduser().absolute().name.split(".")[0],
        {"type": "mask_table" if file else "masks", "root": str(found.images)},
        Reading(classes, values, ignore_index, channels, bits),
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
    looks = looking.look([pair.image for pair in pairs], looking.memory_file(data_dir, found.images))
    masked = [pair.mask for pair in pairs if pair.mask is not None]
    seen = dict(zip(masked, mask_files.look(masked, looking.memory_file(data_dir, found.masks, "masks")), strict=True))
    raise_some(
        [
            problem(str(path), f"is no mask: {mask.reason}", fix="repair it")
            for path, mask in seen.items()
            if mask.reason
        ]
    )
    of_values = mask_files.values_of(list(seen.values()), reading.classes, reading.values, reading.ignored)
    raise_some(_problems(pairs, looks, seen, of_values))
    groups = groups_of(names, group) if group is not None else [pair.group for pair in pairs]
    rows = [
        _row(pair, names[place], groups[place], looks[place].digest, found.masks, seen, of_values)
        for place, pair in enumerate(pairs)
    ]
    return task.make(
        title,
        of_values.names,
        rows,
        kind="segmentation",
        channels=reading.channels or looking.channels_of(looks),
        dtype=dtype_of(reading.bits or looking.bits_of(looks)),
        source={**source, "masks": mask_files.described(found.masks, of_values)},
        notes=_notes(of_values, rows),
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
        if look.channels and (mask.width, mask.height) != (look.width, look.height):
            what = f"is {mask.width} x {mask.height} pixels, its image {pair.image.name} {look.width} x {look.height}"
            wrong.append(problem(str(pair.mask), what, fix="make them of one size"))
        if unknown := values.unknown(mask):
            known = f"{listing(values.numbers, most=8)}"
            what = f"has values that are no class ({listing(unknown, most=5)}), the classes are {known}"
            fix = f"add task.ignore_index={unknown[-1]}, or name them with task.values and task.classes"
            wrong.append(problem(str(pair.mask), what, fix=fix))
    return wrong


def _notes(values: Values, rows: Sequence[Row]) -> list[str]:
    named = ", ".join(f"{number} is {name}" for number, name in zip(values.numbers, values.names, strict=True))
    rest = "" if values.ignored is None else f"; {values.ignored} is ignored"
    notes = [f"values in the masks: {named}{rest}"] if len(values.names) <= 20 else []
    absent = [name for place, name in enumerate(values.names) if not any(row.target[place] > 0 for row in rows)]  # type: ignore[index]
    return notes + ([f"no mask has a pixel of {listing(absent)}"] if absent else [])


def _of_folders(root: str | None, images: str, masks: str, names: Names, data_dir: str | None) -> Found:
    base = opened(root, data_dir, "task.root") if root is not None else Path.cwd()
    parts = _parts_above(base, images, masks) if root is not None else {}
    if parts:
        pairs = [
            pair for part, folder in parts.items() for pair in paired(folder / images, folder / masks, names, part)
        ]
        return Found(base, base, pairs)
    for key, folder in (("task.images", images), ("task.masks", masks)):
        if not (base / Path(folder).expanduser()).is_dir():
            inside = listing(sorted(entry.name for entry in base.iterdir() if entry.is_dir())) or "none"
            fix = f"name the folders with task.images=DIR and task.masks=DIR; {base} has the folders {inside}"
            raise DataError(problem(key, "there is no such folder", got=str(base / folder), fix=fix))
    of_images, of_masks = (base / Path(folder).expanduser() for folder in (images, masks))
    return Found(of_images, of_masks, paired(of_images, of_masks, names, None))


def _parts_above(base: Path, images: str, masks: str) -> dict[Part, Path]:
    """The folders train, val, ... that hold folders of images and masks; empty where there are none."""
    found = {
        PART_FOLDERS[entry.name.lower()]: entry
        for entry in sorted(base.iterdir())
        if entry.is_dir() and entry.name.lower() in PART_FOLDERS and (entry / images).is_dir()
    }
    return found if "train" in found and not (base / images).is_dir() else {}


def paired(images: Path, masks: Path, names: Names, part: Part | None) -> list[Pair]:
    """Each image with the mask of its name.

    Args:
        images: The folder of images.
        masks: The folder of masks.
        names: How a mask is called.
        part: The part of all of them; None: the first folder below `images` says it where all of these are parts.

    Raises:
        DataError: With a sentence for each one that has no partner, or several.
    """
    own, others = _apart(images, masks, names.suffix)
    if not own:
        raise DataError(problem(str(images), "has no images", fix="add images, or name their folder with task.images"))
    parts = _parts_below(own, images) if part is None else dict.fromkeys(own, part)
    if names.pairing == "order":
        return _in_order(images, masks, own, others, parts, names.what)
    suffix, what, wrong = names.suffix, names.what, list[str]()
    by_stem: dict[str, Path] = {}
    for path in others:
        first = by_stem.setdefault(_stem(path, masks), path)
        if first is not path:
            wrong.append(problem(str(path), f"is a second {what} beside {first.name}", fix="remove one of them"))
    pairs, used = list[Pair](), dict[str, Path]()
    for image in own:
        stem = _stem(image, images)
        wanted = f"{stem}{suffix}"
        if wanted in used:
            wrong.append(problem(str(image), f"has the name of {used[wanted].name}", fix="rename one of them"))
        used[wanted] = image
        mask = by_stem.get(wanted) if parts[image] != "unlabelled" else None
        if mask is None and parts[image] != "unlabelled":
            fix = f"add {masks / wanted}.png, or put the image into a folder named unlabelled"
            wrong.append(problem(str(image), f"has no {what}", fix=fix))
        pairs.append(Pair(image, mask, parts[image]))
    lonely = [path for stem, path in by_stem.items() if stem not in used]
    fix = f"add the image or remove the {what}" + (
        "" if suffix else f", or say what {what}s' names have more: task.{what}_suffix=_{what}"
    )
    wrong += [problem(str(path), f"is a {what} without an image", fix=fix) for path in lonely]
    raise_some(wrong)
    return pairs


def _apart(images: Path, masks: Path, suffix: str) -> tuple[list[Path], list[Path]]:
    """The files of images and of masks, also where masks lie among or below the images."""
    own, others = images_below(images), images_below(masks) if masks.is_dir() else []
    if images.resolve() == masks.resolve() and suffix:
        return [path for path in own if not path.stem.endswith(suffix)], [
            path for path in others if path.stem.endswith(suffix)
        ]
    if masks.resolve().is_relative_to(images.resolve()):
        own = [path for path in own if path not in set(others)]
    return own, others


def _in_order(
    images: Path, masks: Path, own: Sequence[Path], others: Sequence[Path], parts: dict[Path, Part], what: str
) -> list[Pair]:
    """The first image that needs a mask with the first mask, and so on."""
    wanting = [image for image in own if parts[image] != "unlabelled"]
    if len(wanting) != len(others):
        wrong = f"there are {len(wanting)} images in {images} and {len(others)} {what}s in {masks}"
        raise DataError(
            problem("task.pairing", wrong, got="order", fix="add what is missing, or use task.pairing=name")
        )
    mask_of = dict(zip(wanting, others, strict=True))
    return [Pair(image, mask_of.get(image), parts[image]) for image in own]


def _parts_below(images: Sequence[Path], base: Path) -> dict[Path, Part]:
    tops = {path: path.relative_to(base).parts[0].lower() if path.parent != base else "" for path in images}
    known = set(tops.values())
    if "train" in {PART_FOLDERS.get(top) for top in known} and known <= set(PART_FOLDERS):
        return {path: PART_FOLDERS[top] for path, top in tops.items()}
    return {path: "unlabelled" if PART_FOLDERS.get(top) == "unlabelled" else "train" for path, top in tops.items()}


def _stem(path: Path, base: Path) -> str:
    return path.relative_to(base).with_suffix("").as_posix()


def _of_table(file: str, root: str | None, images: str, masks: str, data_dir: str | None) -> Found:
    where = Path(file).expanduser().absolute()
    table = read(where)
    image, mask = ("image" if images == "images" else images), ("mask" if masks == "masks" else masks)
    table.require(image, "task.images")
    table.require(mask, "task.masks")
    base = opened(root, data_dir, "task.root") if root is not None else where.parent
    paths = [base / text for text in table.column(image)]
    check_paths(table, image, paths)
    wrong = [
        problem(
            table.where(index, mask), "there is no such file", got=text, fix=f"correct the path (taken from {base})"
        )
        for index, text in enumerate(table.column(mask))
        if text.strip() and not (base / text).is_file()
    ]
    raise_some(wrong)
    there = {key: key if key in table.names else None for key in _OPTIONAL}
    parts = parts_of(table, there["split"])
    folds, weights = numbers_of(table, there["fold"], whole=True), numbers_of(table, there["weight"], whole=False)
    groups = table.column("group") if there["group"] else [""] * len(table)
    pairs = [
        Pair(
            path,
            base / text if text.strip() else None,
            parts[index] or "train",
            groups[index],
            1.0 if weights[index] is None else float(weights[index] or 0.0),
            -1 if folds[index] is None else int(folds[index] or 0),
        )
        for index, (path, text) in enumerate(zip(paths, table.column(mask), strict=True))
    ]
    return Found(base, base, pairs)
