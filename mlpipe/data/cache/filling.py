"""Cache filling: decode a task's images in order into one growing file, on every core, in little memory, resumable.

`images.part` grows image by image; `filling.jsonl` says how much of it is on disk for sure. A fill that was stopped at any
point, by `kill -9` or a power cut too, goes on there, and its file is the same byte for byte as one made at once.

Threads decode: simplejpeg, Pillow and OpenCV let go of Python's lock while they work, a thread costs no start-up and its
pixels need no copy to another process; `scripts/bench_data.py` prints what one and all threads do.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from mlpipe import files
from mlpipe.data import sources
from mlpipe.data.decoding.images import Pixels, UnreadableImageError
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.task import Task
from mlpipe.errors import DataError, problem

PART_FILE, JOURNAL_FILE = "images.part", "filling.jsonl"
# Height and width, or other spatial axes, and channels.
Shape = tuple[int, ...]
Progress = Callable[[int, int], None]

# How often what was written is made durable; what was not is decoded again after a crash.
_SYNC_SECONDS = 2.0
# Decoded images that wait to be written hold about so many bytes, and a thread's job is at most so many images.
_WAITING_BYTES = 128 << 20
_LONGEST_JOB = 32


@dataclass
class Filling:
    """Progress of a fill.

    Attributes:
        done: Images in `images.part`.
        size: Bytes in it.
        unreadable: Reasons by sample id.
        places: Start in bytes, height and width of each image; kept for images of several sizes only.
        seconds: Time spent, in all attempts.
    """

    done: int = 0
    size: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    places: list[tuple[int, int, int]] = field(default_factory=list)
    seconds: float = 0.0


def resumed_filling(folder: Path, final: Path) -> Filling:
    """Progress of an earlier attempt; an empty `Filling` when there is none, or none that can be trusted.

    Args:
        folder: The pack's folder; what cannot be used is removed from it.
        final: The name that a complete `images.part` gets; it is taken back when the attempt ended after that.
    """
    part, journal = folder / PART_FILE, folder / JOURNAL_FILE
    if not part.is_file() and journal.is_file() and final.is_file():
        final.replace(part)
    state, trusted = _read_journal(journal)
    if state.done and part.is_file() and part.stat().st_size >= state.size:
        # The next line must not be appended to half of one.
        os.truncate(journal, trusted)
        return state
    discard(folder)
    return Filling()


def discard(folder: Path) -> None:
    """Remove what an attempt left."""
    (folder / PART_FILE).unlink(missing_ok=True)
    (folder / JOURNAL_FILE).unlink(missing_ok=True)


def append(
    task: Task,
    preprocessing: Preprocessing,
    folder: Path,
    shape: Shape | None,
    state: Filling,
    workers: int,
    progress: Progress,
) -> None:
    """Decode what is missing and write it after what is there, updating `state`.

    Args:
        task: The task whose images are decoded.
        preprocessing: What happens to each image.
        folder: The pack's folder.
        shape: Height, width and channels of all images: the file is a `.npy` array. None: they differ, and it is flat.
        state: How far an earlier attempt came.
        workers: Threads that decode.
        progress: Called with the number of images done and their total; may raise to stop.

    Raises:
        DataError: When an image does not have `shape` or the task's type, or is not the one that the task was made of.
    """
    # The journal never says more than what is safely on disk, and the file may hold more than the journal says: what is
    # behind `state.size` is cut off and decoded again. So pixels are flushed before their line is written (`_sync`), every few
    # seconds only, since a flush costs as much as many images; and once more however this ends.
    total, dtype = len(task.samples), np.dtype(task.dtype)
    started = synced = time.perf_counter()
    before, noted = state.seconds, (len(state.unreadable), len(state.places))
    with (folder / PART_FILE).open("r+b" if state.done else "wb") as part:
        if not state.done and shape is not None:
            header = {"descr": dtype.str, "fortran_order": False, "shape": (total, *shape)}
            np.lib.format.write_array_header_1_0(part, header)
            state.size = part.tell()
        part.seek(state.size)
        part.truncate()
        job = _job_length(shape, dtype, workers)
        try:
            with closing(_decoded(task, preprocessing, workers, range(state.done, total), job)) as results:
                for row, result in results:
                    _write(part, task, row, result, shape, preprocessing.channels, state)
                    state.seconds = before + time.perf_counter() - started
                    if time.perf_counter() - synced >= _SYNC_SECONDS:
                        noted = _sync(part, folder, state, noted)
                        synced = time.perf_counter()
                    progress(state.done, total)
        finally:
            _sync(part, folder, state, noted)


def _read_journal(journal: Path) -> tuple[Filling, int]:
    """The state that a journal tells, and the length in bytes of its lines that are whole."""
    state, trusted = Filling(), 0
    if not journal.is_file():
        return state, trusted
    for line in journal.read_bytes().splitlines(keepends=True):
        # A crash can only have torn the last line.
        if not line.endswith(b"\n"):
            break
        try:
            entry = json.loads(line)
            places = [(start, height, width) for start, height, width in entry["places"]]
            state.done, state.size, state.seconds = int(entry["done"]), int(entry["size"]), float(entry["seconds"])
            state.unreadable.update(entry["unreadable"])
        except (ValueError, KeyError, TypeError):
            # Damaged otherwise: what was decoded is not lost for good, only made again.
            return Filling(), 0
        state.places.extend(places)
        trusted += len(line)
    return state, trusted


def _sync(part: IO[bytes], folder: Path, state: Filling, noted: tuple[int, int]) -> tuple[int, int]:
    """Make what was written durable, then say so in the journal; returns how much of the lists is noted now."""
    part.flush()
    os.fsync(part.fileno())
    line = {
        "done": state.done,
        "size": state.size,
        "seconds": round(state.seconds, 3),
        "unreadable": dict(list(state.unreadable.items())[noted[0] :]),
        "places": state.places[noted[1] :],
    }
    files.append_line(folder / JOURNAL_FILE, json.dumps(line, separators=(",", ":")))
    return len(state.unreadable), len(state.places)


def _write(
    part: IO[bytes], task: Task, row: int, result: Pixels | str, shape: Shape | None, channels: int, state: Filling
) -> None:
    name = task.samples.ids[row]
    if isinstance(result, str):
        state.unreadable[name] = result
        result = np.zeros(shape or (1, 1, channels), task.dtype)
    elif result.dtype != np.dtype(task.dtype):
        raise DataError(problem(name, f"has {result.dtype} values, the task says {task.dtype}"))
    elif shape is not None and result.shape != shape:
        raise DataError(_size_problem(name, result.shape, shape))
    if shape is None:
        state.places.append((state.size, result.shape[0], result.shape[1]))
    part.write(np.ascontiguousarray(result).data)
    state.size += result.nbytes
    state.done += 1


def _size_problem(name: str, own: Shape, others: Shape) -> str:
    if len(own) != 3 or len(others) != 3:
        return problem(name, f"has the shape {list(own)}, others have {list(others)}", fix="make samples of one shape")
    sizes = f"is {own[1]} x {own[0]} pixels, others are {others[1]} x {others[0]}"
    fix = "choose a size, for example preprocessing.size=224, or keep all sizes with preprocessing=original"
    return problem(name, sizes, fix=fix)


def _job_length(shape: Shape | None, dtype: np.dtype[Any], workers: int) -> int:
    """The number of images that a thread decodes at a time: many small ones, one when their size is not known."""
    if shape is None:
        return 1
    waiting = _WAITING_BYTES // (int(np.prod(shape)) * dtype.itemsize or 1)
    return max(1, min(_LONGEST_JOB, waiting // (2 * workers)))


def _decoded(
    task: Task, preprocessing: Preprocessing, workers: int, rows: range, job: int
) -> Generator[tuple[int, Pixels | str], None, None]:
    """(row, pixels or the reason why there are none) in the order of `rows`, two jobs for each thread ahead at most."""
    read = sources.reader(task, preprocessing.channels, preprocessing.least)

    def one(row: int) -> Pixels | str:
        try:
            return preprocessing(read(row))
        except UnreadableImageError as error:
            return str(error)

    def some(chunk: range) -> list[Pixels | str]:
        return [one(row) for row in chunk]

    # Threads decode out of order, the file is written in order: a queue of jobs keeps both apart. It is short, so that
    # decoded images that wait for a slow one before them do not fill the memory.
    ahead: deque[tuple[range, Future[list[Pixels | str]]]] = deque()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            for start in range(0, len(rows), job):
                chunk = rows[start : start + job]
                ahead.append((chunk, pool.submit(some, chunk)))
                if len(ahead) > 2 * workers:
                    first, future = ahead.popleft()
                    yield from zip(first, future.result(), strict=True)
            while ahead:
                first, future = ahead.popleft()
                yield from zip(first, future.result(), strict=True)
        finally:
            for _, future in ahead:
                future.cancel()
