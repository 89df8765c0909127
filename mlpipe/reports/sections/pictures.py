"""The worst mistakes and the near misses as small pictures inside the page, read from the task's images or their cache."""

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
from mlpipe.post import metrics
from mlpipe.reports import gallery
from mlpipe.reports.facts import Rows, TaskFacts
from mlpipe.reports.markup import Markup, bullets, element, figure, heading, image, joined, paragraph
from mlpipe.reports.sections.parts import Section, number, percent
from mlpipe.runs import maps

_MOST = 12
_SIDE = 120
# Smaller images are kept as they are, and the page enlarges them.
_SMALL = 64


@dataclass(frozen=True)
class Example:
    """An image to show: its name, and what is to say of it."""

    sample: str
    words: str


def pictures(facts: TaskFacts) -> Section:
    """Mistakes that the network was surest of, and images that it only just got right.

    Args:
        facts: The task.
    """
    rows = facts.shown.rows if facts.shown else None
    if rows is None or facts.shown is None or facts.kind in maps.KINDS:
        return Section("Mistakes")
    wrong, near = chosen(rows, facts.classes, facts.kind)
    if facts.task is None:
        return Section("Mistakes", [paragraph("No pictures: the task's description cannot be read."), _as_list(wrong)])
    album = Album(facts.task, facts.data_dir)
    titles = ("The largest errors", "") if facts.kind == "regression" else ("The surest mistakes", "Near misses")
    parts: list[Markup | None] = []
    for title, examples, none in (
        (titles[0], wrong, f"There is no mistake among the {facts.shown.where} images."),
        (titles[1], near, ""),
    ):
        if title and (examples or none):
            parts += [heading(4, title), _shown(examples, album) if examples else paragraph(none)]
    if album.missing:
        parts.append(
            paragraph(
                f"{len(album.missing)} of these images cannot be shown any more: {listing(album.missing.values(), most=1)}."
            )
        )
    return Section("Mistakes", parts)


def chosen(rows: Rows, classes: Sequence[str], kind: str, most: int = _MOST) -> tuple[list[Example], list[Example]]:
    """The worst mistakes, the surest first, and right predictions with the least margin.

    Args:
        rows: Predictions with targets.
        classes: The names of the outputs.
        kind: The kind of the task.
        most: How many of each at most.
    """
    if kind == "regression":
        return _largest_errors(rows, classes, most), []
    if kind == "multilabel":
        return _wrong_labels(rows, classes, most)
    probabilities = np.exp(metrics.log_softmax(rows.calibrated))
    places = np.arange(len(rows))
    predicted, own = probabilities.argmax(axis=1), probabilities[places, rows.targets]
    is_wrong = predicted != rows.targets
    sure = probabilities[places, predicted]
    worst = np.flatnonzero(is_wrong)[np.argsort(-sure[is_wrong], kind="stable")][:most]
    others = probabilities.copy()
    others[places, rows.targets] = -1
    second = others.argmax(axis=1)
    margin = own - others[places, second]
    close = np.flatnonzero(~is_wrong)[np.argsort(margin[~is_wrong], kind="stable")][:most]
    wrong = [
        f"{classes[rows.targets[row]]}, taken for {classes[predicted[row]]} ({percent(sure[row])} sure)"
        for row in worst
    ]
    near = [
        f"{classes[rows.targets[row]]} ({percent(own[row])}), nearly {classes[second[row]]} "
        f"({percent(others[row, second[row]])})"
        for row in close
    ]
    return _examples(rows, worst, wrong), _examples(rows, close, near)


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
        self._packed: npt.NDArray[Any] | None = None
        self.missing: dict[str, str] = {}

    def uri(self, sample: str) -> str | None:
        """A picture as a data URI; None where it cannot be read, with the reason in `missing`.

        Args:
            sample: The image's name.
        """
        if sample not in self._row_of:
            self.missing[sample] = f"{sample} is not in the task"
            return None
        try:
            return _uri(self._pixels(self._row_of[sample]))
        except (UnreadableImageError, DataError, OSError, ValueError) as error:
            self.missing[sample] = f"{sample} {error}"
            return None

    def _pixels(self, row: int) -> npt.NDArray[Any]:
        # Files give the better picture; what has none may cost the import of its library, which its cache does not.
        packed = self._from_cache() if sources.root(self._task) is None else None
        if packed is not None:
            return np.asarray(packed[row])
        try:
            if self._read is None:
                self._read = sources.reader(self._task, self._task.channels)
            return self._read(row)
        except (UnreadableImageError, DataError, OSError, ValueError):
            packed = self._from_cache()
            if packed is None:
                raise
            return np.asarray(packed[row])

    def _from_cache(self) -> npt.NDArray[Any] | None:
        """The images of the task's first pack in which all have one size."""
        if self._packed is None and self._folder.is_dir():
            for folder in sorted(self._folder.iterdir()):
                path = folder / packs.FIXED_FILE
                if packs.is_complete(folder) and path.is_file():
                    stored = np.load(path, mmap_mode="r")
                    if stored.ndim > 2 and len(stored) == len(self._row_of):
                        self._packed = stored
                        break
        return self._packed


def _uri(pixels: npt.NDArray[Any]) -> str:
    """A small PNG or JPEG; of many channels the first one or three are shown."""
    values = gallery.eight_bit(gallery.plane(pixels))
    made = Image.fromarray(values[:, :, :3] if values.shape[2] >= 3 else values[:, :, 0])
    is_small = max(made.size) <= _SMALL
    made.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    if is_small:
        made.save(out, format="PNG", optimize=True)
    else:
        made.save(out, format="JPEG", quality=80, optimize=True)
    kind = "png" if is_small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode('ascii')}"


def _shown(examples: Sequence[Example], album: Album) -> Markup | None:
    cells = []
    for one in examples:
        uri = album.uri(one.sample)
        if uri is not None:
            name = element("span", one.sample, class_="sample")
            alt = f"Image {one.sample}: {one.words}"
            cells.append(figure(image(uri, alt), joined([element("span", one.words), name])))
    return element("div", joined(cells), class_="pictures") if cells else _as_list(examples)


def _as_list(examples: Sequence[Example]) -> Markup | None:
    return bullets(f"{one.sample}: {one.words}" for one in examples)


def _examples(rows: Rows, places: npt.NDArray[Any], words: Sequence[str]) -> list[Example]:
    return [Example(rows.ids[row], said) for row, said in zip(places.tolist(), words, strict=True)]


def _largest_errors(rows: Rows, classes: Sequence[str], most: int) -> list[Example]:
    off = rows.calibrated - rows.targets
    # Numbers of different units are compared by their spread.
    scaled = np.abs(off) / np.maximum(np.nanstd(rows.targets, axis=0), 1e-12)
    scaled[np.isnan(scaled)] = -1
    worst = np.argsort(-scaled.max(axis=1), kind="stable")[:most]
    words = []
    for row in worst:
        column = int(scaled[row].argmax())
        words.append(
            f"{classes[column]} {number(float(rows.targets[row, column]))}, "
            f"predicted {number(float(rows.calibrated[row, column]))}"
        )
    return _examples(rows, worst, words)


def _wrong_labels(rows: Rows, classes: Sequence[str], most: int) -> tuple[list[Example], list[Example]]:
    chance = 0.5 * (1 + np.tanh(rows.calibrated / 2))
    known = ~np.isnan(rows.targets)
    own = np.where(rows.targets == 1, chance, 1 - chance)
    own[~known] = 1.0
    worst = np.argsort(own.min(axis=1), kind="stable")
    least = own.min(axis=1)
    wrong, near = worst[least[worst] < 0.5][:most], worst[least[worst] >= 0.5][:most]

    def words(row: int) -> str:
        column = int(own[row].argmin())
        true = "yes" if rows.targets[row, column] == 1 else "no"
        return f"{classes[column]}: {true}, predicted {percent(float(chance[row, column]))}"

    return tuple(_examples(rows, places, [words(int(row)) for row in places]) for places in (wrong, near))  # type: ignore[return-value]
