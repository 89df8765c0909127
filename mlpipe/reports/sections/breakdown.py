"""Scores by properties of the images: their size, brightness and contrast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data import sources
from mlpipe.data.decoding import images
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.task import Task
from mlpipe.post import kind as post_kind
from mlpipe.post.figures import interval, number
from mlpipe.post.intervals import by_metric
from mlpipe.post.rows import row_groups
from mlpipe.reports.facts import Rows, TaskFacts
from mlpipe.reports.markup import paragraph, table
from mlpipe.reports.sections.parts import Section
from mlpipe.reports.sections.pictures import Album

# The most images that are read, and the fewest images of a part.
_MOST, _LEAST = 2000, 20
_PARTS = ("the lower third", "the middle third", "the upper third")
Values = npt.NDArray[np.float64]


def breakdown(facts: TaskFacts) -> Section:
    """The score of small and large, dark and bright, low- and high-contrast images, with intervals.

    Args:
        facts: A task whose images have an error as a whole.
    """
    subject = facts.shown
    rows = subject.rows if subject else None
    if subject is None or rows is None or facts.task is None or len(rows) < 3 * _LEAST:
        return Section("By image")
    row_of = {name: row for row, name in enumerate(facts.task.samples.ids)}
    places = [place for place, name in enumerate(rows.ids) if name in row_of][:_MOST]
    row_numbers = [row_of[rows.ids[place]] for place in places]
    cells = list[list[str]]()
    for feature, unit, values in (*_pixel_values(facts, row_numbers), *_file_values(facts.task, row_numbers)):
        cells += _rows_of_thirds(facts, rows, np.array(places), values, feature, unit)
    if not cells:
        return Section("By image")
    name = post_kind.of(facts.kind).HEADLINE
    text = "Images are put in thirds by what they look like. A part that is worse than the others is one to look at."
    header = ["images", "from", "to", "how many", name, "95 % interval"]
    caption = f"By image, on {len(places)} {subject.where} images"
    return Section("By image", [paragraph(text), table(caption, header, cells, numbers=range(1, 6))], is_wide=True)


def _rows_of_thirds(
    facts: TaskFacts, rows: Rows, places: npt.NDArray[Any], values: Values, feature: str, unit: str
) -> list[list[str]]:
    known = np.isfinite(values)
    if known.sum() < 3 * _LEAST or np.ptp(values[known]) <= 0:
        return []
    cuts = np.quantile(values[known], [1 / 3, 2 / 3])
    part = np.searchsorted(cuts, values, side="left")
    name, lines = post_kind.of(facts.kind).HEADLINE, []
    for number_of_part, words in enumerate(_PARTS):
        inside = known & (part == number_of_part)
        if inside.sum() < _LEAST:
            continue
        of = places[inside]
        groups = row_groups([rows.ids[place] for place in of], facts.groups or None)
        outputs, targets = rows.calibrated[of], rows.targets[of]
        estimate = by_metric.metric_intervals([name], outputs, targets, kind=facts.kind, groups=groups)[name]
        ends = [f"{value:.0f}{unit}" for value in (values[inside].min(), values[inside].max())]
        count = len(of)
        lines.append(
            [
                f"{feature}, {words}",
                *ends,
                str(count),
                number(estimate.value, count),
                interval(estimate.low, estimate.high, count),
            ]
        )
    return lines if len(lines) > 1 else []


def _pixel_values(facts: TaskFacts, row_numbers: list[int]) -> list[tuple[str, str, Values]]:
    """Return brightness and contrast in percent, from the pack of the training images."""
    assert facts.task is not None
    pack = Album(facts.task, facts.data_dir).packed()
    if pack is None or pack.ndim < 4:
        return []
    peak = float(np.iinfo(pack.dtype).max) if pack.dtype.kind == "u" else 1.0
    axes = tuple(range(pack.ndim - 1))
    both = np.array([_moments(np.asarray(pack[row], np.float64), axes) for row in row_numbers]) * 100 / peak
    return [("brightness", " %", both[:, 0]), ("contrast", " %", both[:, 1])]


def _moments(pixels: Values, axes: tuple[int, ...]) -> tuple[float, float]:
    return float(pixels.mean()), float(pixels.std(axis=axes).mean())


def _file_values(task: Task, row_numbers: list[int]) -> list[tuple[str, str, Values]]:
    """Return the longer sides of image files in pixels, read from their headers."""
    root = sources.root(task)
    if root is None:
        return []
    folder = root.resolve()
    paths = [(folder / task.samples.ids[row]).resolve() for row in row_numbers]
    # A stored name may lead anywhere, so the path is checked.
    sides = [_side(path) if path.is_relative_to(folder) else float("nan") for path in paths]
    return [("longer side", "", np.array(sides, np.float64))]


def _side(path: Path) -> float:
    try:
        if not path.is_file():
            return float("nan")
        with images.picture(path) as opened:
            return float(max(opened.size))
    except (OSError, ValueError, UnreadableImageError):
        return float("nan")
