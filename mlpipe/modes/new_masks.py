"""Masks of new images: the mean over the models' probabilities of every pixel, as PNG files in the images' own sizes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import files
from mlpipe.config.schema import Recipe
from mlpipe.data import sources
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.sources import looking, mask_files
from mlpipe.data.task import IGNORED, Task
from mlpipe.errors import ProjectError, problem
from mlpipe.modes.base import World
from mlpipe.runs import maps
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")

Floats = npt.NDArray[np.float32]
Used = Sequence[tuple[ModelRecord, float, Preprocessing]]


def write(
    world: World, pivot: Task, new: Task, used: Used, unreadable: Mapping[str, str], split: str, data_dir: Path
) -> None:
    """Write a PNG for each image and a table of what is on them.

    Args:
        world: The project; told where the files are.
        pivot: The task that the models were trained on; masks hold the values that its masks have.
        new: The new images.
        used: Each record with its weight, and what happened to the images before it saw them.
        unreadable: Reasons by image.
        split: What the images are called in the predictions.
        data_dir: Where it is remembered how large they are.

    Raises:
        ProjectError: When a record's maps are missing or damaged.
    """
    values = values_of(pivot)
    out = world.project.reports_dir() / "predictions" / new.name
    base = sources.root(new)
    assert base is not None
    seen = looking.look([base / name for name in new.samples.ids], looking.memory_file(str(data_dir), base))
    looks = dict(zip(new.samples.ids, seen, strict=True))
    rows, taken = list[dict[str, Any]](), dict[Path, str]()
    world.display.start("writing masks", len(new.samples))
    try:
        with ExitStack() as stack:
            opened = [
                (stack.enter_context(maps.Maps(maps_file(world, record))), weight, before)
                for record, weight, before in used
            ]
            for number, name in enumerate(new.samples.ids, 1):
                world.stop.check()
                world.display.update(number)
                if name in unreadable:
                    rows.append({"image": name, "problem": unreadable[name]})
                    continue
                height, width = looks[name].height, looks[name].width
                parts = [
                    (before.restored(_chances(found, new.name, split, name), height, width), weight)
                    for found, weight, before in opened
                ]
                path = out / Path(name).with_suffix(".png")
                # Two images of one name but for their endings would be one mask.
                path = path if path not in taken else out / f"{name}.png"
                taken[path] = name
                rows.append({"image": name, "mask": str(path.relative_to(out)), **_drawn(parts, values, path)})
    finally:
        world.display.close()
    _finish(world, out, rows, values, len(used))


def moved(recipes: Iterable[Recipe]) -> list[str]:
    """A sentence for each step of evaluation after which a map's places are not those of the image.

    Args:
        recipes: How the models were trained.
    """
    steps = {step.target.rpartition(".")[2] for recipe in recipes for step in recipe.augmentations.cpu}
    fix = "train without it, for example with preprocessing.resize=short_side"
    return [
        problem(
            "augmentations.cpu.pipeline",
            f"{name} also moves images that are predicted, masks would not fit them",
            fix=fix,
        )
        for name in sorted(steps & {"center_crop", "rotate"})
    ]


def values_of(pivot: Task) -> mask_files.Values:
    """Which value is which class in the masks of a task; class numbers where it has no files."""
    source = (pivot.bases or (pivot,))[0].source
    if "masks" in source:
        return mask_files.stored_values(source["masks"])
    return mask_files.Values(pivot.classes, tuple(range(len(pivot.classes))), None)


def maps_file(world: World, record: ModelRecord) -> Path:
    """Where a record's maps lie."""
    return world.project.predictions_file(record.pivot, record.id).with_suffix(maps.SUFFIX)


def _chances(found: maps.Maps, task: str, split: str, sample: str) -> Floats:
    """Probabilities, shape (height, width, classes)."""
    return np.ascontiguousarray(np.moveaxis(found.chances(task, split, sample).astype(np.float32) / 255, 0, 2))


def _drawn(
    parts: Sequence[tuple[tuple[Floats, npt.NDArray[np.bool_]], float]], values: mask_files.Values, path: Path
) -> dict[str, Any]:
    """Write one mask; what is on it."""
    total = sum(chances * np.float32(weight) for (chances, _), weight in parts)
    mean = np.asarray(total) / np.float32(sum(weight for _, weight in parts))
    seen = np.logical_and.reduce([inside for (_, inside), _ in parts])
    chosen = mean.argmax(axis=2).astype(np.uint8)
    if not seen.any():
        raise ProjectError(problem(str(path), "no model saw a pixel of it", fix="train with preprocessing.resize=pad"))
    counts = np.bincount(chosen[seen], minlength=len(values.names)) / seen.sum()
    chosen[~seen] = IGNORED
    with files.durable(path) as temporary:
        mask_files.encoded(chosen, values).save(temporary, format="PNG", optimize=True)
    confidence = round(float(mean.max(axis=2)[seen].mean()), 6)
    shares = {f"share({name})": round(float(share), 6) for name, share in zip(values.names, counts, strict=True)}
    return {"confidence": confidence, **shares, "unseen": round(1 - float(seen.mean()), 6)}


def _finish(world: World, out: Path, rows: Sequence[Mapping[str, Any]], values: mask_files.Values, models: int) -> None:
    columns = ["image", "mask", "confidence", *(f"share({name})" for name in values.names), "unseen", "problem"]
    path = out.with_suffix(".csv") if "." not in out.name else out.with_name(f"{out.name}.csv")
    files.write_text(path, files.csv_text(rows, columns))
    made = sum("mask" in row for row in rows)
    failed = f"; {len(rows) - made} unreadable" if made < len(rows) else ""
    world.facts.update({"images": len(rows), "masks": str(out), "csv": str(path), "models": models})
    log.info(f"{made} masks by {models} model{'s' * (models > 1)}{failed}")
    log.info(f"look at: {out} and {path}")
