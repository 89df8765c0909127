"""Cache filling: decode a task's images in order into one growing file, on all cores, with little memory, resumable.

`images.part` grows image by image; `filling.jsonl` records how much of it is safely on disk. A fill that was interrupted at
any point, even by `kill -9` or a power cut, continues there, and its file is byte for byte the same as without interruption.

Images are decoded in threads: simplejpeg, Pillow and OpenCV release Python's lock, and threads start at no cost and need no
copies of pixels between processes; `scripts/bench_data.py` measures one thread and all threads.
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

# The interval in which written images are flushed to disk; others are decoded again after a crash.
_SYNC_SECONDS = 2.0
# The approximate number of bytes of decoded images that wait to be written, and the largest number of images per job.
_WAITING_BYTES = 128 << 20
_LONGEST_JOB = 32


@dataclass
class Filling:
    """Progress of a fill.

    Attributes:
        done: The number of images in `images.part`.
        size: The number of bytes in it.
        unreadable: Reasons by sample id.
        places: Offset in bytes, height and width of each image; only kept for images of several sizes.
        seconds: The time spent, over all attempts.
    """

    done: int = 0
    size: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    places: list[tuple[int, int, int]] = field(default_factory=list)
    seconds: float = 0.0


def resumed_filling(folder: Path, final: Path) -> Filling:
    """Return the progress of an earlier attempt; an empty `Filling` if there is none that can be trusted.

    Args:
        folder: The pack's folder; unusable files are removed from it.
        final: The name of a complete `images.part`; renamed back if the attempt ended after completing it.
    """
    part, journal = folder / PART_FILE, folder / JOURNAL_FILE
    if not part.is_file() and journal.is_file() and final.is_file():
        final.replace(part)
    state, trusted = _read_journal(journal)
    if state.done and part.is_file() and part.stat().st_size >= state.size:
        # Cut off an incomplete last line before the next one is appended.
        os.truncate(journal, trusted)
        return state
    discard(folder)
    return Filling()


def discard(folder: Path) -> None:
    """Remove the files of an attempt."""
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
    """Decode the missing images and append them to the file, updating `state`.

    Args:
        task: The task whose images are decoded.
        preprocessing: The preprocessing of each image.
        folder: The pack's folder.
        shape: Height, width and channels of all images: the file is a `.npy` array. None: they differ, and it is flat.
        state: The progress of an earlier attempt.
        workers: The number of decoding threads.
        progress: Called with the number of images done and their total; may raise to stop.

    Raises:
        DataError: If an image does not have `shape` or the task's dtype, or has changed since the task was made.
    """
    # The journal must never claim more than what is safely on disk; bytes of the file after `state.size` are cut off and
    # decoded again. So pixels are flushed before their line is written (`_sync`): only every few seconds, because a flush
    # takes as long as many images, and once more at the end, however it comes.
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
    """Return the state in a journal, and the length in bytes of its complete lines."""
    state, trusted = Filling(), 0
    if not journal.is_file():
        return state, trusted
    for line in journal.read_bytes().splitlines(keepends=True):
        # Only the last line can be incomplete after a crash.
        if not line.endswith(b"\n"):
            break
        try:
            entry = json.loads(line)
            places = [(start, height, width) for start, height, width in entry["places"]]
            state.done, state.size, state.seconds = int(entry["done"]), int(entry["size"]), float(entry["seconds"])
            state.unreadable.update(entry["unreadable"])
        except (ValueError, KeyError, TypeError):
            # Other damage: discard the progress and decode everything again.
            return Filling(), 0
        state.places.extend(places)
        trusted += len(line)
    return state, trusted


def _sync(part: IO[bytes], folder: Path, state: Filling, noted: tuple[int, int]) -> tuple[int, int]:
    """Flush what was written, then record it in the journal; return how much of the lists is recorded now."""
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
    """Return the number of images per decoding job: many if they are small, one if their size is not known."""
    if shape is None:
        return 1
    waiting = _WAITING_BYTES // (int(np.prod(shape)) * dtype.itemsize or 1)
    return max(1, min(_LONGEST_JOB, waiting // (2 * workers)))


def _decoded(
    task: Task, preprocessing: Preprocessing, workers: int, rows: range, job: int
) -> Generator[tuple[int, Pixels | str], None, None]:
    """Yield (row, pixels or the reason why there are none) in the order of `rows`, at most two jobs per thread ahead."""
    read = sources.reader(task, preprocessing.channels, preprocessing.least)

    def one(row: int) -> Pixels | str:
        try:
            return preprocessing(read(row))
        except UnreadableImageError as error:
            return str(error)

    def some(chunk: range) -> list[Pixels | str]:
        return [one(row) for row in chunk]

    # Threads finish out of order, but the file is written in order, so jobs are queued. The queue is short, so that decoded
    # images that wait for a slow one before them do not fill the memory.
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
