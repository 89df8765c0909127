"""Where images come from: the embedded sets, and folders of files; each becomes a task, and can be read again.

A source is a function that looks at what is there and returns a `Task`; `reader` opens what a stored task names.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from mlpipe import files
from mlpipe.data import images, splits, task
from mlpipe.data.images import Pixels, UnreadableImageError
from mlpipe.data.task import NO_TARGET, Part, Task
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
Read = Callable[[int], Pixels]


def fashion_mini(*, max_unreadable: Annotated[int, ">= 0"] = 0) -> Task:
    """1,000 training and 300 test images of Fashion-MNIST, shipped with the package (MIT licence, Zalando Research).

    Args:
        max_unreadable: As for `folder`; these images are always readable.
    """
    stored = _fashion_mini()
    rows: list[tuple[str, Part, int, str]] = []
    for part in ("train", "test"):
        for index, target in enumerate(stored[f"y_{part}"].tolist()):
            rows.append((f"{part}/{index:05d}", part, target, _pixel_digest(stored[f"x_{part}"][index])))
    classes = [str(name) for name in stored["classes"]]
    return task.make("fashion_mini", classes, rows, channels=1, source={"type": "fashion_mini"})


def digits(*, max_unreadable: Annotated[int, ">= 0"] = 0) -> Task:
    """1,797 handwritten digits of 8 x 8 pixels and 17 grey levels, from scikit-learn.

    Args:
        max_unreadable: As for `folder`; these images are always readable.
    """
    pixels, targets = _digits()
    rows: list[tuple[str, Part, int, str]] = [
        (f"{index:05d}", "train", int(target), _pixel_digest(pixels[index])) for index, target in enumerate(targets)
    ]
    return task.make("digits", [str(digit) for digit in range(10)], rows, channels=1, source={"type": "digits"})


def folder(
    *,
    root: str,
    name: str | None = None,
    channels: Literal[1, 3] | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
) -> Task:
    """A folder with one sub-folder of images for each class.

    The class folders may lie in `train`, `val` and `test`; images in `unlabelled` have no class. The training part
    fixes the classes. The task is named after the folder and a hash of everything in it, so that changed files make
    a new task.

    Args:
        root: The folder.
        name: The task's name before the hash; None takes the folder's.
        channels: 1 grey, 3 colour; None: grey when every image is.
        max_unreadable: How many unreadable images may be left out; checked when they are decoded.
        allow_overlap: Accept validation or test images that are in the training part too.

    Raises:
        DataError: With a sentence for everything wrong with the folder.
    """
    base = Path(root).expanduser().absolute()
    found = _labelled_files(base)
    classes = sorted({label for part, label, _ in found if part == "train"})
    if wrong := _class_problems(base, found, classes):
        raise DataError(wrong)
    paths = [file for _, _, file in found]
    with ThreadPoolExecutor(max_workers=min(16, (os.cpu_count() or 1) + 4)) as pool:
        looked = list(pool.map(_digest_and_channels, paths))
    number = {label: index for index, label in enumerate(classes)}
    rows: list[tuple[str, Part, int, str]] = [
        (
            file.relative_to(base).as_posix(),
            part,
            number.get(label, NO_TARGET) if part != "unlabelled" else NO_TARGET,
            digest,
        )
        for (part, label, file), (digest, _) in zip(found, looked, strict=True)
    ]
    colours = channels or max((count for _, count in looked), default=1) or 1
    source = {"type": "folder", "root": str(base)}
    made = task.make(name or base.name, classes, rows, channels=colours, source=source, notes=_notes(rows))
    if not allow_overlap and (pairs := splits.overlap(made.samples)):
        raise DataError(splits.overlap_problem(pairs))
    final = f"{files.safe_name(made.name)}-{files.digest([made.source_hash, colours])[:8]}"
    return Task(final, made.kind, made.classes, colours, source, made.samples, made.notes)


def created(*, name: str, data_dir: str, max_unreadable: Annotated[int, ">= 0"] = 0) -> Task:
    """A task created earlier, by its name.

    Args:
        name: The task's name.
        data_dir: The folder of all tasks.
        max_unreadable: As for `folder`.

    Raises:
        DataError: When there is no such task.
    """
    path = Path(data_dir) / name / "task.json"
    if not path.is_file():
        known = sorted(file.parent.name for file in Path(data_dir).glob("*/task.json"))
        fix = did_you_mean(name, known, otherwise=f"known tasks: {listing(known) or 'none'}")
        raise DataError(problem("task", "there is no such task", got=name, fix=fix))
    return task.load(path)


def reader(of: Task, channels: int) -> Read:
    """A function from row number to pixels of shape (height, width, channels), for the task's own source.

    The function raises `UnreadableImageError` for an image that cannot be used, and `DataError` for one that is
    not the file that the task was created from.
    """
    kind = of.source["type"]
    if kind == "fashion_mini":
        stored = _fashion_mini()
        return lambda row: _in_channels(_array_image(stored, of.samples.ids[row]), channels)
    if kind == "digits":
        pixels, _ = _digits()
        return lambda row: _in_channels(pixels[int(of.samples.ids[row])][:, :, np.newaxis], channels)
    base = Path(of.source["root"])
    return lambda row: _file_image(base, of, row, channels)


def root(of: Task) -> Path | None:
    """The folder that a task's files lie in, None when it has no files."""
    return Path(of.source["root"]) if "root" in of.source else None


def _file_image(base: Path, of: Task, row: int, channels: int) -> Pixels:
    name = of.samples.ids[row]
    try:
        content = (base / name).read_bytes()
    except OSError as error:
        raise UnreadableImageError(f"cannot be opened ({error.strerror})") from error
    if files.digest_bytes(content) != of.samples.digests[row]:
        fix = "run the command again with task=folder, which makes a new task of what is there now"
        raise DataError(problem(str(base / name), f"has changed since the task {of.name} was created", fix=fix))
    return images.decode(content, channels)


def _labelled_files(base: Path) -> list[tuple[Part, str, Path]]:
    """(part, class, file) of every image below `base`, in a fixed order."""
    if not base.is_dir():
        fix = did_you_mean(base.name, _siblings(base), otherwise="name an existing folder")
        raise DataError(problem("task.root", "there is no such folder", got=str(base), fix=fix))
    subfolders = _subfolders(base)
    if not subfolders:
        fix = "put the images of each class into a sub-folder of that class's name"
        raise DataError(problem("task.root", "has no class folders", got=str(base), fix=fix))
    parts = {entry: PART_FOLDERS.get(entry.name.lower()) for entry in subfolders}
    if not all(parts.values()) or "train" not in parts.values():
        return [("train", entry.name, file) for entry in subfolders for file in _images(entry)]
    found: list[tuple[Part, str, Path]] = []
    for entry, part in parts.items():
        if part == "unlabelled":
            found += [("unlabelled", "", file) for file in _images(entry)]
        elif part is not None:
            found += [(part, label.name, file) for label in _subfolders(entry) for file in _images(label)]
    return found


def _class_problems(base: Path, found: list[tuple[Part, str, Path]], classes: list[str]) -> list[str]:
    empty = [str(entry.relative_to(base)) for entry in _class_folders(base) if not any(True for _ in _images(entry))]
    wrong = [problem(str(base / name), "has no images", fix="add images or remove the folder") for name in empty]
    if not wrong and len(classes) < 2:
        fix = "a classification task needs at least two class folders"
        wrong.append(problem("task.root", f"has {len(classes)} class folder with images", got=str(base), fix=fix))
    strange = sorted({(part, label) for part, label, _ in found if part in ("val", "test") and label not in classes})
    for part, label in strange:
        fix = did_you_mean(label, classes, otherwise=f"the training part has {listing(classes)}")
        wrong.append(problem(f"{part}/{label}", "is a class that the training part does not have", fix=fix))
    return wrong


def _class_folders(base: Path) -> list[Path]:
    subfolders = _subfolders(base)
    parts = {entry: PART_FOLDERS.get(entry.name.lower()) for entry in subfolders}
    if not all(parts.values()) or "train" not in parts.values():
        return subfolders
    return [label for entry, part in parts.items() if part == "train" for label in _subfolders(entry)]


def _notes(rows: list[tuple[str, Part, int, str]]) -> list[str]:
    labels: dict[str, set[int]] = {}
    for _, _, target, digest in rows:
        if target != NO_TARGET:
            labels.setdefault(digest, set()).add(target)
    torn = sum(len(targets) > 1 for targets in labels.values())
    copies = len(rows) - len({digest for _, _, _, digest in rows})
    notes = [f"{copies} images are byte for byte copies of others; copies stay in one fold"] if copies else []
    return notes + ([f"{torn} images occur under more than one class"] if torn else [])


def _digest_and_channels(file: Path) -> tuple[str, int]:
    """A file's hash and how many channels it has; 0 when it is unreadable (decoding lists it later)."""
    try:
        content = file.read_bytes()
    except OSError:
        return "", 0
    try:
        return files.digest_bytes(content), images.header(content)[2]
    except UnreadableImageError:
        return files.digest_bytes(content), 0


def _subfolders(base: Path) -> list[Path]:
    return sorted(entry for entry in base.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))


def _images(base: Path) -> list[Path]:
    return sorted(
        file
        for file in base.rglob("*")
        if file.suffix.lower() in images.EXTENSIONS and not file.name.startswith(".") and file.is_file()
    )


def _siblings(base: Path) -> list[str]:
    return [entry.name for entry in base.parent.iterdir() if entry.is_dir()] if base.parent.is_dir() else []


def _array_image(stored: Mapping[str, np.ndarray], name: str) -> Pixels:
    part, _, index = name.partition("/")
    return np.asarray(stored[f"x_{part}"][int(index)], np.uint8)[:, :, np.newaxis]


def _in_channels(pixels: Pixels, channels: int) -> Pixels:
    return np.repeat(pixels, channels, axis=2) if pixels.shape[2] == 1 < channels else pixels


def _pixel_digest(pixels: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16).hexdigest()


@cache
def _fashion_mini() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "embedded" / "fashion_mini.npz", allow_pickle=False) as stored:
        return {key: stored[key] for key in stored}


@cache
def _digits() -> tuple[Pixels, np.ndarray]:
    from sklearn.datasets import load_digits

    stored = load_digits()
    return np.round(stored.images * (255 / 16)).astype(np.uint8), stored.target
