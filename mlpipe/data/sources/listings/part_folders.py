"""A folder of training images and one of test images, wherever they lie: their images, and the classes by folders' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpipe.data import walking
from mlpipe.data.decoding import images
from mlpipe.data.task import Part
from mlpipe.errors import DataError, did_you_mean, listing, problem


def path_of(source: Mapping[str, Any], name: str) -> Path:
    """The file of a sample of a stored `folders` source."""
    part, _, rest = name.partition("/")
    return Path(source[part]) / rest


def images_in(base: Path, key: str, strict: bool) -> list[Path]:
    """Every image below a folder, hidden files left out, in a fixed order.

    Raises:
        DataError: When there is none, or something else where that is not allowed.
    """
    there = walking.files_below(base)
    kept = [file for file in there if file.suffix.lower() in images.EXTENSIONS]
    if not kept:
        kinds = ", ".join(sorted(images.EXTENSIONS))
        raise DataError(problem(key, "holds no image", got=str(base), fix=f"images end in {kinds}"))
    others = [str(file.relative_to(base)) for file in there if file.suffix.lower() not in images.EXTENSIONS]
    if strict and others:
        wrong = f"holds files that are no images: {listing(others, most=5)}"
        raise DataError(problem(key, wrong, got=str(base), fix="move them elsewhere"))
    return kept


def class_of(file: Path, tag: str | None, key: str) -> str:
    """The name of the folder that a file lies in, or of the one right below the folder named `tag`."""
    folders_above = file.parent.parts
    if tag is None:
        return folders_above[-1]
    places = [place for place, name in enumerate(folders_above[:-1]) if name == tag]
    if not places:
        fix = "name a folder that the class folders lie in"
        raise DataError(problem(key, f"{file} lies in no folder below one of this name", got=tag, fix=fix))
    return folders_above[places[-1] + 1]


def class_problems(files: Sequence[tuple[Part, str, Path]], names: Sequence[str]) -> list[str]:
    """A sentence for every class that only one of the parts has."""
    by_part: dict[str, set[str]] = {}
    for own, label, _ in files:
        by_part.setdefault(own, set()).add(label)
    wrong = []
    if len(names) < 2:
        fix = "put the images of each class into a folder of that class's name"
        wrong.append(problem("task", f"has {len(names)} class folder with images", got=listing(names), fix=fix))
    for part, labels in by_part.items():
        for label in sorted(labels - set(names)):
            fix = did_you_mean(label, names, otherwise=f"the classes are {listing(names)}")
            wrong.append(problem(f"task.{part}: {label}", "is a class that the training part does not have", fix=fix))
        for label in sorted(set(names) - labels):
            fix = did_you_mean(label, labels - set(names), otherwise="add images, or remove it from the other part")
            wrong.append(problem(f"task.{part}", f"has no image of class {label!r}", fix=fix))
    return wrong
