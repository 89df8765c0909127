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

# More different values than this are hardly classes, unless the user lists them.
_MOST_GUESSED = 32
LARGEST = 65535
# Okabe and Ito's colours (2008), and a grey for what is no class.
_COLOURS = (
    (240, 228, 66), (0, 114, 178), (213, 94, 0), (86, 180, 233), (0, 158, 115), (230, 159, 0), (204, 121, 167), (255, 255, 255),
)  # fmt: skip
_NOWHERE = (128, 128, 128)


@dataclass(frozen=True)
class Mask:
    """Facts about a mask file.

    Attributes:
        digest: The hash of its bytes.
        counts: How many pixels have each value.
        width: In pixels.
        height: Alike.
        reason: Why it cannot be used; empty: it can.
        orientation: The EXIF orientation that it is turned by, 1 to 8.
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
        numbers: The value of each.
        ignored: The value of pixels that count nowhere; None: there is none.
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    ignored: int | None

    def classes(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """The class numbers of values, `IGNORED` where they are ignored, in the same shape."""
        table = np.full(LARGEST + 1, IGNORED, np.uint8)
        table[list(self.numbers)] = np.arange(len(self.numbers), dtype=np.uint8)
        return np.asarray(table[values])

    def shares(self, mask: Mask) -> tuple[float, ...]:
        """The share of each class in the pixels that count, a millionth at least where it has one; NaN without any."""
        counts = [mask.counts.get(number, 0) for number in self.numbers]
        total = sum(counts)
        if not total:
            return (float("nan"),) * len(counts)
        return tuple(max(round(count / total, 6), 1e-6) if count else 0.0 for count in counts)

    def unknown(self, mask: Mask) -> list[int]:
        """The values of a mask that are no class."""
        return sorted(set(mask.counts) - {*self.numbers, self.ignored})


def look(paths: Sequence[Path], memory: Path | None = None) -> list[Mask]:
    """Count the values of masks, in threads; what was seen is remembered as `file_headers.remembered_facts` does.

    Args:
        paths: The files.
        memory: The JSON file that remembers; None: nothing is.
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
    """Map from mask values to classes.

    Without any names 0 and 255 (or 0 and 1) are background and foreground, and other values are classes by their own
    numbers.

    Args:
        masks: What the masks hold.
        classes: The names of the classes, or None.
        values: The value of each class, or None.
        ignored: The value of pixels that count nowhere.

    Raises:
        DataError: When names and values do not fit each other, or there are too many values to be classes.
    """
    present = sorted({value for mask in masks for value in mask.counts} - {ignored})
    if values is not None:
        numbers, names = list(values), list(classes) if classes is not None else [str(value) for value in values]
    elif classes is not None:
        names = list(classes)
        is_white = len(names) == 2 and present in ([0, 255], [255])
        # Numbers from 1, or with gaps, are the classes in their order where there are as many.
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
    """The masks of a task's images as a task of their own, whose pixels are class numbers, for a cache like the images'.

    Args:
        images_task: The task; one with masks.
    """
    # Other values for the classes are other class numbers in the cache.
    how = files.digest(dict(images_task.source["masks"]))[:8]
    digests = tuple(f"{digest}-{how}" for _, digest in images_task.samples.masks)
    samples = replace(images_task.samples, digests=digests)
    source = {"images": images_task}
    return replace(images_task, channels=1, dtype="uint8", source=source, samples=samples)


def preprocessing_of(of_images: Preprocessing) -> Preprocessing:
    """Preprocessing of masks by that of their images: the same places, and class numbers that are never mixed.

    Raises:
        ConfigError: For transforms before the resize, which would change images alone.
    """
    if of_images.before is not None:
        fix = "use augmentations.cpu.pipeline, which moves images and masks together"
        raise ConfigError(problem("preprocessing.before", "changes no masks", fix=fix))
    return replace(of_images, id=f"{of_images.id}-masks", channels=1, interpolation="nearest", fill=IGNORED)


def rows_of(task: Task) -> Callable[[int], npt.NDArray[np.uint8]]:
    """A function from row number to class numbers, shape (height, width, 1), `IGNORED` where pixels do not count.

    Args:
        task: A task of masks in files.

    Raises:
        UnreadableImageError: By the function, for a row without a mask.
        DataError: By the function, for a mask that is gone, or not the one that the task was made of.
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
    """The value of each class, 8 bit where that suffices, in the same shape; where there is none what is ignored, or free.

    Args:
        classes: Class numbers, `IGNORED` where there is none.
        values: Which value is which class.
    """
    free = next(value for value in range(255, -1, -1) if value not in values.numbers)
    table = np.full(256, free if values.ignored is None else values.ignored, np.uint16)
    table[: len(values.numbers)] = values.numbers
    pixels = table[classes]
    return pixels if max(*values.numbers, values.ignored or 0) > 255 else pixels.astype(np.uint8)


def encoded(classes: npt.NDArray[np.uint8], values: Values) -> Image.Image:
    """A mask as `masks` reads it: the value of each class, in a palette that tells classes apart where they fit into one.

    Args:
        classes: Class numbers, shape (height, width), `IGNORED` where there is none.
        values: Which value is which class.
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
    """The colour that a class is drawn in: black for the first one, then colours that are told apart without red and green.

    Args:
        place: The class number.
    """
    return (0, 0, 0) if place == 0 else _COLOURS[(place - 1) % len(_COLOURS)]


def described(root: Path, values: Values) -> dict[str, Any]:
    """The masks as keys of a task's source."""
    return {"root": str(root), "values": list(values.numbers), "ignored": values.ignored, "names": list(values.names)}


def stored_values(plain: Mapping[str, Any]) -> Values:
    """The values that `described` wrote."""
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
