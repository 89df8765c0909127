"""MNIST and data sets in its format: four IDX files, as on Yann LeCun's page, optionally compressed by gzip."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from mlpipe import current_folder, limits
from mlpipe.data import task
from mlpipe.data.decoding.images import Pixels
from mlpipe.data.sources.listings.array_layout import pixel_digest
from mlpipe.data.sources.source import ByName, finished
from mlpipe.data.sources.targets import class_numbers
from mlpipe.data.task import NO_TARGET, Part, Row, Task
from mlpipe.errors import DataError, counted, did_you_mean, listing, problem

Array = np.ndarray[Any, Any]
# The file names of each part; some copies use a dot in place of one hyphen.
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_PIECE = 1 << 20
_DAMAGED = (OSError, EOFError, ValueError, zlib.error, struct.error)


def mnist(
    *,
    root: str | None = None,
    test_root: str | None = None,
    classes: list[str] | None = None,
    labelled: bool = True,
    name: str | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
) -> Task:
    """MNIST (LeCun, Cortes & Burges 1998), Fashion-MNIST, KMNIST, EMNIST: IDX files of grey images and class numbers.

    Args:
        root: The folder of train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or as .gz.
        test_root: The folder of t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte; None: `root`, if they exist there.
        classes: The class names, for the numbers 0, 1, 2, ..., or, if there are as many, for the occurring numbers in
            ascending order; None: the numbers that occur in the training images.
        labelled: False: class numbers are not read, and no image has a class.
        name: The task's name before the hash; None: the folder's name.
        max_unreadable: As for `folder`; these images are always readable.
        allow_overlap: As for `folder`.

    Raises:
        DataError: If a file is missing or damaged, or the numbers of images and labels differ.
    """
    source: dict[str, Any] = {"type": "mnist", "files": {}}
    rows: list[tuple[Part, Array, Array | None]] = []
    for part, folder, key in (("train", root, "task.root"), ("test", test_root or root, "task.test_root")):
        if folder is None or (part == "test" and test_root is None and not _existing_file(folder, FILES["test"][0])):
            continue
        own: Part = "train" if part == "train" else "test"
        paths = [_file(folder, file_name, key) for file_name in FILES[part][: 2 if labelled else 1]]
        pixels = _read(paths[0], 3)
        numbers = _read(paths[1], 1) if labelled else None
        if numbers is not None and len(numbers) != len(pixels):
            counts = counted(len(pixels), "image"), counted(len(numbers), "class number")
            wrong = f"{paths[0].name} has {counts[0]}, {paths[1].name} {counts[1]}"
            raise DataError(problem(key, wrong, got=folder, fix="use the files of one set"))
        source["files"][part] = str(paths[0])
        rows.append((own, pixels, numbers))
    if not rows:
        raise DataError(problem("task.root", "a folder is needed", fix="add task.root=DIR"))
    title = name or current_folder.expanded(root or test_root or "mnist").absolute().name
    parts = {str(part): numbers for part, _, numbers in rows if numbers is not None and len(numbers)}
    known = class_numbers.class_numbering(parts, classes, title, missing=False) if parts else None
    new_task = task.make(
        title,
        known.names if known is not None else classes or [],
        [
            Row(
                f"{part}/{index:07d}",
                part if labelled else "unlabelled",
                NO_TARGET if numbers is None or known is None else known.places[int(numbers[index])],
                pixel_digest(pixels[index]),
            )
            for part, pixels, numbers in rows
            for index in range(len(pixels))
        ],
        channels=1,
        source=source,
    )
    return finished(new_task, allow_overlap)


class IdxFiles(ByName):
    """Images from IDX files."""

    def roots(self) -> tuple[Path, ...]:
        """Return the files."""
        return tuple(Path(file) for file in self.task.source["files"].values())

    def by_name(self) -> Callable[[str], Pixels]:
        """Return a function from sample id to pixels of shape (height, width, 1)."""
        opened = {part: _read(Path(file), 3) for part, file in self.task.source["files"].items()}
        unchanged = self.unchanged()

        def read(name: str) -> Pixels:
            part, _, index = name.partition("/")
            image = opened[part][int(index)] if int(index) < len(opened[part]) else None
            return np.ascontiguousarray(unchanged(name, image))[:, :, np.newaxis]

        return read


def _existing_file(folder: str, name: str) -> Path | None:
    base = current_folder.expanded(folder).absolute()
    forms = [f"{form}{end}" for form in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
    return next((base / form for form in forms if (base / form).is_file()), None)


def _file(folder: str, name: str, key: str) -> Path:
    path = _existing_file(folder, name)
    if path is not None:
        return path
    base = current_folder.expanded(folder).absolute()
    inside = sorted(entry.name for entry in base.iterdir()) if base.is_dir() else []
    if not base.is_dir():
        raise DataError(problem(key, "there is no such folder", got=str(base), fix="name an existing folder"))
    fix = did_you_mean(name, inside, otherwise=f"the folder has {listing(inside, most=6) or 'no files'}")
    raise DataError(problem(key, f"has no file {name} (or {name}.gz)", got=str(base), fix=fix))


def _unpacked(path: Path) -> bytes:
    stored = limits.require_ordinary(path, limits.STORED)
    if path.suffix != ".gz":
        return path.read_bytes()
    most = max(limits.UNPACKED, limits.GROWTH * stored)
    buffer = io.BytesIO()
    with gzip.open(path) as file:
        while piece := file.read(_PIECE):
            buffer.write(piece)
            if buffer.tell() > most:
                raise ValueError(f"it unpacks to more than {most:,} bytes, of which {stored:,} are stored")
    return buffer.getvalue()


def _read(path: Path, dimensions: int) -> Array:
    """Return the bytes of an IDX file as an array.

    Raises:
        DataError: If it is missing or damaged, or has another number of dimensions.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(problem(str(path), f"cannot be read ({error.strerror})")) from error
    return _remembered(path, dimensions, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _remembered(path: Path, dimensions: int, changed: int, size: int) -> Array:
    try:
        content = _unpacked(path)
        zero, kind, count = struct.unpack(">HBB", content[:4])
        if (zero, kind, count) != (0, 8, dimensions):
            raise ValueError(f"it begins with {content[:4].hex()}, not with 00000{800 + dimensions}")
        shape = struct.unpack(f">{count}I", content[4 : 4 + 4 * count])
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * count)
        if len(values) != int(np.prod(shape, dtype=np.int64)):
            raise ValueError(f"it has {len(values)} values, its header says {' x '.join(map(str, shape))}")
        return values.reshape(shape)
    except _DAMAGED as error:
        raise DataError(problem(str(path), f"is no IDX file of bytes ({error})", fix="download it again")) from error
