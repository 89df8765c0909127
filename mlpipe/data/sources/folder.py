"""A folder with one sub-folder of images per class, or an archive of such a folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from mlpipe import current_folder
from mlpipe.data import archives, task
from mlpipe.data.archives import opened
from mlpipe.data.sources.error_lists import raise_some
from mlpipe.data.sources.listings import file_headers, pixel_rules
from mlpipe.data.sources.listings.class_folders import class_notes, class_problems, folder_notes, labelled_files
from mlpipe.data.sources.listings.path_groups import groups_of
from mlpipe.data.sources.listings.pixel_rules import PixelSettings
from mlpipe.data.sources.source import finished
from mlpipe.data.task import NO_TARGET, Row, Task
from mlpipe.errors import counted


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
    """A folder with one sub-folder of images per class.

    The class folders may lie in `train`, `val` and `test`. Images in `unlabelled`, which may also lie beside the class
    folders, have no class. The classes are those of the training part. The task is named after the folder and a hash of
    its contents, so that changed files make a new task.

    Args:
        root: The folder, or a zip or tar archive of it.
        name: The task's name before the hash; None: the folder's name.
        channels: 1 for grey, 3 for colour, 4 for colour with transparency; None: 1 if all images are grey, else 3.
        bits: Bits per channel that are kept; None: 16 if all images have them, else 8.
        value_range: The values that become black and white in every image, such as [-1000.0, 3000.0]; needed for
            floating-point, signed and 32-bit TIFF. None: the full range of 8 or 16 bits.
        background: The colour behind transparent pixels, unless `channels` is 4.
        group: A regular expression with one capturing group, searched for in each image's path below the root: images
            with the same match (a patient, a site) are never split between parts. It must match all training images.
        max_unreadable: How many unreadable images may be left out; checked when images are decoded.
        allow_overlap: Accept validation or test images that are also in the training part, and test images that are also
            in the validation part, which folds train on.
        data_dir: The folder for unpacked archives and cached facts about files; None: neither is kept.

    Raises:
        DataError: With one sentence for each fault of the folder.
    """
    base = opened(root, data_dir, "task.root")
    entries = labelled_files(base)
    classes = sorted({label for part, label, _ in entries if part == "train"})
    raise_some(class_problems(base, entries, classes))
    paths, parts = [file for _, _, file in entries], [part for part, _, _ in entries]
    looks = file_headers.look(paths, file_headers.memory_file(data_dir, base))
    pixels = pixel_rules.format_of(paths, looks, PixelSettings(channels, bits, value_range, background))
    number = {label: index for index, label in enumerate(classes)}
    groups, of_groups = groups_of([path.relative_to(base).as_posix() for path in paths], group, parts)
    rows = [
        Row(
            file.relative_to(base).as_posix(),
            part,
            number.get(label, NO_TARGET) if part != "unlabelled" else NO_TARGET,
            look.digest,
            own_group,
        )
        for (part, label, file), look, own_group in zip(entries, looks, groups, strict=True)
    ]
    new_task = task.make(
        name or _stem(root),
        classes,
        rows,
        channels=pixels.channels,
        dtype=pixels.dtype,
        source={"type": "folder", "root": str(base), **pixels.source},
        notes=[*_notes(rows), *folder_notes(base), *class_notes(classes), *of_groups, *pixels.notes],
    )
    return finished(new_task, allow_overlap)


def _notes(rows: Sequence[Row]) -> list[str]:
    labels: dict[str, set[object]] = {}
    for row in rows:
        if row.target != NO_TARGET:
            labels.setdefault(row.digest, set()).add(row.target)
    torn = sum(len(targets) > 1 for targets in labels.values())
    copies = len(rows) - len({row.digest for row in rows})
    clause = counted(copies, "image is a byte for byte copy of another", "images are byte for byte copies of others")
    notes = [f"{clause}; copies stay in one fold"] if copies else []
    return notes + ([f"{counted(torn, 'image occurs', 'images occur')} under more than one class"] if torn else [])


def _stem(root: str) -> str:
    path = current_folder.expanded(root).absolute()
    return archives.stem(path) if archives.is_archive(path) else path.name
