"""Folders of images named after classes, below folders named after parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlpipe.data import walking
from mlpipe.data.sources.targets.missing_labels import looks_missing
from mlpipe.data.spelling import fallen_together, plain
from mlpipe.data.task import Part
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


def labelled_files(base: Path) -> list[tuple[Part, str, Path]]:
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


def class_problems(base: Path, files: list[tuple[Part, str, Path]], classes: list[str]) -> list[str]:
    """A sentence for each folder of a class without images, and for each class that training does not have."""
    empty = [
        str(entry.relative_to(base))
        for part, _, entry in _top_folders(base)
        if part == "train" and not any(True for _ in images_below(entry))
    ]
    wrong = [problem(str(base / name), "has no images", fix="add images or remove the folder") for name in empty]
    if not wrong and len(classes) < 2:
        fix = "a classification task needs at least two class folders"
        wrong.append(problem("task.root", f"has {len(classes)} class folder with images", got=str(base), fix=fix))
    strange = sorted({(part, label) for part, label, _ in files if part in ("val", "test") and label not in classes})
    for part, label in strange:
        fix = did_you_mean(label, classes, otherwise=f"the training part has {listing(classes)}")
        wrong.append(problem(f"{part}/{label}", "is a class that the training part does not have", fix=fix))
    return wrong


def class_notes(classes: Sequence[str]) -> list[str]:
    """Notes about classes that are named after folders."""
    doubtful = [name for name in classes if looks_missing(name)]
    fix = "where its images have no label, put them into a folder named unlabelled"
    return [f"the folder {name!r} is a class like any other; {fix}" for name in doubtful]


def folder_notes(base: Path) -> list[str]:
    """Notes about folders that are one class, and about files that are left out."""
    top = _top_folders(base)
    is_flat = any(part == "train" and entry.parent == base for part, _, entry in top)
    told = [
        f"the images of {entry.name!r} have no label, and are predicted only; rename the folder if it is a class"
        for part, _, entry in top
        if part == "unlabelled" and is_flat
    ]
    named = [entry.name for _, label, entry in top if label is not None]
    return [*told, *fallen_together(named, "folders of classes"), *walking.notes([base])]
