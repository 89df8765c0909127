"""A folder with one sub-folder of images for each class, or an archive with such a folder in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from mlpipe import files
from mlpipe.data import archives, task, walking
from mlpipe.data.sources import looking, pixel_rules
from mlpipe.data.sources.missing import looks_missing
from mlpipe.data.sources.pixel_rules import Wanted
from mlpipe.data.spelling import fallen_together, plain
from mlpipe.data.splits import checks
from mlpipe.data.task import NO_TARGET, Part, Row, Task
from mlpipe.data.walking import images_below
from mlpipe.errors import DataError, did_you_mean, listing, problem

PART_FOLDERS: Mapping[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "unlabelled": "unlabelled",
    "unlabeled": "unlabelled",
}


_LEARNED: tuple[Part, ...] = ("train", "val", "extra")


def folder(
    *,
    root: str,
    name: str | None = None,
    channels: Literal[1, 3, 4] | None = None,
    bits: Literal[8, 16] | None = None,
    value_range: tuple[float, float] | None = None,
    background: Literal["white", "black"] = "white",
    group: str | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
    data_dir: str | None = None,
) -> Task:
    """A folder with one sub-folder of images for each class.

    The class folders may lie in `train`, `val` and `test`; images in `unlabelled`, which may lie beside class folders too,
    have no class. The training part fixes the classes. The task is named after the folder and a hash of everything in
    it, so that changed files make a new task.

    Args:
        root: The folder, or a zip or tar archive of it.
        name: The task's name before the hash; None takes the folder's.
        channels: 1 grey, 3 colour, 4 colour and transparency; None: grey when every image is, else colour.
        bits: Bits of a channel's value that are kept; None: 16 when every image has them, else 8.
        value_range: The values that become black and white in every image, such as [-1000.0, 3000.0]; needed for
            floating-point, signed and 32-bit TIFF. None: all of 8 or 16 bits, as their types say.
        background: What transparent places are laid over, unless `channels` is 4.
        group: A regular expression with one group, looked for in each image's path below the root: images with the
            same text there (a patient, a site) are never split. It must match the paths of training images.
        max_unreadable: How many unreadable images may be left out; checked when they are decoded.
        allow_overlap: Accept validation or test images that are in the training part too.
        data_dir: Where archives are unpacked and what was seen of files is remembered; None: neither.

    Raises:
        DataError: With a sentence for everything wrong with the folder.
    """
    base = opened(root, data_dir, "task.root")
    found = _labelled_files(base)
    classes = sorted({label for part, label, _ in found if part == "train"})
    if wrong := _class_problems(base, found, classes):
        raise DataError(wrong)
    paths, parts = [file for _, _, file in found], [part for part, _, _ in found]
    looks = looking.look(paths, looking.memory_file(data_dir, base))
    pixels = pixel_rules.decided(paths, looks, Wanted(channels, bits, value_range, background))
    number = {label: index for index, label in enumerate(classes)}
    groups, of_groups = groups_of([path.relative_to(base).as_posix() for path in paths], group, parts)
    rows = [
        Row(
            file.relative_to(base).as_posix(),
            part,
            number.get(label, NO_TARGET) if part != "unlabelled" else NO_TARGET,
            seen.digest,
            own_group,
        )
        for (part, label, file), seen, own_group in zip(found, looks, groups, strict=True)
    ]
    made = task.make(
        name or _stem(root),
        classes,
        rows,
        channels=pixels.channels,
        dtype=pixels.dtype,
        source={"type": "folder", "root": str(base), **pixels.source},
        notes=[*_notes(rows), *_folder_notes(base), *class_notes(classes), *of_groups, *pixels.notes],
    )
    return finished(made, allow_overlap)


def opened(root: str, data_dir: str | None, key: str) -> Path:
    """The absolute path of a folder; an archive is unpacked below the data folder first.

    A single folder in an archive that holds everything else is stepped into.

    Raises:
        DataError: When it is neither a folder nor an archive.
    """
    base = Path(root).expanduser().absolute()
    if base.is_file() and archives.is_archive(base):
        if data_dir is None:
            raise DataError(problem(key, "is an archive, and there is no data_dir to unpack it in", got=root))
        base = archives.unpacked(base, Path(data_dir).expanduser().absolute() / "archives")
        while len(inside := walking.entries(base)) == 1:
            if not inside[0].is_dir() or not walking.folders(inside[0]):
                break
            base = inside[0]
        return base
    if not base.is_dir():
        fix = did_you_mean(base.name, _siblings(base), otherwise="name an existing folder, or a zip or tar archive")
        raise DataError(problem(key, "there is no such folder", got=str(base), fix=fix))
    return base


def finished(made: Task, allow_overlap: bool) -> Task:
    """The task under its final name, which ends in a hash of everything in it.

    Raises:
        DataError: When validation or test images, or groups, are in the training part too, and that is not allowed.
    """
    if not allow_overlap:
        wrong = [checks.overlap_problem(pairs)] if (pairs := checks.overlap(made.samples)) else []
        wrong += checks.group_overlap_problems(made.samples)
        if wrong:
            raise DataError(wrong)
    rules = [rule for place in (made.source, made.source.get("targets", {})) if (rule := place.get("decoding"))]
    digest = files.digest([made.source_hash, made.channels, *rules])[:8]
    name = f"{files.safe_name(made.name)}-{digest}"
    return Task(
        name, made.kind, made.classes, made.channels, made.source, made.samples, dtype=made.dtype, notes=made.notes
    )


def _labelled_files(base: Path) -> list[tuple[Part, str, Path]]:
    """(part, class, file) of every image below `base`, in a fixed order."""
    found = _top_folders(base)
    if not found:
        fix = "put the images of each class into a sub-folder of that class's name"
        raise DataError(problem("task.root", "has no class folders", got=str(base), fix=fix))
    return [(part, label or "", file) for part, label, entry in found for file in images_below(entry)]


def _top_folders(base: Path) -> list[tuple[Part, str | None, Path]]:
    """(part, class, folder) of every folder of images, in a fixed order; the class of unlabelled ones is None.

    Class folders lie in folders of parts, one of which is `train`, or at the top, where a folder named `unlabelled` may
    lie beside two of them or more.
    """
    subfolders = walking.folders(base)
    parts = [PART_FOLDERS.get(entry.name.lower()) for entry in subfolders]
    found: list[tuple[Part, str | None, Path]] = []
    if not all(parts) or "train" not in parts:
        is_open = len(parts) - parts.count("unlabelled") >= 2
        for entry, part in zip(subfolders, parts, strict=True):
            if part == "unlabelled" and is_open:
                found.append(("unlabelled", None, entry))
            else:
                found.append(("train", plain(entry.name), entry))
        return found
    for entry, part in zip(subfolders, parts, strict=True):
        if part == "unlabelled":
            found.append((part, None, entry))
        elif part is not None:
            found += [(part, plain(label.name), label) for label in walking.folders(entry)]
    return found


def _class_problems(base: Path, found: list[tuple[Part, str, Path]], classes: list[str]) -> list[str]:
    empty = [
        str(entry.relative_to(base))
        for part, _, entry in _top_folders(base)
        if part == "train" and not any(True for _ in images_below(entry))
    ]
    wrong = [problem(str(base / name), "has no images", fix="add images or remove the folder") for name in empty]
    if not wrong and len(classes) < 2:
        fix = "a classification task needs at least two class folders"
        wrong.append(problem("task.root", f"has {len(classes)} class folder with images", got=str(base), fix=fix))
    strange = sorted({(part, label) for part, label, _ in found if part in ("val", "test") and label not in classes})
    for part, label in strange:
        fix = did_you_mean(label, classes, otherwise=f"the training part has {listing(classes)}")
        wrong.append(problem(f"{part}/{label}", "is a class that the training part does not have", fix=fix))
    return wrong


def groups_of(names: Sequence[str], pattern: str | None, parts: Sequence[Part]) -> tuple[list[str], list[str]]:
    """The group of each path, empty where it has none, and what a person should know of them.

    Groups keep training images together, so the pattern must match their paths; others have a group where it does.

    Args:
        names: The paths, or ids.
        pattern: A regular expression with one group; None: no path has a group.
        parts: The part of each.

    Raises:
        DataError: When the pattern is wrong, or does not match the path of every image to learn from.
    """
    if pattern is None:
        return [""] * len(names), []
    try:
        compiled = re.compile(plain(pattern))
    except re.error as error:
        raise DataError(problem("task.group", f"is no regular expression ({error})", got=pattern)) from error
    if compiled.groups != 1:
        fix = r"put what names the group in brackets, for example 'patient(\d+)'"
        raise DataError(problem("task.group", f"has {compiled.groups} bracketed parts", got=pattern, fix=fix))
    matches = [compiled.search(plain(name)) for name in names]
    learned = [name for name, part, match in zip(names, parts, matches, strict=True) if not match and part in _LEARNED]
    if learned:
        wrong = f"does not match {len(learned)} paths ({listing(learned, most=3)})"
        raise DataError(problem("task.group", wrong, got=pattern, fix="correct the pattern"))
    tested = sum(match is None and part == "test" for match, part in zip(matches, parts, strict=True))
    notes = [f"task.group matches no part of {tested} test images: whether they share a group with training is unknown"]
    # As it is spelled in the path, to say which groups are the same.
    spelled = [compiled.search(name) or match for name, match in zip(names, matches, strict=True)]
    stored = [match[1] or "" if match else "" for match in spelled]
    together = fallen_together(stored, "groups in paths")
    return [plain(group) for group in stored], [*(notes if tested else []), *together]


def class_notes(classes: Sequence[str]) -> list[str]:
    """What a person should know of classes that are named after folders."""
    doubtful = [name for name in classes if looks_missing(name)]
    fix = "where its images have no label, put them into a folder named unlabelled"
    return [f"the folder {name!r} is a class like any other; {fix}" for name in doubtful]


def _folder_notes(base: Path) -> list[str]:
    """Which folders are one class, and how many files are left out."""
    top = _top_folders(base)
    is_flat = any(part == "train" and entry.parent == base for part, _, entry in top)
    told = [
        f"the images of {entry.name!r} have no label, and are predicted only; rename the folder if it is a class"
        for part, _, entry in top
        if part == "unlabelled" and is_flat
    ]
    named = [entry.name for _, label, entry in top if label is not None]
    return [*told, *fallen_together(named, "folders of classes"), *walking.notes([base])]


def _notes(rows: Sequence[Row]) -> list[str]:
    labels: dict[str, set[object]] = {}
    for row in rows:
        if row.target != NO_TARGET:
            labels.setdefault(row.digest, set()).add(row.target)
    torn = sum(len(targets) > 1 for targets in labels.values())
    copies = len(rows) - len({row.digest for row in rows})
    notes = [f"{copies} images are byte for byte copies of others; copies stay in one fold"] if copies else []
    return notes + ([f"{torn} images occur under more than one class"] if torn else [])


def _siblings(base: Path) -> list[str]:
    return [entry.name for entry in base.parent.iterdir() if entry.is_dir()] if base.parent.is_dir() else []


def _stem(root: str) -> str:
    path = Path(root).expanduser().absolute()
    return archives.stem(path) if archives.is_archive(path) else path.name
