"""Every image decoded and resized once, into one memory-mapped file that all folds and runs share.

A pack is a folder: `index.json`, written last, and `images.npy` (all images of one size) or `images.bin` and
`places.npy` (each of its own). While it is filled, `images.part` grows and `filling.jsonl` says how far it can be trusted, so
that a fill that was stopped at any point goes on there.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from mlpipe import files
from mlpipe.data import sources
from mlpipe.data.images import Pixels, UnreadableImageError
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.errors import DataError, problem

FORMAT = 2
PART_FILE, JOURNAL_FILE, INDEX_FILE = "images.part", "filling.jsonl", "index.json"
# Images in the hands of each thread: memory stays flat whatever the number of images.
_CHUNK = 32
# How often what was written is made durable; what was not is decoded again after a crash.
_SYNC_SECONDS = 2.0


@dataclass(frozen=True)
class Pack:
    """The cached images of a task.

    Attributes:
        images: Memory-mapped: shape (samples, height, width, channels), rows of unreadable images being zero; or the
            bytes of images of several sizes one after another; or features, shape (samples, features).
        unreadable: The reason for each sample id that could not be decoded.
        folder: Where it lies.
        preprocessing: How images were made, and are made of one size when they are taken.
        dtype: The type of their values.
        places: For images of several sizes their start in `images`, height and width, shape (samples, 3).
    """

    images: npt.NDArray[Any]
    unreadable: dict[str, str]
    folder: Path
    preprocessing: Preprocessing
    dtype: np.dtype[Any]
    places: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.images if self.places is None else self.places)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of what a network sees; (0, 0) for features."""
        if self.places is not None:
            return self.preprocessing.size or 0, self.preprocessing.size or 0
        return (self.images.shape[1], self.images.shape[2]) if self.images.ndim == 4 else (0, 0)

    @property
    def channels(self) -> int:
        """How many channels images have."""
        return self.preprocessing.channels

    @property
    def peak(self) -> float:
        """The value of white."""
        return float(np.iinfo(self.dtype).max) if self.dtype.kind == "u" else 1.0

    def take(self, rows: Rows) -> npt.NDArray[Any] | list[Pixels]:
        """Some images: an array of shape (n, height, width, channels), or a list of images of several sizes."""
        if self.places is None:
            return np.asarray(self.images[rows])
        taken = []
        for start, height, width in self.places[rows].tolist():
            length = height * width * self.channels * self.dtype.itemsize
            values = self.images[start : start + length].view(self.dtype)
            taken.append(np.asarray(values).reshape(height, width, self.channels))
        return taken

    def take_fixed(self, rows: Rows) -> npt.NDArray[Any]:
        """Some images in the size that a network sees, shape (n, height, width, channels), or features."""
        taken = self.take(rows)
        return np.stack([self.preprocessing.fixed(image) for image in taken]) if isinstance(taken, list) else taken

    def with_images(self, values: npt.NDArray[Any]) -> Pack:
        """The same samples with other values, such as features."""
        return replace(self, images=values, dtype=values.dtype, places=None)

    def unreadable_mask(self, task: Task) -> npt.NDArray[np.bool_]:
        """A flag for each sample of the task, shape (n,)."""
        return np.array([name in self.unreadable for name in task.samples.ids], bool)


def pack_id(task: Task, preprocessing: Preprocessing) -> str:
    """The name of the cache folder: the preprocessing's id and a hash of its parameters, the images and the libraries."""
    key = [FORMAT, preprocessing.key(), task.dtype, list(task.samples.ids), list(task.samples.digests)]
    return f"{files.safe_name(preprocessing.id)}-{files.digest(key)[:12]}"


def is_complete(folder: Path) -> bool:
    """Whether a pack is there, without opening it."""
    return (folder / INDEX_FILE).is_file()


def load(folder: Path, preprocessing: Preprocessing) -> Pack:
    """Open a complete pack that was made with a preprocessing."""
    index = files.read_json(folder / INDEX_FILE)
    dtype = np.dtype(index["dtype"])
    if not preprocessing.is_ragged:
        stored = np.load(folder / "images.npy", mmap_mode="r")
        return Pack(stored, index["unreadable"], folder, preprocessing, dtype)
    values = np.memmap(folder / "images.bin", np.uint8, "r")
    return Pack(values, index["unreadable"], folder, preprocessing, dtype, np.load(folder / "places.npy"))


def build(
    task: Task,
    preprocessing: Preprocessing,
    folder: Path,
    *,
    workers: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pack:
    """Open the pack in `folder`, filling it first when it is missing, from where an earlier fill was stopped.

    Args:
        task: The task whose images are packed.
        preprocessing: What happens to each image.
        folder: Where the pack lies or is made.
        workers: Threads that decode (the decoders release Python's lock).
        progress: Called with the number of images done and their total; may raise to stop.

    Raises:
        DataError: When nothing can be decoded, sizes differ without a resize, a file changed, or the disk is too full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not is_complete(folder):
            _fill(task, preprocessing, folder, workers, progress)
    return load(folder, preprocessing)


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


@dataclass
class _Filling:
    """How far a fill has come: what `images.part` holds for sure.

    Attributes:
        done: Images.
        size: Bytes.
        unreadable: Reasons by sample id.
        places: Start, height and width of each image.
        seconds: Time spent.
    """

    done: int = 0
    size: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    places: list[tuple[int, int, int]] = field(default_factory=list)
    seconds: float = 0.0


def _fill(
    task: Task, preprocessing: Preprocessing, folder: Path, workers: int, progress: Callable[[int, int], None]
) -> None:
    state = _resumed(folder)
    shape = None if preprocessing.is_ragged else _image_shape(task, preprocessing)
    if shape is not None:
        _check_space(folder, len(task.samples) * int(np.prod(shape)) * np.dtype(task.dtype).itemsize - state.size)
    try:
        _append(task, preprocessing, folder, shape, state, workers, progress)
    except DataError:
        # What is wrong with the images stays wrong: nothing of it is kept.
        (folder / PART_FILE).unlink(missing_ok=True)
        (folder / JOURNAL_FILE).unlink(missing_ok=True)
        raise
    _finish(task, preprocessing, folder, state)


def _append(
    task: Task,
    preprocessing: Preprocessing,
    folder: Path,
    shape: tuple[int, int, int] | None,
    state: _Filling,
    workers: int,
    progress: Callable[[int, int], None],
) -> None:
    """Decode what is missing, in order, and write it after what is there."""
    total, dtype = len(task.samples), np.dtype(task.dtype)
    started = synced = time.perf_counter()
    saved = replace(state, unreadable=dict(state.unreadable), places=list(state.places))
    with (folder / PART_FILE).open("r+b" if state.done else "wb") as part:
        if not state.done and shape is not None:
            header = {"descr": dtype.str, "fortran_order": False, "shape": (total, *shape)}
            np.lib.format.write_array_header_1_0(part, header)
            state.size = part.tell()
        part.seek(state.size)
        part.truncate()
        try:
            for row, result in _decoded(task, preprocessing, workers, state.done):
                _write(part, task, row, result, shape, dtype, state)
                state.seconds = saved.seconds + time.perf_counter() - started
                if time.perf_counter() - synced > _SYNC_SECONDS:
                    saved = _sync(part, folder, state, saved)
                    synced = time.perf_counter()
                progress(state.done, total)
        finally:
            _sync(part, folder, state, saved)


def _write(
    part: Any,
    task: Task,
    row: int,
    result: Pixels | str,
    shape: tuple[int, int, int] | None,
    dtype: np.dtype[Any],
    state: _Filling,
) -> None:
    if isinstance(result, str):
        state.unreadable[task.samples.ids[row]] = result
        result = np.zeros(shape or (0, 1, 1), dtype)
    elif result.dtype != dtype:
        raise DataError(problem(task.samples.ids[row], f"has {result.dtype} values, the task says {dtype}"))
    elif shape is not None and result.shape != shape:
        raise DataError(_size_problem(task, row, result, shape))
    content = np.ascontiguousarray(result).tobytes()
    part.write(content)
    if shape is None:
        state.places.append((state.size, result.shape[0], result.shape[1]))
    state.size += len(content)
    state.done += 1


def _sync(part: Any, folder: Path, state: _Filling, saved: _Filling) -> _Filling:
    """Make what was written durable, then say so in the journal."""
    part.flush()
    os.fsync(part.fileno())
    fresh = {name: reason for name, reason in state.unreadable.items() if name not in saved.unreadable}
    line = {
        "done": state.done,
        "size": state.size,
        "seconds": round(state.seconds, 3),
        "unreadable": fresh,
        "places": state.places[len(saved.places) :],
    }
    files.append_line(folder / JOURNAL_FILE, json.dumps(line, separators=(",", ":")))
    return replace(state, unreadable=dict(state.unreadable), places=list(state.places))


def _resumed(folder: Path) -> _Filling:
    """The state of a fill that was stopped; an empty one when there is none, or it cannot be trusted."""
    part, journal = folder / PART_FILE, folder / JOURNAL_FILE
    state = _Filling()
    try:
        lines = journal.read_text("utf-8").splitlines() if part.is_file() and journal.is_file() else []
        for line in lines:
            # A crash can only have torn the last line; what came before it holds.
            if not line.endswith("}"):
                break
            entry = json.loads(line)
            state.done, state.size, state.seconds = entry["done"], entry["size"], entry["seconds"]
            state.unreadable.update(entry["unreadable"])
            state.places.extend((start, height, width) for start, height, width in entry["places"])
        is_whole = not state.done or part.stat().st_size >= state.size
    except (OSError, ValueError, KeyError, TypeError):
        is_whole = False
    if is_whole and state.done:
        return state
    part.unlink(missing_ok=True)
    journal.unlink(missing_ok=True)
    return _Filling()


def _finish(task: Task, preprocessing: Preprocessing, folder: Path, state: _Filling) -> None:
    if len(state.unreadable) == len(task.samples):
        reason = next(iter(state.unreadable.items()))
        (folder / PART_FILE).unlink()
        (folder / JOURNAL_FILE).unlink()
        wrong = f"none of its {len(task.samples)} images can be read ({reason[0]}: {reason[1]})"
        raise DataError(problem("task", wrong))
    if preprocessing.is_ragged:
        with files.durable(folder / "places.npy") as temporary, temporary.open("wb") as handle:
            np.save(handle, np.array(state.places, np.int64).reshape(-1, 3))
    (folder / PART_FILE).replace(folder / ("images.bin" if preprocessing.is_ragged else "images.npy"))
    files.sync_folder(folder)
    index = {
        "format": FORMAT,
        "task": task.name,
        "images": len(task.samples),
        "dtype": task.dtype,
        "preprocessing": preprocessing.key(),
        "unreadable": state.unreadable,
        "seconds": round(state.seconds, 3),
    }
    files.write_json(folder / INDEX_FILE, index)
    (folder / JOURNAL_FILE).unlink(missing_ok=True)


def _decoded(task: Task, preprocessing: Preprocessing, workers: int, first: int) -> Iterator[tuple[int, Pixels | str]]:
    """(row, pixels or the reason why there are none) from a row on, in order, a few chunks in memory at most."""
    read = sources.reader(task, preprocessing.channels)

    def one(row: int) -> Pixels | str:
        try:
            return preprocessing(read(row))
        except UnreadableImageError as error:
            return str(error)

    rows = range(first, len(task.samples))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for start in range(0, len(rows), _CHUNK * workers):
            chunk = rows[start : start + _CHUNK * workers]
            yield from zip(chunk, pool.map(one, chunk), strict=True)


def _image_shape(task: Task, preprocessing: Preprocessing) -> tuple[int, int, int]:
    if preprocessing.size is not None:
        return preprocessing.size, preprocessing.size, preprocessing.channels
    read = sources.reader(task, preprocessing.channels)
    for row in range(len(task.samples)):
        try:
            height, width, channels = read(row).shape
        except UnreadableImageError:
            continue
        return height, width, channels
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
