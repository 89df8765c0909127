"""Every image decoded and resized once, into one memory-mapped file that all folds and runs share."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from mlpipe import files
from mlpipe.data import sources
from mlpipe.data.images import Pixels, UnreadableImageError
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.task import Task
from mlpipe.errors import DataError, problem

FORMAT = 1
_CHUNK = 64


@dataclass(frozen=True)
class Pack:
    """The cached images of a task.

    Attributes:
        images: Shape (samples, height, width, channels), uint8, memory-mapped; rows of unreadable images are zero.
        unreadable: The reason for each sample id that could not be decoded.
        folder: Where it lies.
    """

    images: npt.NDArray[np.uint8]
    unreadable: dict[str, str]
    folder: Path

    def unreadable_mask(self, task: Task) -> npt.NDArray[np.bool_]:
        """A flag for each sample of the task, shape (n,)."""
        return np.array([name in self.unreadable for name in task.samples.ids], bool)


def pack_id(task: Task, preprocessing: Preprocessing) -> str:
    """The name of the cache folder: the preprocessing's id and a hash of its parameters, the images and the library."""
    key = [FORMAT, preprocessing.key(), list(task.samples.ids), list(task.samples.digests)]
    return f"{files.safe_name(preprocessing.id)}-{files.digest(key)[:12]}"


def is_complete(folder: Path) -> bool:
    """Whether a pack is there, without opening it."""
    return (folder / "index.json").is_file()


def load(folder: Path) -> Pack:
    """Open a complete pack."""
    index = files.read_json(folder / "index.json")
    return Pack(np.load(folder / "images.npy", mmap_mode="r"), index["unreadable"], folder)


def build(
    task: Task,
    preprocessing: Preprocessing,
    folder: Path,
    *,
    workers: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pack:
    """Open the pack in `folder`, filling it first when it is missing.

    Args:
        task: The task whose images are packed.
        preprocessing: What happens to each image.
        folder: Where the pack lies or is made.
        workers: Threads that decode.
        progress: Called with the number of images done and their total.

    Raises:
        DataError: When nothing can be decoded, sizes differ without a resize, a file changed, or the disk is too full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not is_complete(folder):
            _fill(task, preprocessing, folder, workers, progress)
    return load(folder)


def check_unreadable(pack: Pack, most: int) -> None:
    """Refuse a pack with more unreadable images than are allowed.

    Raises:
        DataError: With a sentence for each of the first ten unreadable images, and what to do.
    """
    if len(pack.unreadable) <= most:
        return
    named = [problem(name, reason) for name, reason in list(pack.unreadable.items())[:10]]
    rest = len(pack.unreadable) - len(named)
    shown = f", {rest} of them not shown" if rest else ""
    fix = f"repair or remove them, or leave them out with task.max_unreadable={len(pack.unreadable)}"
    counted = problem("task.max_unreadable", f"{len(pack.unreadable)} unreadable images{shown}", got=most, fix=fix)
    raise DataError([*named, counted])


def _fill(
    task: Task, preprocessing: Preprocessing, folder: Path, workers: int, progress: Callable[[int, int], None]
) -> None:
    started = time.perf_counter()
    total = len(task.samples)
    height, width = _image_size(task, preprocessing)
    shape = (total, height, width, preprocessing.channels)
    _check_space(folder, int(np.prod(shape)))
    unreadable: dict[str, str] = {}
    with files.durable(folder / "images.npy") as temporary, temporary.open("wb") as handle:
        header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(handle, header)
        for done, (row, result) in enumerate(_decoded(task, preprocessing, workers), start=1):
            if isinstance(result, str):
                unreadable[task.samples.ids[row]] = result
                result = np.zeros(shape[1:], np.uint8)
            elif result.shape != shape[1:]:
                raise DataError(_size_problem(task, row, result, shape[1:]))
            handle.write(result.tobytes())
            progress(done, total)
    if len(unreadable) == total:
        reason = next(iter(unreadable.items()))
        raise DataError(problem("task", f"none of its {total} images can be read ({reason[0]}: {reason[1]})"))
    index = {
        "format": FORMAT,
        "task": task.name,
        "shape": shape,
        "preprocessing": preprocessing.key(),
        "unreadable": unreadable,
        "seconds": round(time.perf_counter() - started, 3),
    }
    files.write_json(folder / "index.json", index)


def _decoded(task: Task, preprocessing: Preprocessing, workers: int) -> Iterator[tuple[int, Pixels | str]]:
    """(row, pixels or the reason why there are none), in order, never more than a few chunks in memory."""
    read = sources.reader(task, preprocessing.channels)

    def one(row: int) -> Pixels | str:
        try:
            return preprocessing(read(row))
        except UnreadableImageError as error:
            return str(error)

    rows = range(len(task.samples))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for start in range(0, len(rows), _CHUNK * workers):
            chunk = rows[start : start + _CHUNK * workers]
            yield from zip(chunk, pool.map(one, chunk), strict=True)


def _image_size(task: Task, preprocessing: Preprocessing) -> tuple[int, int]:
    if preprocessing.size is not None:
        return preprocessing.size, preprocessing.size
    read = sources.reader(task, preprocessing.channels)
    for row in range(len(task.samples)):
        try:
            height, width = read(row).shape[:2]
        except UnreadableImageError:
            continue
        return height, width
    raise DataError(problem("task", f"none of its {len(task.samples)} images can be read"))


def _size_problem(task: Task, row: int, pixels: Pixels, shape: tuple[int, ...]) -> str:
    sizes = f"is {pixels.shape[1]} x {pixels.shape[0]} pixels, others are {shape[1]} x {shape[0]}"
    return problem(task.samples.ids[row], sizes, fix="choose a size, for example preprocessing.size=224")


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        wrong = f"the cache needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise DataError(
            problem(str(folder), wrong, fix="free space, choose another data_dir or a smaller preprocessing.size")
        )
