"""One folder of training images and one of test images; the class is the name of the folder that an image lies in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from mlpipe.data import task, visible_files
from mlpipe.data.archives import opened
from mlpipe.data.sources.error_lists import raise_some
from mlpipe.data.sources.listings import file_headers, pixel_rules
from mlpipe.data.sources.listings.class_folders import below_tag, class_notes, class_of, images_in, unshared_classes
from mlpipe.data.sources.listings.pixel_rules import PixelSettings
from mlpipe.data.sources.source import finished
from mlpipe.data.spelling import plain, plain_all, same_text_problems
from mlpipe.data.task import NO_TARGET, Part, Row, Task
from mlpipe.errors import DataError, counted, problem


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
    """Images anywhere below two folders; an image's class is the name of its folder.

    Args:
        train: The folder (or archive) of the training images.
        test: The folder (or archive) of the test images.
        train_tag: Take the class from the folder directly below the folder of this name, wherever that is in an image's
            path; if some images lie in such a folder, the others are left out.
        test_tag: The same for test images.
        labelled: False: folder names have no meaning, and no image has a class.
        classes: The classes in order; None: the folder names, sorted.
        channels: 1 for grey, 3 for colour, 4 for colour with transparency; None: 1 if all images are grey, else 3.
        bits: Bits per channel that are kept; None: 16 if all images have them, else 8.
        value_range: As for `folder`.
        background: As for `folder`.
        strict: Refuse files that are not images instead of skipping them.
        name: The task's name before the hash; None: the folder's name.
        max_unreadable: As for `folder`.
        allow_overlap: As for `folder`.
        data_dir: As for `folder`.

    Raises:
        DataError: If both folders are missing, one has no image, or their classes differ.
    """
    parts = [(part, root, tag) for part, root, tag in (("train", train, train_tag), ("test", test, test_tag)) if root]
    if not parts:
        raise DataError(problem("task.train", "a folder is needed", fix="add task.train=DIR"))
    source: dict[str, Any] = {"type": "folders"}
    entries: list[tuple[Part, str, Path]] = []
    passed: list[str] = []
    for part, root, tag in parts:
        base = opened(root, data_dir, f"task.{part}")
        source[part] = str(base)
        own: Part = "train" if part == "train" else "test"
        files = images_in(base, f"task.{part}", strict)
        below = files if tag is None else below_tag(files, tag, base, labelled=labelled)
        if other := len(files) - len(below):
            passed.append(f"{counted(other, 'image')} of {base} in no folder below {tag!r} left out of the {own} part")
        entries += [
            (own, plain(class_of(file, tag, f"task.{part}_tag")) if labelled else "", file) for file in below or files
        ]
    names = plain_all(classes) or sorted({label for part, label, _ in entries if part == parts[0][0]} - {""})
    raise_some(unshared_classes(entries, names) if labelled else [])
    paths = [file for _, _, file in entries]
    looks = file_headers.look(paths, file_headers.memory_file(data_dir, Path(source[parts[0][0]])))
    pixels = pixel_rules.format_of(paths, looks, PixelSettings(channels, bits, value_range, background))
    number = {label: index for index, label in enumerate(names)}
    rows = [
        Row(
            f"{part}/{file.relative_to(source[part]).as_posix()}",
            part if labelled else "unlabelled",
            number.get(label, NO_TARGET),
            look.digest,
        )
        for (part, label, file), look in zip(entries, looks, strict=True)
    ]
    new_task = task.make(
        name or Path(source[parts[0][0]]).name,
        names,
        rows,
        channels=pixels.channels,
        dtype=pixels.dtype,
        source={**source, **pixels.source},
        notes=[
            *(same_text_problems([path.parent.name for path in paths], "folders of classes") if labelled else []),
            *(class_notes(names) if labelled else []),
            *visible_files.notes([Path(source[part]) for part, _, _ in parts]),
            *passed,
            *pixels.notes,
        ],
    )
    return finished(new_task, allow_overlap)
