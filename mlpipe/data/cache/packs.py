"""Packs: all images of a task, decoded and resized once, in one memory-mapped file that folds and runs share.

A pack is a folder: `index.json`, written last, and `images.npy` (all images of one size) or `images.bin` and `places.npy`
(several sizes). `mlpipe.data.cache.filling` writes the file of images, and continues an interrupted attempt.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from mlpipe import files, stored
from mlpipe.data import sources
from mlpipe.data.cache import filling
from mlpipe.data.decoding.images import Pixels, UnreadableImageError
from mlpipe.data.loading import processes
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.sampling import Rows
from mlpipe.data.sources.listings import array_layout
from mlpipe.data.task import Task
from mlpipe.errors import DataError, counted, first_line, is_out_of_memory, problem

FORMAT = 2
INDEX_FILE, FIXED_FILE, RAGGED_FILE, PLACES_FILE = "index.json", "images.npy", "images.bin", "places.npy"
# The number of images that are decoded to estimate the size of a pack of several image sizes.
_PROBED = 16


class Index(TypedDict):
    """The keys of `index.json` that are read."""

    images: int
    dtype: str
    unreadable: dict[str, str]


@dataclass(frozen=True)
class Pack:
    """The cached images of a task.

    Attributes:
        images: Memory-mapped: shape (samples, height, width, channels), or with other axes before the channels, with zeros
            for unreadable images; or the concatenated bytes of images of several sizes; or features, shape
            (samples, features).
        unreadable: The reason for each sample id that could not be decoded.
        folder: The folder of the pack.
        preprocessing: How images were made, and how they are resized to one size when they are taken.
        dtype: The dtype of their values.
        places: For images of several sizes, their offset in `images`, height and width, shape (samples, 3).
        masks: For segmentation, the class number of every pixel, as a pack of one channel with the same preprocessing; for
            images, the target images, which may be the same pack.
    """

    images: npt.NDArray[Any]
    unreadable: dict[str, str]
    folder: Path
    preprocessing: Preprocessing
    dtype: np.dtype[Any]
    places: npt.NDArray[np.int64] | None = None
    masks: Pack | None = None

    def __len__(self) -> int:
        return len(self.images if self.places is None else self.places)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "images": processes.packed(self.images)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, images=processes.unpacked(state["images"]))

    @property
    def ragged(self) -> bool:
        """Return whether images differ in size."""
        return self.places is not None

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the height and width that a network sees, or other spatial axes; (0, 0) for features."""
        if self.places is not None:
            return self.preprocessing.sides or (0, 0)
        return self.images.shape[1:-1] or (0, 0)

    @property
    def channels(self) -> int:
        """Return the number of channels of the images."""
        return self.preprocessing.channels

    @property
    def peak(self) -> float:
        """Return the value of white."""
        return float(np.iinfo(self.dtype).max) if self.dtype.kind == "u" else 1.0

    @property
    def rows_key(self) -> str:
        """Return a key that distinguishes the rows from others of the same folder; empty if they are all of its images."""
        return ""

    def take(self, rows: Rows) -> npt.NDArray[Any] | list[Pixels]:
        """Return some images: an array of shape (n, height, width, channels), or a list of images of several sizes.

        Images of several sizes are read-only views of the file; unreadable ones are a single black pixel.
        """
        if self.places is None:
            return np.asarray(self.images[rows])
        images = []
        for start, height, width in self.places[rows].tolist():
            length = height * width * self.channels * self.dtype.itemsize
            values = self.images[start : start + length].view(self.dtype)
            images.append(np.asarray(values).reshape(height, width, self.channels))
        return images

    def take_fixed(self, rows: Rows) -> npt.NDArray[Any]:
        """Return some images in the network's size, shape (n, height, width, channels), or features."""
        images = self.take(rows)
        return np.stack([self.preprocessing.fixed(image) for image in images]) if isinstance(images, list) else images

    def with_images(self, values: npt.NDArray[Any]) -> Pack:
        """Return the same samples with other values, such as features."""
        return replace(self, images=values, dtype=values.dtype, places=None)

    def unreadable_mask(self, task: Task) -> npt.NDArray[np.bool_]:
        """Return a flag for each sample of the task, shape (n,)."""
        return np.array([name in self.unreadable for name in task.samples.ids], bool)


def of_images(images: Sequence[Pixels], preprocessing: Preprocessing, dtype: npt.DTypeLike = np.uint8) -> Pack:
    """Return a pack of images in memory, without a folder.

    Args:
        images: Preprocessed images, shape (*spatial, channels) each; all of one shape if the preprocessing fixes it.
        preprocessing: The preprocessing.
        dtype: The dtype of their values.
    """
    kind, none = np.dtype(dtype), dict[str, str]()
    if not preprocessing.is_ragged:
        shape = images[0].shape if images else (0, 0, preprocessing.channels)
        stacked = np.stack(images) if images else np.empty((0, *shape), kind)
        return Pack(stacked.astype(kind, copy=False), none, Path(), preprocessing, kind)
    sizes = [image.nbytes for image in images]
    starts = np.cumsum([0, *sizes])[:-1].tolist() if images else []
    places = [(start, *image.shape[:2]) for start, image in zip(starts, images, strict=True)]
    flat = [np.ascontiguousarray(image, kind).reshape(-1).view(np.uint8) for image in images]
    values = np.concatenate(flat) if flat else np.empty(0, np.uint8)
    return Pack(values, none, Path(), preprocessing, kind, np.array(places, np.int64).reshape(-1, 3))


def pack_id(task: Task, preprocessing: Preprocessing) -> str:
    """Return the cache folder's name: the preprocessing's id and a hash of its parameters, the images and the libraries."""
    rule = [decoding] if (decoding := task.source.get("decoding")) else []
    # The targets of a task are in the same form as its samples.
    owner = images if isinstance(images := task.source.get("images"), Task) else task
    rule += [form] if (form := array_layout.description(owner.source)) else []
    key = [FORMAT, preprocessing.key(), task.dtype, list(task.samples.ids), list(task.samples.digests), *rule]
    return f"{files.safe_name(preprocessing.id)}-{files.digest(key)[:12]}"


def is_complete(folder: Path) -> bool:
    """Return whether a pack exists, without opening it."""
    return (folder / INDEX_FILE).is_file()


def load(folder: Path, preprocessing: Preprocessing) -> Pack:
    """Open a complete pack that was made with this preprocessing.

    Raises:
        DataError: If one of its files is damaged.
    """
    try:
        index = stored.checked(Index, files.read_json(folder / INDEX_FILE))
        dtype, places = np.dtype(index["dtype"]), None
        if preprocessing.is_ragged:
            values = np.memmap(folder / RAGGED_FILE, np.uint8, "r")
            places = np.load(folder / PLACES_FILE, allow_pickle=False)
        else:
            values = np.load(folder / FIXED_FILE, mmap_mode="r", allow_pickle=False)
        count = len(values if places is None else places)
        if count != index["images"]:
            raise ValueError(f"it has {counted(count, 'image')}, and says {index['images']}")
    except (OSError, ValueError, TypeError, EOFError) as error:
        if is_out_of_memory(error):
            raise
        fix = "remove this folder, and its images are packed again"
        raise DataError(problem(str(folder), f"cannot be read as a cache ({first_line(error)})", fix=fix)) from error
    return Pack(values, index["unreadable"], folder, preprocessing, dtype, places)


def build(
    task: Task,
    preprocessing: Preprocessing,
    folder: Path,
    *,
    workers: int,
    progress: Callable[[int, int], None] = lambda count, total: None,
) -> Pack:
    """Open the pack in `folder`; first fill it if it is missing or damaged, continuing an interrupted fill.

    Args:
        task: The task whose images are packed.
        preprocessing: The preprocessing of each image.
        folder: The folder of the pack.
        workers: The number of decoding threads (the decoders release Python's lock).
        progress: Called with the number of images done and their total; may raise to stop.

    Raises:
        DataError: If nothing can be decoded, sizes differ without a resize, a file changed, or the disk is too full.
    """
    with files.locked(folder / ".lock"):
        if is_complete(folder):
            try:
                return load(folder, preprocessing)
            except DataError:
                # Everything in it can be made again.
                (folder / INDEX_FILE).unlink()
        _fill(task, preprocessing, folder, workers, progress)
    return load(folder, preprocessing)


def check_unreadable(pack: Pack, most: int) -> None:
    """Refuse a pack with more unreadable images than are allowed.

    Raises:
        DataError: With a sentence for each of the first ten unreadable images, and what to do.
    """
    if len(pack.unreadable) <= most:
        return
    sentences = [problem(name, reason) for name, reason in list(pack.unreadable.items())[:10]]
    rest = len(pack.unreadable) - len(sentences)
    them = "it" if len(pack.unreadable) == 1 else "them"
    clause = f", {rest} of them not shown" if rest else ""
    fix = f"repair or remove {them}, or leave {them} out with task.max_unreadable={len(pack.unreadable)}"
    amount = f"{counted(len(pack.unreadable), 'unreadable image')}{clause}"
    raise DataError([*sentences, problem("task.max_unreadable", amount, got=most, fix=fix)])


def _fill(
    task: Task, preprocessing: Preprocessing, folder: Path, workers: int, progress: Callable[[int, int], None]
) -> None:
    final = folder / (RAGGED_FILE if preprocessing.is_ragged else FIXED_FILE)
    state = filling.resumed_filling(folder, final)
    try:
        shape = None if preprocessing.is_ragged else _image_shape(task, preprocessing)
        _check_space(folder, _needed_bytes(task, preprocessing, shape, state))
        filling.append(task, preprocessing, folder, shape, state, workers, progress)
        _finish(task, preprocessing, final, state)
    except DataError:
        # The images themselves are at fault, so the progress is of no use.
        filling.discard(folder)
        raise


def _finish(task: Task, preprocessing: Preprocessing, final: Path, state: filling.Filling) -> None:
    """Rename the complete file, then write the index that makes it a pack."""
    folder, total = final.parent, len(task.samples)
    if len(state.unreadable) == total:
        name, reason = next(iter(state.unreadable.items()))
        # Archives are unpacked below the data folder, which `mml clean` can empty.
        again = (
            "put them back; those of an archive mml create unpacks again, with the words that the task was made with"
        )
        fix = again if "No such file" in reason else ""
        wrong = f"none of its {counted(total, 'image')} can be read ({name}: {reason})"
        raise DataError(problem("task", wrong, fix=fix))
    if preprocessing.is_ragged:
        with files.durable(folder / PLACES_FILE) as temporary, temporary.open("wb") as handle:
            np.save(handle, np.array(state.places, np.int64).reshape(-1, 3))
    (folder / filling.PART_FILE).replace(final)
    files.sync_folder(folder)
    index = {
        "format": FORMAT,
        "task": task.name,
        "images": total,
        "dtype": task.dtype,
        "preprocessing": preprocessing.key(),
        "unreadable": state.unreadable,
        "seconds": round(state.seconds, 3),
    }
    files.write_json(folder / INDEX_FILE, index)
    (folder / filling.JOURNAL_FILE).unlink(missing_ok=True)


def _image_shape(task: Task, preprocessing: Preprocessing) -> filling.Shape:
    """Return the shape of all images: the wanted one, or that of the first readable image."""
    if preprocessing.sides is not None:
        return (*preprocessing.sides, preprocessing.channels)
    shape = next(_shapes(task, preprocessing, range(len(task.samples))), None)
    if shape is None:
        raise DataError(problem("task", f"none of its {counted(len(task.samples), 'image')} can be read"))
    return shape


def _needed_bytes(task: Task, preprocessing: Preprocessing, shape: filling.Shape | None, state: filling.Filling) -> int:
    """Return the bytes that the file will still grow by; an estimate from known images if sizes differ."""
    total, itemsize = len(task.samples), np.dtype(task.dtype).itemsize
    if shape is not None:
        return total * int(np.prod(shape)) * itemsize - state.size
    if state.done:
        return (total - state.done) * state.size // state.done
    probed = np.linspace(0, total - 1, min(total, _PROBED)).astype(int).tolist()
    values = [int(np.prod(image_shape)) for image_shape in _shapes(task, preprocessing, probed)]
    return int(total * itemsize * np.mean(values)) if values else 0


def _shapes(task: Task, preprocessing: Preprocessing, rows: Iterable[int]) -> Iterator[filling.Shape]:
    """Yield the shapes of the readable images of some rows."""
    read = sources.reader(task, preprocessing.channels, preprocessing.least)
    for row in rows:
        try:
            shape = preprocessing(read(row)).shape
        except UnreadableImageError:
            continue
        yield shape


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        wrong = f"the cache needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise DataError(
            problem(str(folder), wrong, fix="free space, choose another data_dir or a smaller preprocessing.size")
        )
