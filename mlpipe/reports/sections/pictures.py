"""The worst mistakes and the near misses as small pictures in the page, read from the task's images or their cache."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mlpipe.data import sources
from mlpipe.data.cache import packs
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.task import Task
from mlpipe.errors import DataError, listing
from mlpipe.reports import gallery
from mlpipe.reports.facts import Rows, TaskFacts
from mlpipe.reports.markup import Markup, bullets, element, heading, image, joined, paragraph
from mlpipe.reports.sections.parts import Section

# The largest numbers of mistakes that can be filtered and of near misses, and the most bytes of a page's pictures.
MOST, MOST_NEAR = 96, 12
_MOST_BYTES, _FEW = 300_000, 6
_SIDE = 120
# Smaller images are kept as they are, and the page enlarges them.
_SMALL = 64


@dataclass(frozen=True)
class Example:
    """An image to show.

    Attributes:
        sample: Its name.
        words: The text about it.
        true: The number and the name of its class, if pictures can be filtered by it.
        taken: The number and the name of the predicted class.
        sure: Its probability, 0 to 1.
    """

    sample: str
    words: str
    true: tuple[int, str] | None = None
    taken: tuple[int, str] | None = None
    sure: float = 0.0


# From rows, names of outputs and a largest number to the worst mistakes and the right predictions with the smallest margin.
Choose = Callable[[Rows, Sequence[str], int], tuple[list[Example], list[Example]]]


def pictures(facts: TaskFacts, choose: Choose, worst: str, nearest: str = "") -> Section:
    """The most confident mistakes, and images that were only just right.

    Args:
        facts: A task whose images are right or wrong as a whole.
        choose: Chooses the examples of both sorts.
        worst: The title of the mistakes.
        nearest: The title of those that are just right; empty: there are none.
    """
    rows = facts.shown.rows if facts.shown else None
    if rows is None or facts.shown is None:
        return Section("Mistakes")
    wrong, near = choose(rows, facts.classes, MOST)
    near = near[:MOST_NEAR]
    if facts.task is None:
        content = [paragraph("No pictures: the task's description cannot be read."), _as_list(wrong[:MOST_NEAR])]
        return Section("Mistakes", content, is_wide=True)
    album = Album(facts.task, facts.data_dir)
    parts: list[Markup | None] = []
    for title, examples, none in (
        (worst, wrong, f"There is no mistake among the {facts.shown.where} images."),
        (nearest, near, ""),
    ):
        if title and (examples or none):
            parts += [heading(4, title), _picture_grid(examples, album) if examples else paragraph(none)]
    if album.missing:
        parts.append(
            paragraph(
                f"{len(album.missing)} of these images cannot be shown any more: {listing(album.missing.values(), most=1)}."
            )
        )
    return Section("Mistakes", parts, is_wide=True)


class Album:
    """Reads images as small pictures, from the task's sources or else from a cache of them.

    Args:
        task: The task.
        data_dir: The folder of all tasks.
    """

    def __init__(self, task: Task, data_dir: Path) -> None:
        self._row_of = {name: row for row, name in enumerate(task.samples.ids)}
        self._task, self._folder = task, data_dir / task.name / "cache"
        self._read: Callable[[int], npt.NDArray[Any]] | None = None
        self._pack: npt.NDArray[Any] | None = None
        self.missing: dict[str, str] = {}

    def uri(self, sample: str) -> str | None:
        """Return a picture as a data URI; None if it cannot be read, with the reason in `missing`.

        Args:
            sample: The image's name.
        """
        if sample not in self._row_of:
            self.missing[sample] = f"{sample} is not in the task"
            return None
        try:
            return uri_of(self._pixels(self._row_of[sample]))
        except (UnreadableImageError, DataError, OSError, ValueError) as error:
            self.missing[sample] = f"{sample} {error}"
            return None

    def _pixels(self, row: int) -> npt.NDArray[Any]:
        # Files give better pictures; other sources may need the import of a slow library, which their cache does not.
        packed = self.packed() if sources.root(self._task) is None else None
        if packed is not None:
            return np.asarray(packed[row])
        try:
            if self._read is None:
                self._read = sources.reader(self._task, self._task.channels)
            return self._read(row)
        except (UnreadableImageError, DataError, OSError, ValueError):
            packed = self.packed()
            if packed is None:
                raise
            return np.asarray(packed[row])

    def packed(self) -> npt.NDArray[Any] | None:
        """Return the images of the task's first pack in which all have one size; None without one."""
        if self._pack is None and self._folder.is_dir():
            for folder in sorted(self._folder.iterdir()):
                path = folder / packs.FIXED_FILE
                is_of_targets = any(part in folder.name for part in ("-masks-", "-targets-"))
                if not is_of_targets and packs.is_complete(folder) and path.is_file():
                    stored = np.load(path, mmap_mode="r")
                    if stored.ndim > 2 and len(stored) == len(self._row_of):
                        self._pack = stored
                        break
        return self._pack


def uri_of(pixels: npt.NDArray[Any]) -> str:
    """Return a small PNG or JPEG as a data URI; of many channels the first one or three are shown.

    Args:
        pixels: Shape (*spatial, channels).
    """
    values = gallery.eight_bit(gallery.plane(pixels))
    picture = Image.fromarray(values[:, :, :3] if values.shape[2] >= 3 else values[:, :, 0])
    is_small = max(picture.size) <= _SMALL
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    if is_small:
        picture.save(out, format="PNG", optimize=True)
    else:
        picture.save(out, format="JPEG", quality=80, optimize=True)
    kind = "png" if is_small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode('ascii')}"


def _picture_grid(examples: Sequence[Example], album: Album) -> Markup | None:
    cells, byte_count = list[Markup](), 0
    for example in examples:
        uri = album.uri(example.sample) if byte_count < _MOST_BYTES else None
        if uri is not None:
            byte_count += len(uri)
            name = element("span", example.sample, class_="sample")
            alt = f"Image {example.sample}: {example.words}"
            caption = joined([element("span", example.words), name])
            cells.append(
                element(
                    "figure", joined([image(uri, alt), element("figcaption", caption)]), **_filter_attributes(example)
                )
            )
    # With few pictures a filter is useless.
    can_be_chosen = len(cells) > _FEW and all(item.true for item in examples)
    data = {"data_filter": "mistakes", "tabindex": "0"} if can_be_chosen else {}
    return element("div", joined(cells), class_="pictures", **data) if cells else _as_list(examples[:MOST_NEAR])


def _filter_attributes(example: Example) -> dict[str, str]:
    """Return the attributes by which the page filters a picture."""
    if example.true is None or example.taken is None:
        return {}
    return {
        "data_true": str(example.true[0]),
        "data_true_name": example.true[1],
        "data_taken": str(example.taken[0]),
        "data_taken_name": example.taken[1],
        "data_sure": f"{example.sure:.4f}",
    }


def _as_list(examples: Sequence[Example]) -> Markup | None:
    return bullets(f"{example.sample}: {example.words}" for example in examples)


def examples(rows: Rows, places: npt.NDArray[Any], words: Sequence[str]) -> list[Example]:
    """Return some rows with the text about each.

    Args:
        rows: Predictions.
        places: Which of them, shape (m,).
        words: The texts, m sentences.
    """
    return [Example(rows.ids[row], sentence) for row, sentence in zip(places.tolist(), words, strict=True)]
