"""Training images: some of each class, and as training saw them after random augmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlpipe import files, kinds
from mlpipe.config import components
from mlpipe.data import sampling, sources
from mlpipe.data.augment import samples as changes
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.task import Task
from mlpipe.errors import DataError
from mlpipe.reports import kind as report_kind
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import Content, Markup, details_block, element, figure, heading, image, joined, paragraph
from mlpipe.reports.sections.parts import Section
from mlpipe.reports.sections.pictures import Album, uri_of
from mlpipe.runs import records

_CLASSES, _EACH, _MOST, _CHANGED, _TIMES = 12, 2, 12, 4, 3
_OWN = "mlpipe.data.augment.samples."


def samples(facts: TaskFacts) -> Section:
    """Some training images, the same with their targets drawn, and some after the augmentation of the newest recipe.

    Args:
        facts: The task.
    """
    if facts.task is None or not len(facts.task.samples):
        return Section("Images learned from")
    album = Album(facts.task, facts.data_dir)
    rows = _example_rows(facts.task)
    picture = _drawn_pictures(facts.task, album)
    pictures = {row: picture(row) for row in rows}
    cells = [cell for row, uri in pictures.items() if (cell := _cell(facts.task, uri, row)) is not None]
    if not cells:
        return Section("Images learned from")
    parts: list[Content | None] = [element("div", joined(cells), class_="pictures")]
    return Section(
        "Images learned from",
        [*parts, *_augmented_images(facts, album, rows[:: max(1, len(rows) // _CHANGED)])],
        is_wide=True,
    )


def _example_rows(task: Task) -> list[int]:
    """Return the places in the task of the first training images of each class; for numbers and masks of the first ones."""
    candidates = np.flatnonzero(task.samples.in_part("train") & task.samples.labelled)
    targets = task.samples.targets
    if targets.ndim != 1:
        return [int(row) for row in candidates[:_MOST]]
    count = max(1, min(_EACH, _MOST // max(1, min(len(task.classes), _CLASSES))))
    by_class = [
        candidates[targets[candidates] == number][:count].tolist() for number in range(min(len(task.classes), _CLASSES))
    ]
    return [row for rows in by_class for row in rows]


def _drawn_pictures(task: Task, album: Album) -> Callable[[int], str | None]:
    """Pictures of samples by row, with targets drawn on them that stand at places of an image; None where one is lost."""
    names, draw, errors = task.samples.ids, report_kind.of(task.kind).DRAW, (DataError, OSError, ValueError)

    def plain(row: int) -> str | None:
        return album.uri(names[row])

    if draw is None:
        return plain
    try:
        source = sources.open(task)
        if not source.has_objects:
            return plain
        objects, read = source.objects(), source.inputs(task.channels)
    except errors:
        return plain

    def picture(row: int) -> str | None:
        try:
            return uri_of(draw(read(row), objects.of_row(row)))
        except (UnreadableImageError, *errors):
            # Only the cache has the image still, whose pixels are not those that targets stand at.
            return plain(row)

    return picture


def _cell(task: Task, uri: str | None, row: int) -> Markup | None:
    name = task.samples.ids[row]
    if uri is None:
        return None
    label = kinds.of(task.kind).words.told(task.samples.targets[row], task.classes) or ""
    caption = joined([element("span", label) if label else None, element("span", name, class_="sample")])
    return figure(image(uri, f"Image {name}: {label or 'learned from'}"), caption)


def _augmented_images(facts: TaskFacts, album: Album, rows: list[int]) -> list[Content | None]:
    """Return images of the pack after the augmentation of several epochs."""
    record = facts.newest
    path = facts.project.model_dir(record.pivot, record.id) / records.CONFIG_FILE
    try:
        tree = files.read_yaml(path) if path.is_file() else {}
        pipeline = tree["augmentations"]["cpu"]["pipeline"]
        seed = int(tree["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
    if not pipeline or facts.task is None:
        return []
    steps = [step for node in pipeline if (step := _random_change(node)) is not None]
    pack = album.packed()
    if len(steps) < len(pipeline) or pack is None or pack.ndim != 4:
        hint = "Random changes are drawn by mml info mode.subroutines=[samples] mode.augmented=true."
        return [paragraph(hint, class_="muted")]
    names = [facts.task.samples.ids[row] for row in rows]
    seeds, images, cells = sampling.sample_seeds(tuple(names)), np.asarray(pack[rows]), list[Markup]()
    by_epoch = [
        changes.apply(steps, images.copy(), sampling.epoch_seeds(seeds, seed, record.fold, epoch))
        for epoch in range(_TIMES)
    ]
    for place, name in enumerate(names):
        for epoch, drawn in enumerate(by_epoch, 1):
            caption = element("span", f"{name}, epoch {epoch}", class_="sample")
            cells.append(figure(image(uri_of(np.asarray(drawn[place])), f"{name} as epoch {epoch} saw it"), caption))
    title = heading(4, f"After the random changes of recipe {facts.called(record.recipe)}")
    return [details_block("Random changes", joined([title, element("div", joined(cells), class_="pictures")]))]


def _random_change(node: Any) -> changes.Step | None:
    """Return a random transform of this package; None for any other, because a stored configuration must not run code."""
    component, wrong = components.check("augmentations.cpu.pipeline", "augmentations", node)
    if wrong or component is None or not component.target.startswith(_OWN):
        return None
    step: changes.Step = component.build()
    return step
