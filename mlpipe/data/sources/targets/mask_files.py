"""Mask files: their values, the class of each value, and the class number of every pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpipe import files
from mlpipe.data.decoding import images
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.sources.listings import file_headers
from mlpipe.data.task import IGNORED, Task
from mlpipe.errors import ConfigError, DataError, counted, listing, problem

# More distinct values than this are hardly classes, unless the user lists them.
_MOST_GUESSED = 32
LARGEST = 65535
# Okabe and Ito's colours (2008), and a grey for pixels without a class.
_COLOURS = (
    (240, 228, 66), (0, 114, 178), (213, 94, 0), (86, 180, 233), (0, 158, 115), (230, 159, 0), (204, 121, 167), (255, 255, 255),
)  # fmt: skip
_NOWHERE = (128, 128, 128)


@dataclass(frozen=True)
class Mask:
    """Facts about a mask file.

    Attributes:
        digest: The hash of its bytes.
        counts: The number of pixels with each value.
        width: Width in pixels.
        height: Height in pixels.
        reason: Why it cannot be used; empty: it can.
        orientation: The EXIF orientation that is applied to it, 1 to 8.
    """

    digest: str
    counts: Mapping[int, int]
    width: int
    height: int
    reason: str = ""
    orientation: int = 1


@dataclass(frozen=True)
class Values:
    """Map from mask values to classes.

    Attributes:
        names: The classes.
        numbers: The value of each class.
        ignored: The value of ignored pixels; None: there is none.
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    ignored: int | None

    def classes(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Return the class numbers of values, `IGNORED` for ignored ones, in the same shape."""
        table = np.full(LARGEST + 1, IGNORED, np.uint8)
        table[list(self.numbers)] = np.arange(len(self.numbers), dtype=np.uint8)
        return np.asarray(table[values])

    def shares(self, mask: Mask) -> tuple[float, ...]:
        """Return the share of each class in the pixels that count, at least a millionth if it occurs; NaN if none count."""
        counts = [mask.counts.get(number, 0) for number in self.numbers]
        total = sum(counts)
        if not total:
            return (float("nan"),) * len(counts)
        return tuple(max(round(count / total, 6), 1e-6) if count else 0.0 for count in counts)

    def unknown(self, mask: Mask) -> list[int]:
        """Return the values of a mask that are not a class."""
        return sorted(set(mask.counts) - {*self.numbers, self.ignored})


def look(paths: Sequence[Path], memory: Path | None = None) -> list[Mask]:
    """Count the values of masks, in threads; results are cached as by `file_headers.remembered_facts`.

    Args:
        paths: The files.
        memory: The JSON file for the cache; None: no cache.
    """

    def plain(one: Mask) -> list[Any]:
        counts = [[value, count] for value, count in one.counts.items()]
        return [one.digest, counts, one.width, one.height, one.reason, one.orientation]

    def again(item: list[Any]) -> Mask:
        counts = {int(value): int(count) for value, count in item[1]}
        return Mask(str(item[0]), counts, int(item[2]), int(item[3]), str(item[4]), int(item[5]))

    return file_headers.remembered_facts(paths, memory, _look, plain, again)


def values_of(
    masks: Sequence[Mask], classes: Sequence[str] | None, values: Sequence[int] | None, ignored: int | None
) -> Values:
    """Return the map from mask values to classes.

    Without names, 0 and 255 (or 0 and 1) are background and foreground, and other values are classes named by their
    numbers.

    Args:
        masks: The facts about the masks.
        classes: The class names, or None.
        values: The value of each class, or None.
        ignored: The value of ignored pixels.

    Raises:
        DataError: If names and values do not fit each other, or there are too many values to be classes.
    """
    present = sorted({value for mask in masks for value in mask.counts} - {ignored})
    if values is not None:
        numbers, names = list(values), list(classes) if classes is not None else [str(value) for value in values]
    elif classes is not None:
        names = list(classes)
        is_white = len(names) == 2 and present in ([0, 255], [255])
        # If there are as many values as names, numbers from 1 or with gaps are the classes in ascending order.
        in_order = len(present) == len(names) > 0 and present[-1] >= len(names)
        numbers = [0, 255] if is_white else present if in_order else list(range(len(names)))
    elif present in ([0, 1], [0, 255]):
        names, numbers = ["background", "foreground"], present
    else:
        if len(present) > _MOST_GUESSED:
            wrong = f"the masks hold {len(present)} different values ({listing(present, most=5)})"
            fix = "give task.classes=[...], and task.values=[...] where they are not 0, 1, 2, ..."
            raise DataError(problem("task.classes", wrong, fix=fix))
        names, numbers = [str(value) for value in present], present
    _check(names, numbers, ignored)
    return Values(tuple(names), tuple(numbers), ignored)


def task_of(images_task: Task) -> Task:
    """Return the masks of a task's images as a separate task with class numbers as pixels, to be cached like the images.

    Args:
        images_task: A task with masks.
    """
    # With other values for the classes, the cached class numbers are others.
    how = files.digest(dict(images_task.source["masks"]))[:8]
    digests = tuple(f"{digest}-{how}" for _, digest in images_task.samples.masks)
    samples = replace(images_task.samples, digests=digests)
    source = {"images": images_task}
    return replace(images_task, channels=1, dtype="uint8", source=source, samples=samples)


def preprocessing_of(of_images: Preprocessing) -> Preprocessing:
    """Return the preprocessing of masks that fits that of their images, without mixing class numbers.

    Raises:
        ConfigError: For transforms before the resize, which would only change images.
    """
    if of_images.before is not None:
        fix = "use augmentations.cpu.pipeline, which moves images and masks together"
        raise ConfigError(problem("preprocessing.before", "changes no masks", fix=fix))
    return replace(of_images, id=f"{of_images.id}-masks", channels=1, interpolation="nearest", fill=IGNORED)


def rows_of(task: Task) -> Callable[[int], npt.NDArray[np.uint8]]:
    """Return a function from row number to class numbers, shape (height, width, 1), `IGNORED` for ignored pixels.

    Args:
        task: A task of masks in files.

    Raises:
        UnreadableImageError: By the function, for a row without a mask.
        DataError: By the function, for a mask that is missing, or has changed since the task was made.
    """
    described = task.source["masks"]
    base, values = Path(described["root"]), stored_values(described)

    def read(row: int) -> npt.NDArray[np.uint8]:
        name, digest = task.samples.masks[row]
        if not name:
            raise UnreadableImageError("has no mask")
        try:
            content = file_headers.unchanged(base / name, digest, task.name)
        except OSError as error:
            fix = "bring it back, or create the task again"
            raise DataError(problem(str(base / name), f"cannot be opened ({error.strerror})", fix=fix)) from error
        return values.classes(images.stored_values(content))[:, :, np.newaxis]

    return read


def pixel_values(classes: npt.NDArray[np.uint8], values: Values) -> npt.NDArray[np.uint8 | np.uint16]:
    """Return the value of each pixel's class, 8 bit if possible; pixels without a class get an ignored or free value.

    Args:
        classes: Class numbers, `IGNORED` if there is none.
        values: The value of each class.
    """
    free = next(value for value in range(255, -1, -1) if value not in values.numbers)
    table = np.full(256, free if values.ignored is None else values.ignored, np.uint16)
    table[: len(values.numbers)] = values.numbers
    pixels = table[classes]
    return pixels if max(*values.numbers, values.ignored or 0) > 255 else pixels.astype(np.uint8)


def encoded(classes: npt.NDArray[np.uint8], values: Values) -> Image.Image:
    """Return a mask image as `masks` reads it: the value of each class, with a palette of distinct colours if it fits.

    Args:
        classes: Class numbers, shape (height, width), `IGNORED` if there is none.
        values: The value of each class.
    """
    pixels = pixel_values(classes, values)
    if pixels.dtype == np.uint16:
        return Image.fromarray(pixels)
    image = Image.fromarray(pixels, mode="L").convert("P")
    colours = np.zeros((256, 3), np.uint8)
    colours[:] = _NOWHERE
    for place, value in enumerate(values.numbers):
        colours[value] = colour_of(place)
    image.putpalette(colours.tobytes())
    return image


def colour_of(place: int) -> tuple[int, int, int]:
    """Return the colour of a class: black for the first one, then colours that colour-blind people can distinguish.

    Args:
        place: The class number.
    """
    return (0, 0, 0) if place == 0 else _COLOURS[(place - 1) % len(_COLOURS)]


def described(root: Path, values: Values) -> dict[str, Any]:
    """Return the masks as keys of a task's source."""
    return {"root": str(root), "values": list(values.numbers), "ignored": values.ignored, "names": list(values.names)}


def stored_values(plain: Mapping[str, Any]) -> Values:
    """Return the values that `described` wrote."""
    return Values(tuple(plain["names"]), tuple(plain["values"]), plain["ignored"])


def _look(path: Path) -> Mask:
    try:
        content = images.content(path)
    except OSError as error:
        return Mask("", {}, 0, 0, f"cannot be opened ({error.strerror})")
    except UnreadableImageError as error:
        return Mask(files.digest_file(path), {}, 0, 0, str(error))
    digest = files.digest_bytes(content)
    try:
        values = images.stored_values(content)
    except UnreadableImageError as error:
        return Mask(digest, {}, 0, 0, str(error))
    if values.size and not 0 <= int(values.min()) <= int(values.max()) <= LARGEST:
        return Mask(digest, {}, 0, 0, f"has values beyond 0 to {LARGEST}")
    counts = np.bincount(values.ravel())
    return Mask(
        digest,
        {int(value): int(counts[value]) for value in np.flatnonzero(counts)},
        width=values.shape[1],
        height=values.shape[0],
        orientation=images.look(content).orientation,
    )


def _check(names: Sequence[str], numbers: Sequence[int], ignored: int | None) -> None:
    wrong = []
    if len(names) != len(numbers):
        fix = "give one value for each class"
        fault = f"has {counted(len(numbers), 'value')} for {counted(len(names), 'class', 'classes')}"
        wrong.append(problem("task.values", fault, fix=fix))
    if len(set(numbers)) != len(numbers) or any(not 0 <= value <= LARGEST for value in numbers):
        fix = "give every class its own value, 0 or more"
        wrong.append(problem("task.values", "are not different whole numbers", got=list(numbers), fix=fix))
    if ignored in numbers:
        fix = "name another value, or leave that class out"
        wrong.append(problem("task.ignore_index", "is the value of a class", got=ignored, fix=fix))
    if not 2 <= len(names) <= IGNORED:
        fix = "a segmentation has 2 classes or more, the background being one; name them with task.classes=[...]"
        fault = f"there {'is' if len(names) == 1 else 'are'} {counted(len(names), 'class', 'classes')}"
        wrong.append(problem("task.classes", f"{fault} ({listing(names)})", fix=fix))
    if wrong:
        raise DataError(wrong)
