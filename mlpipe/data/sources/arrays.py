"""Images and targets from NumPy files: one .npz file, or .npy files, which are memory-mapped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from mlpipe import current_folder, files, limits
from mlpipe.data import spelling, task
from mlpipe.data.sources.source import ByName, finished
from mlpipe.data.sources.targets import array_labels
from mlpipe.data.sources.targets.array_labels import Labels
from mlpipe.data.sources.targets.missing_labels import Missing
from mlpipe.data.task import NO_TARGET, Dtype, Part, Row, Task
from mlpipe.errors import DataError, counted, did_you_mean, listing, no_such_file, problem

Array = np.ndarray[Any, Any]
IMAGES = ("images", "x", "data", "arr_0")
TARGETS = ("targets", "labels", "target", "label", "y", "arr_1")
_PARTS: tuple[Part, ...] = ("train", "val", "test", "unlabelled")
_MOST_CHANNELS = 16
# The header of a damaged file may claim more elements than fit into memory.
_DAMAGED = (*limits.DAMAGED_ARRAY, MemoryError, OverflowError, NotImplementedError, RuntimeError)


def arrays(
    *,
    file: str,
    images: str | None = None,
    targets: str | None = None,
    kind: Literal["classification", "multilabel", "regression"] | None = None,
    classes: list[str] | None = None,
    missing: bool | list[Any] | None = None,
    groups: str | None = None,
    layout: Literal["hwc", "chw"] | None = None,
    value_range: tuple[float, float] | None = None,
    name: str | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
) -> Task:
    """Images stored as arrays of shape (n, height, width), (n, height, width, channels) or (n, channels, height, width).

    An .npz file holds `images` and `targets` (or `x` and `y`, or `x_train`, `y_train`, `x_val`, `x_test`, ...); the targets
    of an .npy file are in another .npy file. 8 and 16 bit are kept; floats must lie in 0 to 1, or in `value_range`.

    Args:
        file: The .npz file, or the .npy file of the images.
        images: The name of the images in the .npz file; None: images, x, data, or x_train and so on.
        targets: The name of the targets in the .npz file (`z` or `z_train` stands for z_train, z_test and so on), or the
            .npy file of the targets.
        kind: What is predicted; None: integers of shape (n,) are classes, 0 and 1 of shape (n, labels) are labels.
        classes: The class names, for the numbers 0, 1, 2, ..., or, if there are as many, for the occurring numbers in
            ascending order; None: `classes` in the .npz file, else the numbers that occur in the training images.
        missing: The class numbers or names that mean "no class": a list, or False for none; None: -1 and NaN, and empty
            names; True: also names such as `nan` and `None`. Images without a class are only predicted. Labels and numbers
            to predict are unknown where they are NaN or in the list.
        groups: The name of an array of shape (n,) in the .npz file; samples of one group are never split between parts.
        layout: The position of the channel axis; None: the last axis if only that has length 16 or less, else the second.
        value_range: The values that become 0 and 1, for floats and for integers other than uint8 and uint16.
        name: The task's name before the hash; None: the file's name.
        max_unreadable: As for `folder`; arrays are always readable.
        allow_overlap: As for `folder`.

    Raises:
        DataError: If arrays are missing, have a wrong shape or type, or their row counts differ.
    """
    path = current_folder.expanded(file).absolute()
    stored = _opened(path)
    keys = _keys(path, stored, images, targets)
    source: dict[str, Any] = {"type": "arrays", "file": str(path), "images": {}, "layout": None, "range": value_range}
    parts: dict[Part, tuple[Array, Array | None]] = {}
    for part, (images_key, targets_key) in keys.items():
        pixels = _images(path, images_key, stored[images_key])
        part_targets = _targets(path, stored, targets_key)
        if part_targets is not None and len(part_targets) != len(pixels):
            wrong = f"{images_key} has {counted(len(pixels), 'row')}, {targets_key} has {len(part_targets)}"
            raise DataError(problem(path.name, wrong, fix="give every image one target"))
        source["images"][part] = images_key
        parts[part] = (pixels, part_targets)
    source["layout"] = layout or _layout(path, [pixels for pixels, _ in parts.values()])
    dtype = _dtype(path, parts, value_range)
    targets_of = {str(part): values for part, (_, values) in parts.items() if values is not None}
    names = classes or ([array_labels.text_of(name) for name in stored["classes"]] if "classes" in stored else None)
    decided = kind or array_labels.kind_of(path, list(targets_of.values()))
    labels = array_labels.labels_of(path, targets_of, decided, names, Missing(missing))
    group, of_groups = _groups(path, stored, groups, parts)
    rows = [
        row
        for part, (pixels, _) in parts.items()
        for row in _rows(part, pixels, labels.targets.get(part), labels, group)
    ]
    shape = _oriented(next(iter(parts.values()))[0][:1], source["layout"]).shape
    notes = [*labels.notes, *of_groups]
    new_task = task.make(
        name or path.stem, labels.names, rows, kind=decided, channels=shape[3], dtype=dtype, source=source, notes=notes
    )
    return finished(new_task, allow_overlap)


class Arrays(ByName):
    """Images from an .npz or .npy file."""

    def roots(self) -> tuple[Path, ...]:
        """Return the file."""
        return (Path(self.task.source["file"]),)

    def by_name(self) -> Callable[[str], Array]:
        """Return a function from sample id to pixels of shape (height, width, channels)."""
        source = self.task.source
        stored = _opened(Path(source["file"]))
        opened = {part: stored.get(key, np.empty(0)) for part, key in source["images"].items()}
        low, high = source["range"] or (0.0, 1.0)
        unchanged = self.unchanged()

        def read(name: str) -> Array:
            part, _, index = name.partition("/")
            image = opened[part][int(index)] if int(index) < len(opened[part]) else None
            pixels = _oriented(unchanged(name, image)[np.newaxis], source["layout"])[0]
            if pixels.dtype not in (np.uint8, np.uint16):
                return np.asarray((pixels.astype(np.float32) - low) / (high - low), np.float32)
            return np.ascontiguousarray(pixels)

        return read


class _Arrays(Mapping[str, Array]):
    """The arrays of an .npz file, each read once, or of one .npy file, memory-mapped, with the file's stem as its name."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, dict[str, Array]()
        limits.require_ordinary(path)
        if path.suffix.lower() == ".npy":
            self._read[path.stem] = np.load(path, mmap_mode="r", allow_pickle=False)
            self._names = [path.stem]
        else:
            with np.load(path, allow_pickle=False) as stored:
                limits.require_members(stored.zip)
                self._names = list(stored.files)

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            try:
                with np.load(self._path, allow_pickle=False) as stored:
                    self._read[name] = stored[name]
            except _DAMAGED as error:
                raise DataError(_damaged(self._path, error)) from error
        return self._read[name]

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _opened(path: Path) -> _Arrays:
    if path.suffix.lower() not in (".npz", ".npy"):
        raise DataError(problem("task.file", "must be an .npz or .npy file", got=str(path), fix="save it with NumPy"))
    if not path.is_file():
        raise DataError(no_such_file("task.file", path))
    state = path.stat()
    try:
        return _remembered(path, state.st_mtime_ns, state.st_size)
    except _DAMAGED as error:
        raise DataError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    fix = "save plain arrays again (objects and pickles are not read)"
    return problem(str(path), f"cannot be read ({error})", fix=fix)


@lru_cache(maxsize=4)
def _remembered(path: Path, changed: int, size: int) -> _Arrays:
    return _Arrays(path)


def _keys(path: Path, stored: _Arrays, images: str | None, targets: str | None) -> dict[Part, tuple[str, str | None]]:
    """Return the names of the images and targets of each part."""
    if images is None and path.suffix.lower() == ".npz":
        by_part: dict[Part, tuple[str, str | None]] = {}
        for part in _PARTS:
            key = next((name for stem in IMAGES if (name := f"{stem}_{part}") in stored), None)
            if key is not None:
                stems = TARGETS if targets is None else (targets.removesuffix("_train"),)
                known = next((name for stem in stems if (name := f"{stem}_{part}") in stored), None)
                by_part[part] = (key, known)
        if "train" in by_part:
            if targets is not None and by_part["train"][1] is None:
                ends = [name.removesuffix("_train") for name in stored if name.endswith("_train")]
                fix = did_you_mean(targets, ends, otherwise="name the array of each part NAME_train, NAME_test, ...")
                wrong = f"{path.name} has no {targets.removesuffix('_train')}_train for {by_part['train'][0]}"
                raise DataError(problem("task.targets", wrong, got=targets, fix=fix))
            return by_part
    images_key = images or next((name for name in (*IMAGES, path.stem) if name in stored), None)
    if images_key is None or images_key not in stored:
        fix = did_you_mean(str(images), list(stored), otherwise=f"the file has {listing(list(stored))}")
        raise DataError(problem("task.images", f"{path.name} has no such array", got=images, fix=fix))
    return {"train": (images_key, targets or next((name for name in TARGETS if name in stored), None))}


def _images(path: Path, key: str, pixels: Array) -> Array:
    if pixels.ndim not in (3, 4) or 0 in pixels.shape:
        fix = "images have the shape (n, height, width) or (n, height, width, channels)"
        raise DataError(problem(f"{path.name}: {key}", "is no array of images", got=list(pixels.shape), fix=fix))
    return pixels


def _targets(path: Path, stored: _Arrays, key: str | None) -> Array | None:
    if key is None:
        return None
    if key in stored:
        return stored[key]
    other = current_folder.expanded(key)
    if key.endswith(".npy"):
        return _opened(other.absolute())[other.stem]
    fix = did_you_mean(key, list(stored), otherwise=f"the file has {listing(list(stored))}; or name an .npy file")
    raise DataError(problem("task.targets", f"{path.name} has no such array", got=key, fix=fix))


def _layout(path: Path, parts: list[Array]) -> str:
    """Return the position of the channel axis.

    Raises:
        DataError: If both axes could hold the channels, or neither.
    """
    if all(pixels.ndim == 3 for pixels in parts):
        return "hwc"
    last, second = (all(pixels.shape[axis] <= _MOST_CHANNELS for pixels in parts) for axis in (-1, 1))
    if last == second:
        shapes = listing([str(list(pixels.shape)) for pixels in parts])
        raise DataError(
            problem(path.name, f"the channels could be on either axis of {shapes}", fix="add task.layout=hwc or chw")
        )
    return "hwc" if last else "chw"


def _oriented(pixels: Array, layout: str) -> Array:
    """Return images of shape (n, height, width, channels)."""
    if pixels.ndim == 3:
        return pixels[..., np.newaxis]
    return pixels if layout == "hwc" else pixels.transpose(0, 2, 3, 1)


def _dtype(path: Path, parts: Mapping[Part, tuple[Array, Any]], value_range: tuple[float, float] | None) -> Dtype:
    kinds = {pixels.dtype for pixels, _ in parts.values()}
    if kinds == {np.dtype(np.uint8)}:
        return "uint8"
    if kinds == {np.dtype(np.uint16)}:
        return "uint16"
    if not all(kind.kind in "iuf" for kind in kinds):
        fix = "save uint8, uint16 or floating-point images"
        raise DataError(problem(path.name, "has images of another type", got=listing(map(str, kinds)), fix=fix))
    # Other types do not say which values are black and white. Floats are assumed to lie in 0 to 1, and refused if any value
    # lies outside: it would be clipped silently. There is no such convention for integers, so the user states the range.
    ranges = {part: (float(pixels.min()), float(pixels.max())) for part, (pixels, _) in parts.items()}
    known = [end for ends in ranges.values() for end in ends if end == end] or [0.0, 1.0]
    # All digits are shown, because a rounded range would exclude values that lie just outside of it.
    override = f"task.value_range=[{','.join(repr(end).removesuffix('.0') for end in (min(known), max(known)))}]"
    if value_range is None and not all(kind.kind == "f" for kind in kinds):
        wrong, types = "has images of another type", listing(map(str, kinds))
        fix = f"say which values are black and white, {override}, or save uint8 or uint16"
        raise DataError(problem(path.name, wrong, got=types, fix=fix))
    low, high = value_range or (0.0, 1.0)
    if not low < high:
        raise DataError(problem("task.value_range", "must grow", got=value_range, fix="for example [0.0,255.0]"))
    for part, (least, most) in ranges.items():
        if not (low <= least and most <= high):
            fix = f"add {override}" if least == least else "replace the values that are NaN"
            wrong = f"the {part} images have values from {least:g} to {most:g}, outside {low:g} to {high:g}"
            raise DataError(problem(path.name, wrong, fix=fix))
    return "float32"


def _groups(
    path: Path, stored: _Arrays, key: str | None, parts: Mapping[Part, tuple[Array, Array | None]]
) -> tuple[list[str] | None, list[str]]:
    """Return the group of each training image, empty where it is NaN, and notes for the user."""
    if key is None:
        return None, []
    if key not in stored:
        fix = did_you_mean(key, list(stored), otherwise=f"the file has {listing(list(stored))}")
        raise DataError(problem("task.groups", f"{path.name} has no such array", got=key, fix=fix))
    if stored[key].shape != (len(parts["train"][0]),):
        wrong = f"has the shape {list(stored[key].shape)}, there are {len(parts['train'][0])} training images"
        raise DataError(problem(f"{path.name}: {key}", wrong, fix="give every training image its group"))
    texts = ["" if value != value else array_labels.text_of(value) for value in stored[key]]
    return [spelling.plain(text) for text in texts], spelling.same_text_problems(texts, f"groups in {path.name}")


def _rows(part: Part, pixels: Array, targets: Array | None, labels: Labels, groups: list[str] | None) -> list[Row]:
    rows: list[Row] = []
    for index in range(len(pixels)):
        digest = files.digest_bytes(np.ascontiguousarray(pixels[index]).tobytes())
        group = groups[index] if groups is not None and part == "train" else ""
        own, target = part, _target(targets, index, labels)
        if targets is not None and target == NO_TARGET:
            own = "unlabelled"
        rows.append(Row(f"{part}/{index:07d}", own, target, digest, group))
    return rows


def _target(targets: Array | None, index: int, labels: Labels) -> int | tuple[float, ...]:
    if labels.kind == "classification":
        return NO_TARGET if targets is None else int(targets[index])
    return (float("nan"),) * len(labels.names) if targets is None else tuple(targets[index].tolist())
