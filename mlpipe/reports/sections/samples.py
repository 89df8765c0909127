"""Training images: some of each class, and as training saw them after random augmentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe import files, kinds
from mlpipe.config import components
from mlpipe.data import sampling, sources
from mlpipe.data.augment import samples as changes
from mlpipe.data.augment.samples import Seeds
from mlpipe.data.cache import packs
from mlpipe.data.cache.packs import Pack
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.task import Task
from mlpipe.errors import MlpipeError
from mlpipe.reports import drawn_targets
from mlpipe.reports.drawn_targets import Drawing
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import Content, Markup, details_block, element, figure, heading, image, joined, paragraph
from mlpipe.reports.sections import masks
from mlpipe.reports.sections.parts import Section
from mlpipe.reports.sections.pictures import Album, uri_of
from mlpipe.runs import records

_CLASSES, _EACH, _MOST, _CHANGED, _TIMES = 12, 2, 12, 4, 3
_OWN = "mlpipe.data.augment.samples."
# Errors of images and targets that are gone, have changed, or may not be read.
_UNREADABLE = (UnreadableImageError, MlpipeError, OSError, ValueError)


def samples(facts: TaskFacts) -> Section:
    """Some training images, the same with their targets drawn, and some after the augmentation of the newest recipe.

    Args:
        facts: The task.
    """
    if facts.task is None or not len(facts.task.samples):
        return Section("Images learned from")
    album, drawing = Album(facts.task, facts.data_dir), _drawing(facts.task)
    rows = _example_rows(facts.task)
    picture = _drawn_pictures(facts.task, album, drawing)
    pictures = {row: picture(row) for row in rows}
    cells = [cell for row, uri in pictures.items() if (cell := _cell(facts.task, uri, row)) is not None]
    if not cells:
        return Section("Images learned from")
    parts: list[Content | None] = [element("div", joined(cells), class_="pictures")]
    if drawing is not None and facts.task.samples.masks:
        parts.insert(
            0, paragraph("The colours of pixels are their classes:", *masks.legend(facts.classes[1:], first=1))
        )
    few = rows[:: max(1, len(rows) // _CHANGED)]
    return Section("Images learned from", [*parts, *_augmented_images(facts, album, drawing, few)], is_wide=True)


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


def _drawing(task: Task) -> Drawing | None:
    """Return the drawing of targets on images; None if they have no places in them, or the images may not be read."""
    try:
        return drawn_targets.of_task(task)
    except _UNREADABLE:
        return None


def _drawn_pictures(task: Task, album: Album, drawing: Drawing | None) -> Callable[[int], str | None]:
    """Return a function from row to a picture of the sample with its target drawn on it; None if it is lost."""
    names = task.samples.ids
    if drawing is None:
        return lambda row: album.uri(names[row])
    read = sources.reader(task, task.channels)

    def picture(row: int) -> str | None:
        try:
            return uri_of(drawing(read(row), row))
        except _UNREADABLE:
            # Only the cache has the image still, whose pixels are not those that targets stand at.
            return album.uri(names[row])

    return picture


def _cell(task: Task, uri: str | None, row: int) -> Markup | None:
    name = task.samples.ids[row]
    if uri is None:
        return None
    label = kinds.of(task.kind).words.told(task.samples.targets[row], task.classes) or ""
    caption = joined([element("span", label) if label else None, element("span", name, class_="sample")])
    return figure(image(uri, f"Image {name}: {label or 'learned from'}"), caption)


def _augmented_images(facts: TaskFacts, album: Album, drawing: Drawing | None, rows: list[int]) -> list[Content | None]:
    """Return cached images after the augmentation of several epochs, with their targets drawn on them."""
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
    transforms = [named for node in pipeline if (named := _random_change(node)) is not None]
    names = [facts.task.samples.ids[row] for row in rows]
    seeds, cells = sampling.sample_seeds(tuple(names)), list[Markup]()
    try:
        is_ours = len(transforms) == len(pipeline)
        change = _changes(facts, tree, album, drawing, rows, transforms) if is_ours else None
        own_seeds = [sampling.epoch_seeds(seeds, seed, record.fold, epoch) for epoch in range(_TIMES)]
        by_epoch = [] if change is None else [change(of_epoch) for of_epoch in own_seeds]
    except _UNREADABLE:
        by_epoch = []
    if not by_epoch:
        hint = "Random changes are drawn by mml info mode.subroutines=[samples] mode.augmented=true."
        return [paragraph(hint, class_="muted")]
    for place, name in enumerate(names):
        for epoch, drawn in enumerate(by_epoch, 1):
            caption = element("span", f"{name}, epoch {epoch}", class_="sample")
            cells.append(figure(image(uri_of(np.asarray(drawn[place])), f"{name} as epoch {epoch} saw it"), caption))
    title = heading(4, f"After the random changes of recipe {facts.called(record.recipe)}")
    return [details_block("Random changes", joined([title, element("div", joined(cells), class_="pictures")]))]


def _changes(
    facts: TaskFacts,
    tree: Mapping[str, Any],
    album: Album,
    drawing: Drawing | None,
    rows: list[int],
    transforms: list[tuple[str, Any]],
) -> Callable[[Seeds], Sequence[Any]] | None:
    """Return the random changes of cached images as a function of their seeds; None if the cache does not have them."""
    task = facts.task
    assert task is not None
    if drawing is None:
        pack = album.packed()
        if pack is None or pack.ndim != 4:
            return None
        images = np.asarray(pack[rows])
        return lambda seeds: list(changes.apply([transform for _, transform in transforms], images.copy(), seeds))
    # Targets are moved from the pixels of a file to those of the cache, so it must be that of this recipe.
    cached = _pack_of_recipe(tree, task, facts.data_dir)
    if cached is None:
        return None
    places = np.array(rows, np.int64)
    images = np.asarray(cached.take(places))
    return lambda seeds: drawn_targets.augmented(task, places, images.copy(), cached.preprocessing, transforms, seeds)


def _pack_of_recipe(tree: Mapping[str, Any], task: Task, data_dir: Path) -> Pack | None:
    """Return the cached images of one size that a recipe learned from; None if there are none.

    Args:
        tree: The stored configuration of a record of the recipe.
        task: The task.
        data_dir: The folder of tasks.

    Raises:
        DataError: When the cache is damaged.
    """
    component, wrong = components.check("preprocessing", "preprocessing", tree.get("preprocessing"))
    # Steps before the resize may be anybody's code, and a stored configuration must not run it.
    if wrong or component is None or component.name != "standard" or component.params.get("before"):
        return None
    arch = tree.get("arch")
    channels = arch.get("in_chans") if isinstance(arch, dict) else None
    preprocessing = component.build(channels or task.channels)
    folder = data_dir / task.name / "cache" / packs.pack_id(task, preprocessing)
    return packs.load(folder, preprocessing) if packs.is_complete(folder) and not preprocessing.is_ragged else None


def _random_change(node: Any) -> tuple[str, changes.Step] | None:
    """Return a random transform of this package and its name; None for any other: a stored configuration must run no code."""
    component, wrong = components.check("augmentations.cpu.pipeline", "augmentations", node)
    if wrong or component is None or not component.target.startswith(_OWN):
        return None
    step: changes.Step = component.build()
    return component.target, step
