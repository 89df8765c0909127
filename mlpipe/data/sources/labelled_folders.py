"""A folder of training images and one of test images, whose classes are the folders that the images lie in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from mlpipe.data import task, walking
from mlpipe.data.decoding import images
from mlpipe.data.sources import looking, pixel_rules
from mlpipe.data.sources.class_folders import class_notes, finished, opened
from mlpipe.data.sources.pixel_rules import Wanted
from mlpipe.data.spelling import fallen_together, plain, plain_all
from mlpipe.data.task import NO_TARGET, Part, Row, Task
from mlpipe.errors import DataError, did_you_mean, listing, problem


def folders(
    *,
    train: str | None = None,
    test: str | None = None,
    train_tag: str | None = None,
    test_tag: str | None = None,
    labelled: bool = True,
    classes: list[str] | None = None,
    channels: Literal[1, 3, 4] | None = None,
    bits: Literal[8, 16] | None = None,
    value_range: tuple[float, float] | None = None,
    background: Literal["white", "black"] = "white",
    strict: bool = False,
    name: str | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
    data_dir: str | None = None,
) -> Task:
    """Images anywhere below two folders; an image's class is the name of the folder that it lies in.

    Args:
        train: The folder (or archive) of the training images.
        test: The folder (or archive) of the test images.
        train_tag: The class is the folder right below the one of this name, wherever that is in an image's path.
        test_tag: The same for test images.
        labelled: False: folders' names mean nothing, and no image has a class.
        classes: The classes in their order; None: the folders' names, sorted.
        channels: 1 grey, 3 colour, 4 colour and transparency; None: grey when every image is, else colour.
        bits: Bits of a channel's value that are kept; None: 16 when every image has them, else 8.
        value_range: As for `folder`.
        background: As for `folder`.
        strict: Refuse files that are no images in place of passing over them.
        name: The task's name before the hash; None takes the folder's.
        max_unreadable: As for `folder`.
        allow_overlap: As for `folder`.
        data_dir: As for `folder`.

    Raises:
        DataError: When both folders are missing, one has no image, or their classes differ.
    """
    given = [(part, root, tag) for part, root, tag in (("train", train, train_tag), ("test", test, test_tag)) if root]
    if not given:
        raise DataError(problem("task.train", "a folder is needed", fix="add task.train=DIR"))
    source: dict[str, Any] = {"type": "folders"}
    found: list[tuple[Part, str, Path]] = []
    for part, root, tag in given:
        base = opened(root, data_dir, f"task.{part}")
        source[part] = str(base)
        own: Part = "train" if part == "train" else "test"
        found += [
            (own, plain(_class_of(file, tag, f"task.{part}_tag")) if labelled else "", file)
            for file in images_in(base, f"task.{part}", strict)
        ]
    names = plain_all(classes) or sorted({label for part, label, _ in found if part == given[0][0]} - {""})
    if wrong := _class_problems(found, names) if labelled else []:
        raise DataError(wrong)
    paths = [file for _, _, file in found]
    looks = looking.look(paths, looking.memory_file(data_dir, Path(source[given[0][0]])))
    pixels = pixel_rules.decided(paths, looks, Wanted(channels, bits, value_range, background))
    number = {label: index for index, label in enumerate(names)}
    rows = [
        Row(
            f"{part}/{file.relative_to(source[part]).as_posix()}",
            part if labelled else "unlabelled",
            number.get(label, NO_TARGET),
            seen.digest,
        )
        for (part, label, file), seen in zip(found, looks, strict=True)
    ]
    made = task.make(
        name or Path(source[given[0][0]]).name,
        names,
        rows,
        channels=pixels.channels,
        dtype=pixels.dtype,
        source={**source, **pixels.source},
        notes=[
            *(fallen_together([path.parent.name for path in paths], "folders of classes") if labelled else []),
            *(class_notes(names) if labelled else []),
            *walking.notes([Path(source[part]) for part, _, _ in given]),
            *pixels.notes,
        ],
    )
    return finished(made, allow_overlap)


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


def _class_of(file: Path, tag: str | None, key: str) -> str:
    folders_above = file.parent.parts
    if tag is None:
        return folders_above[-1]
    places = [place for place, name in enumerate(folders_above[:-1]) if name == tag]
    if not places:
        fix = "name a folder that the class folders lie in"
        raise DataError(problem(key, f"{file} lies in no folder below one of this name", got=tag, fix=fix))
    return folders_above[places[-1] + 1]


def _class_problems(found: Sequence[tuple[Part, str, Path]], names: Sequence[str]) -> list[str]:
    """A sentence for every class that only one of the parts has."""
    by_part: dict[str, set[str]] = {}
    for own, label, _ in found:
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
