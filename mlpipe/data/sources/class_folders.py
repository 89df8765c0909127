"""A folder with one sub-folder of images for each class, or an archive with such a folder in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from mlpipe import files
from mlpipe.data import archives, images, split_checks, task
from mlpipe.data.sources import looking
from mlpipe.data.task import NO_TARGET, Dtype, Part, Row, Task
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


def folder(
    *,
    root: str,
    name: str | None = None,
    channels: Literal[1, 3, 4] | None = None,
    bits: Literal[8, 16] | None = None,
    group: str | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
    data_dir: str | None = None,
) -> Task:
    """A folder with one sub-folder of images for each class.

    The class folders may lie in `train`, `val` and `test`; images in `unlabelled` have no class. The training part
    fixes the classes. The task is named after the folder and a hash of everything in it, so that changed files make
    a new task.

    Args:
        root: The folder, or a zip or tar archive of it.
        name: The task's name before the hash; None takes the folder's.
        channels: 1 grey, 3 colour, 4 colour and transparency; None: grey when every image is, else colour.
        bits: Bits of a channel's value that are kept; None: 16 when every image has them, else 8.
        group: A regular expression with one group, looked for in each image's path below the root: images with the
            same text there (a patient, a site) are never split.
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
    looks = looking.look([file for _, _, file in found], looking.memory_file(data_dir, base))
    number = {label: index for index, label in enumerate(classes)}
    groups = groups_of([file.relative_to(base).as_posix() for _, _, file in found], group)
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
        channels=channels or looking.channels_of(looks),
        dtype=dtype_of(bits or looking.bits_of(looks)),
        source={"type": "folder", "root": str(base)},
        notes=_notes(rows),
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
        while len(inside := [entry for entry in base.iterdir() if not entry.name.startswith((".", "__"))]) == 1:
            if not inside[0].is_dir() or not _subfolders(inside[0]):
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
        wrong = [split_checks.overlap_problem(pairs)] if (pairs := split_checks.overlap(made.samples)) else []
        wrong += split_checks.group_overlap_problems(made.samples)
        if wrong:
            raise DataError(wrong)
    digest = files.digest([made.source_hash, made.channels])[:8]
    name = f"{files.safe_name(made.name)}-{digest}"
    return Task(
        name, made.kind, made.classes, made.channels, made.source, made.samples, dtype=made.dtype, notes=made.notes
    )


def dtype_of(bits: int) -> Dtype:
    """How pixels of 8 or 16 bits are kept."""
    return "uint16" if bits == 16 else "uint8"


def _labelled_files(base: Path) -> list[tuple[Part, str, Path]]:
    """(part, class, file) of every image below `base`, in a fixed order."""
    subfolders = _subfolders(base)
    if not subfolders:
        fix = "put the images of each class into a sub-folder of that class's name"
        raise DataError(problem("task.root", "has no class folders", got=str(base), fix=fix))
    parts = {entry: PART_FOLDERS.get(entry.name.lower()) for entry in subfolders}
    if not all(parts.values()) or "train" not in parts.values():
        return [("train", entry.name, file) for entry in subfolders for file in images_below(entry)]
    found: list[tuple[Part, str, Path]] = []
    for entry, part in parts.items():
        if part == "unlabelled":
            found += [("unlabelled", "", file) for file in images_below(entry)]
        elif part is not None:
            found += [(part, label.name, file) for label in _subfolders(entry) for file in images_below(label)]
    return found


def _class_problems(base: Path, found: list[tuple[Part, str, Path]], classes: list[str]) -> list[str]:
    empty = [
        str(entry.relative_to(base)) for entry in _class_folders(base) if not any(True for _ in images_below(entry))
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


def groups_of(names: Sequence[str], pattern: str | None) -> list[str]:
    """The group of each path.

    Raises:
        DataError: When the pattern is wrong or does not match every path.
    """
    if pattern is None:
        return [""] * len(names)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(problem("task.group", f"is no regular expression ({error})", got=pattern)) from error
    if compiled.groups != 1:
        fix = r"put what names the group in brackets, for example 'patient(\d+)'"
        raise DataError(problem("task.group", f"has {compiled.groups} bracketed parts", got=pattern, fix=fix))
    matches = [compiled.search(name) for name in names]
    without = [name for name, match in zip(names, matches, strict=True) if match is None]
    if without:
        wrong = f"does not match {len(without)} paths ({listing(without, most=3)})"
        raise DataError(problem("task.group", wrong, got=pattern, fix="correct the pattern"))
    return [match[1] or "" for match in matches if match is not None]


def _class_folders(base: Path) -> list[Path]:
    subfolders = _subfolders(base)
    parts = {entry: PART_FOLDERS.get(entry.name.lower()) for entry in subfolders}
    if not all(parts.values()) or "train" not in parts.values():
        return subfolders
    return [label for entry, part in parts.items() if part == "train" for label in _subfolders(entry)]


def _notes(rows: Sequence[Row]) -> list[str]:
    labels: dict[str, set[object]] = {}
    for row in rows:
        if row.target != NO_TARGET:
            labels.setdefault(row.digest, set()).add(row.target)
    torn = sum(len(targets) > 1 for targets in labels.values())
    copies = len(rows) - len({row.digest for row in rows})
    notes = [f"{copies} images are byte for byte copies of others; copies stay in one fold"] if copies else []
    return notes + ([f"{torn} images occur under more than one class"] if torn else [])


def _subfolders(base: Path) -> list[Path]:
    return sorted(entry for entry in base.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))


def images_below(base: Path) -> list[Path]:
    """Every image file below a folder, hidden ones left out, in a fixed order."""
    return sorted(
        file
        for file in base.rglob("*")
        if file.suffix.lower() in images.EXTENSIONS and not file.name.startswith(".") and file.is_file()
    )


def _siblings(base: Path) -> list[str]:
    return [entry.name for entry in base.parent.iterdir() if entry.is_dir()] if base.parent.is_dir() else []


def _stem(root: str) -> str:
    path = Path(root).expanduser().absolute()
    return archives.stem(path) if archives.is_archive(path) else path.name
