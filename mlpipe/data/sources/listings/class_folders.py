"""Folders of images named after classes: below folders named after parts, or anywhere below a folder for each part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlpipe.data import visible_files
from mlpipe.data.decoding import images
from mlpipe.data.sources.error_lists import advice
from mlpipe.data.sources.targets.missing_labels import looks_missing
from mlpipe.data.spelling import plain, same_text_problems
from mlpipe.data.task import Part
from mlpipe.data.visible_files import images_below
from mlpipe.errors import DataError, listing, problem

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


def labelled_files(base: Path) -> list[tuple[Part, str, Path]]:
    """Return (part, class, file) for every image below `base`, in a fixed order."""
    entries = _top_folders(base)
    if not entries:
        fix = "put the images of each class into a sub-folder of that class's name"
        raise DataError(problem("task.root", "has no class folders", got=str(base), fix=fix))
    return [(part, label or "", file) for part, label, entry in entries for file in images_below(entry)]


def _top_folders(base: Path) -> list[tuple[Part, str | None, Path]]:
    """Return (part, class, folder) for every folder of images, in a fixed order; the class of unlabelled ones is None.

    Class folders lie in part folders, one of which is `train`, or at the top level, where a folder `unlabelled` may lie
    beside at least two of them.
    """
    subfolders = visible_files.folders(base)
    parts = [PART_FOLDERS.get(entry.name.lower()) for entry in subfolders]
    entries: list[tuple[Part, str | None, Path]] = []
    if not all(parts) or "train" not in parts:
        is_open = len(parts) - parts.count("unlabelled") >= 2
        for entry, part in zip(subfolders, parts, strict=True):
            if part == "unlabelled" and is_open:
                entries.append(("unlabelled", None, entry))
            else:
                entries.append(("train", plain(entry.name), entry))
        return entries
    for entry, part in zip(subfolders, parts, strict=True):
        if part == "unlabelled":
            entries.append((part, None, entry))
        elif part is not None:
            entries += [(part, plain(label.name), label) for label in visible_files.folders(entry)]
    return entries


def class_problems(base: Path, files: list[tuple[Part, str, Path]], classes: list[str]) -> list[str]:
    """Return a sentence for each class folder without images, and for each class that training does not have."""
    empty = [
        str(entry.relative_to(base))
        for part, _, entry in _top_folders(base)
        if part == "train" and not any(True for _ in images_below(entry))
    ]
    wrong = [
        problem(
            str(base / name),
            "has no images",
            fix="; ".join(["add images or remove the folder", *visible_files.notes([base / name])]),
        )
        for name in empty
    ]
    wrong += _lost_parts(base)
    if not wrong and len(classes) < 2:
        fix = "a classification task needs at least two class folders"
        wrong.append(problem("task.root", f"has {len(classes)} class folder with images", got=str(base), fix=fix))
    labels = {(part, label) for part, label, _ in files if part in ("val", "test")}
    strange = sorted((part, label) for part, label in labels if label not in classes)
    for part, label in strange:
        fix = advice(wrong, label, classes, otherwise=f"the training part has {listing(classes)}")
        wrong.append(problem(f"{part}/{label}", "is a class that the training part does not have", fix=fix))
    return wrong


def _lost_parts(base: Path) -> list[str]:
    """Return a sentence if several part folders would count as classes, because of other folders or without `train`."""
    folders = visible_files.folders(base)
    others = [entry.name for entry in folders if entry.name.lower() not in PART_FOLDERS]
    parts = {
        PART_FOLDERS[entry.name.lower()]: entry.name
        for entry in folders
        if entry.name not in others and any(images_below(label) for label in visible_files.folders(entry))
    }
    names = [name for part, name in parts.items() if part != "unlabelled"]
    if len(names) < 2 or (not others and "train" in parts):
        return []
    fault = f"has folders of classes in {listing(names)}, but "
    fault += f"{listing(others, most=5)} beside them, which is no part" if others else "no folder named train"
    fix = "call what is learned train, and move away what is no part"
    return [problem("task.root", fault, got=str(base), fix=fix)]


def class_notes(classes: Sequence[str]) -> list[str]:
    """Return notes about classes that are named after folders."""
    doubtful = [name for name in classes if looks_missing(name)]
    fix = "where its images have no label, put them into a folder named unlabelled"
    return [f"the folder {name!r} is a class like any other; {fix}" for name in doubtful]


def folder_notes(base: Path) -> list[str]:
    """Return notes about folders that form one class, and about files that are left out."""
    top = _top_folders(base)
    is_flat = any(part == "train" and entry.parent == base for part, _, entry in top)
    notes = [
        f"the images of {entry.name!r} have no label, and are predicted only; rename the folder if it is a class"
        for part, _, entry in top
        if part == "unlabelled" and is_flat
    ]
    names = [entry.name for _, label, entry in top if label is not None]
    return [*notes, *same_text_problems(names, "folders of classes"), *visible_files.notes([base])]


def images_in(base: Path, key: str, strict: bool) -> list[Path]:
    """Return every image below a folder, without hidden files, in a fixed order.

    Raises:
        DataError: If there is none, or if other files exist where that is not allowed.
    """
    files = visible_files.files_below(base)
    image_files = [file for file in files if file.suffix.lower() in images.EXTENSIONS]
    if not image_files:
        kinds = ", ".join(sorted(images.EXTENSIONS))
        raise DataError(problem(key, "holds no image", got=str(base), fix=f"images end in {kinds}"))
    others = [str(file.relative_to(base)) for file in files if file.suffix.lower() not in images.EXTENSIONS]
    if strict and others:
        wrong = f"holds files that are no images: {listing(others, most=5)}"
        raise DataError(problem(key, wrong, got=str(base), fix="move them elsewhere"))
    return image_files


def below_tag(files: Sequence[Path], tag: str, base: Path, *, labelled: bool = True) -> list[Path]:
    """Return the files in sub-folders of the folder named `tag`, at any depth; without labels also those directly in it.

    Folders named `tag` inside of `base`, or `base` itself, come first, so that the folders above `base`, which may be moved,
    do not matter; if there is none, a folder above `base` counts.

    Args:
        files: The files.
        tag: The folder's name.
        base: The folder that was searched for files.
        labelled: Whether each file has a class, the name of the sub-folder of `tag`.
    """
    places = {file: _tagged(file, tag, labelled=labelled) for file in files}
    inside = [file for file in files if any(place >= len(base.parts) - 1 for place in places[file])]
    return inside or [file for file in files if places[file]]


def _tagged(file: Path, tag: str, *, labelled: bool = True) -> list[int]:
    """Return the positions of `tag` among the folders of a file; with labels a class folder must follow."""
    folders_above = file.parent.parts
    return [place for place, name in enumerate(folders_above[:-1] if labelled else folders_above) if name == tag]


def class_of(file: Path, tag: str | None, key: str) -> str:
    """Return the name of a file's folder, or of the sub-folder of `tag` that it lies in."""
    folders_above = file.parent.parts
    if tag is None:
        return folders_above[-1]
    places = _tagged(file, tag)
    if not places:
        fix = "name a folder that the class folders lie in"
        raise DataError(problem(key, f"{file} lies in no folder below one of this name", got=tag, fix=fix))
    return folders_above[places[-1] + 1]


def unshared_classes(files: Sequence[tuple[Part, str, Path]], names: Sequence[str]) -> list[str]:
    """Return a sentence for every class that only one of the parts has."""
    by_part: dict[str, set[str]] = {}
    for own, label, _ in files:
        by_part.setdefault(own, set()).add(label)
    wrong = []
    if len(names) < 2:
        fix = "put the images of each class into a folder of that class's name"
        wrong.append(problem("task", f"has {len(names)} class folder with images", got=listing(names), fix=fix))
    for part, labels in by_part.items():
        for label in sorted(labels - set(names)):
            fix = advice(wrong, label, names, otherwise=f"the classes are {listing(names)}")
            wrong.append(problem(f"task.{part}: {label}", "is a class that the training part does not have", fix=fix))
        for label in sorted(set(names) - labels):
            fix = advice(wrong, label, labels - set(names), otherwise="add images, or remove it from the other part")
            wrong.append(problem(f"task.{part}", f"has no image of class {label!r}", fix=fix))
    return wrong
