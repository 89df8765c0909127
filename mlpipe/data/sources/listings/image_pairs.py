"""Pairs of an image and its mask or target image, matched by file names or by order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpipe.data import visible_files
from mlpipe.data.archives import opened
from mlpipe.data.sources.error_lists import raise_some
from mlpipe.data.sources.listings.class_folders import PART_FOLDERS, images_in
from mlpipe.data.sources.listings.file_headers import Look
from mlpipe.data.spelling import plain
from mlpipe.data.task import Part
from mlpipe.data.visible_files import images_below
from mlpipe.errors import DataError, counted, problem


@dataclass(frozen=True)
class Pair:
    """An image and its mask.

    Attributes:
        image: The image's file.
        mask: The mask's file; None: it has none.
        part: Its part.
        group: Images of one group are never split.
        weight: Its weight in the loss.
        fold: The fold that it came with; -1: none.
    """

    image: Path
    mask: Path | None
    part: Part
    group: str = ""
    weight: float = 1.0
    fold: int = -1


@dataclass(frozen=True)
class Names:
    """Names of masks: the suffix added to their images' names, whether pairs match by name or order, and the word for them."""

    suffix: str
    pairing: str
    what: str = "mask"


@dataclass(frozen=True)
class InParts:
    """Content of folders of training and of test images.

    Attributes:
        source: The entries of the task's source for finding the images again.
        ids: The id of each pair.
        pairs: The pairs.
        roots: The folders of masks.
        bases: The folders of images.
    """

    source: dict[str, Any]
    ids: list[str]
    pairs: list[Pair]
    roots: list[Path]
    bases: list[Path]

    @property
    def first(self) -> Path:
        """Return the folder of training images, or that of test images if there is none."""
        return Path(self.source.get("train") or self.source["test"])

    def notes(self) -> list[str]:
        """Return notes about files that are left out."""
        return visible_files.notes([*self.bases, *self.roots])


def pairs_in_parts(
    images: Mapping[Part, str | None],
    masks: Mapping[Part, str | None],
    names: Names,
    *,
    strict: bool,
    data_dir: str | None,
    alone: Part | None = "unlabelled",
) -> InParts:
    """Return the pairs of training and test folders.

    Args:
        images: The folder (or archive) of each part; None: there is none.
        masks: The folder of its masks; None: it has none.
        names: The names of masks; the configuration key of a mask folder is `task.PART_masks`, or with another word.
        strict: Refuse files that are not images instead of skipping them.
        data_dir: The folder for unpacked archives.
        alone: The part of images without masks; None: the part of their folder.

    Raises:
        DataError: If a folder is missing, or images and masks do not match.
    """
    if not any(folder is not None for folder in images.values()):
        raise DataError(problem("task.train", "a folder is needed", fix="add task.train=DIR"))
    result = InParts({"type": "folders"}, [], [], [], [])
    for part, folder in images.items():
        if folder is None:
            continue
        base, partners = opened(folder, data_dir, f"task.{part}"), masks[part]
        result.source[part] = str(base)
        result.bases.append(base)
        files = images_in(base, f"task.{part}", strict)
        if partners is not None:
            key = f"task.{part}_{names.what}s"
            result.roots.append(opened(partners, data_dir, key))
            images_in(result.roots[-1], key, strict)
            own = paired(base, result.roots[-1], names, part)
        else:
            own = [Pair(file, None, alone or part) for file in files]
        result.pairs.extend(own)
        result.ids.extend(f"{part}/{pair.image.relative_to(base).as_posix()}" for pair in own)
    return result


def paired(images: Path, masks: Path, names: Names, part: Part | None) -> list[Pair]:
    """Return each image with the mask of its name.

    Args:
        images: The folder of images.
        masks: The folder of masks.
        names: The names of masks.
        part: The part of all of them; None: the first folder below `images`, if all of these are named after parts.

    Raises:
        DataError: With a sentence for each file without a partner, or with several.
    """
    own, others = _image_and_mask_files(images, masks, names.suffix)
    if own == others and names.what == "mask":
        fix = "name the folder of the masks, or say what their names have more: task.mask_suffix=_mask"
        raise DataError(problem(str(images), "is the folder of the images and of the masks", fix=fix))
    if not own:
        raise DataError(problem(str(images), "has no images", fix="add images, or name their folder with task.images"))
    parts = _parts_below(own, images) if part is None else dict.fromkeys(own, part)
    if names.pairing == "order":
        return _pairs_in_order(images, masks, own, others, parts, names.what)
    suffix, noun, wrong = names.suffix, names.what, list[str]()
    by_stem: dict[str, Path] = {}
    for path in others:
        first = by_stem.setdefault(_stem(path, masks), path)
        if first is not path:
            wrong.append(problem(str(path), f"is a second {noun} beside {first.name}", fix="remove one of them"))
    pairs, used = list[Pair](), dict[str, Path]()
    for image in own:
        stem = _stem(image, images)
        mask_name = f"{stem}{suffix}"
        if mask_name in used:
            wrong.append(problem(str(image), f"has the name of {used[mask_name].name}", fix="rename one of them"))
        used[mask_name] = image
        mask = by_stem.get(mask_name) if parts[image] != "unlabelled" else None
        if mask is None and parts[image] != "unlabelled":
            fix = f"add {masks / mask_name}.png, or put the image into a folder named unlabelled"
            wrong.append(problem(str(image), f"has no {noun}", fix=fix))
        pairs.append(Pair(image, mask, parts[image]))
    lonely = [path for stem, path in by_stem.items() if stem not in used]
    fix = f"add the image or remove the {noun}" + (
        "" if suffix else f", or say what {noun}s' names have more: task.{noun}_suffix=_{noun}"
    )
    wrong += [problem(str(path), f"is a {noun} without an image", fix=fix) for path in lonely]
    raise_some(wrong)
    return pairs


def size_problems(pair: Pair, look: Look, width: int, height: int) -> list[str]:
    """Return a sentence if a mask of this width and height does not have the size of its image."""
    if (width, height) == (look.width, look.height):
        return []
    return [size_problem(pair, look, width, height, "make them of one size, each turned as its EXIF tag says")]


def size_problem(pair: Pair, look: Look, width: int, height: int, fix: str) -> str:
    """Return the sentence for a mask or target whose width and height do not fit its image."""
    wrong = f"is {width} x {height} pixels, its image {pair.image.name} {look.width} x {look.height}"
    return problem(str(pair.mask), wrong, fix=fix)


def _image_and_mask_files(images: Path, masks: Path, suffix: str) -> tuple[list[Path], list[Path]]:
    """Return the files of images and of masks, also if masks lie among or below the images, or images are their own masks."""
    own, others = images_below(images), images_below(masks) if masks.is_dir() else []
    if images.resolve() == masks.resolve() and not suffix:
        return own, others
    if images.resolve() == masks.resolve() and suffix:
        return [path for path in own if not path.stem.endswith(suffix)], [
            path for path in others if path.stem.endswith(suffix)
        ]
    if masks.resolve().is_relative_to(images.resolve()):
        own = [path for path in own if path not in set(others)]
    return own, others


def _pairs_in_order(
    images: Path, masks: Path, own: Sequence[Path], others: Sequence[Path], parts: dict[Path, Part], noun: str
) -> list[Pair]:
    """Match the first image that needs a mask with the first mask, and so on."""
    wanting = [image for image in own if parts[image] != "unlabelled"]
    if len(wanting) != len(others):
        counts = counted(len(wanting), "image"), counted(len(others), noun)
        wrong = f"there {'is' if len(wanting) == 1 else 'are'} {counts[0]} in {images} and {counts[1]} in {masks}"
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
    """Return the common stem of an image and its mask, independent of Unicode composition."""
    return plain(path.relative_to(base).with_suffix("").as_posix())
