"""Masks of new images, or the images predicted for them: the mean over the models, in the images' own sizes.

Files are PNG; for samples that are arrays, predicted images are arrays, too (.npy), with the values that were learned. So are
masks of samples with other axes than height and width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import files
from mlpipe.config.schema import Recipe
from mlpipe.data import sources
from mlpipe.data.augment.paired import RESIZE
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.sources.listings import file_headers
from mlpipe.data.sources.targets import mask_files, target_files
from mlpipe.data.task import IGNORED, Task, axes_of
from mlpipe.errors import ProjectError, problem
from mlpipe.running.scheduler import World
from mlpipe.runs import maps
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")

Floats = npt.NDArray[np.float32]
Used = Sequence[tuple[ModelRecord, float, Preprocessing]]
# What says how high and wide what is written of an image is; None: as high and wide as the network gave it.
Scaled = target_files.Scale | None
# What each model gives for an image, and where it saw it; and its weight.
Parts = Sequence[tuple[tuple[Floats, npt.NDArray[np.bool_]], float]]


def write(
    world: World,
    pivot: Task,
    new: Task,
    used: Used,
    unreadable: Mapping[str, str],
    split: str,
    data_dir: Path,
    scale: Scaled = target_files.SAME,
) -> None:
    """Write a file for each image and a table of what is in them.

    Args:
        world: The project; told where the files are.
        pivot: The task that the models were trained on; masks hold the values that its masks have, and target images the
            channels and the depth that its targets have.
        new: The new images.
        used: Each record with its weight, and what happened to the images before it saw them.
        unreadable: Reasons by image.
        split: What the images are called in the predictions.
        data_dir: Where it is remembered how large they are.
        scale: The size of what is written in that of the images; None: as the networks gave it.

    Raises:
        ProjectError: When a record's maps are missing or damaged.
    """
    if pivot.kind == "images":
        names, dtype = ["mean", "unseen"], _dtype_of(pivot)

        def draw(parts: Parts, path: Path) -> dict[str, Any]:
            if dtype == "float32":
                return _drawn_array(parts, new.source["layout"], path)
            return _drawn_image(parts, 65535 if dtype == "uint16" else 255, path)

        what = ("image", names, ".npy" if dtype == "float32" else ".png")
        _write(world, new, used, unreadable, split, data_dir, what, _values, draw, scale)
        return
    values = values_of(pivot)

    def drawn(parts: Parts, path: Path) -> dict[str, Any]:
        return _drawn(parts, values, path)

    names = ["confidence", *(f"share({name})" for name in values.names), "unseen"]
    what = ("mask", names, ".png" if axes_of(pivot) == 2 else ".npy")
    _write(world, new, used, unreadable, split, data_dir, what, _chances, drawn)


def _write(
    world: World,
    new: Task,
    used: Used,
    unreadable: Mapping[str, str],
    split: str,
    data_dir: Path,
    what: tuple[str, Sequence[str], str],
    read: Callable[[maps.Maps, str, str, str], Floats],
    draw: Callable[[Parts, Path], dict[str, Any]],
    scale: Scaled = target_files.SAME,
) -> None:
    """Write a file for each image, and a table; `what`: what is written, the columns that tell of it, the files' ending."""
    out = world.project.reports_dir() / "predictions" / new.name
    size_of, source = _sizes(new, data_dir), sources.open(new)
    rows, taken = list[dict[str, Any]](), dict[Path, str]()
    world.display.start(f"writing {what[0]}s", len(new.samples))
    try:
        with ExitStack() as stack:
            opened = [
                (stack.enter_context(maps.Maps(maps_file(world, record))), weight, before)
                for record, weight, before in used
            ]
            for number, name in enumerate(new.samples.ids, 1):
                world.stop.check()
                world.display.update(number)
                title = source.title(name)
                if name in unreadable:
                    rows.append({"image": title, "problem": unreadable[name]})
                    continue
                size = size_of(number - 1)
                parts = [
                    (_restored(before, read(found, new.name, split, name), size, scale), weight)
                    for found, weight, before in opened
                ]
                place = _within(title) if source.has_arrays else Path(name)
                # A name in a file has no ending of its own.
                path = out / (f"{place}{what[2]}" if source.has_arrays and ":" in title else place.with_suffix(what[2]))
                # Two images of one name but for their endings would be one file.
                path = path if path not in taken else out / f"{place}{what[2]}"
                taken[path] = name
                rows.append({"image": title, "file": str(path.relative_to(out)), **draw(parts, path)})
    finally:
        world.display.close()
    _finish(world, out, rows, what[:2], len(used))


def scale_of(pivot: Task, recipes: Iterable[Recipe]) -> Scaled:
    """The size of predicted images in that of images; None where steps make images or targets of sizes of their own."""
    steps = [step for recipe in recipes for step in recipe.augmentations.cpu]
    is_apart = any(step.target == RESIZE and step.params.get("on", "both") != "both" for step in steps)
    return None if is_apart else target_files.scale_of(pivot)


def _restored(
    before: Preprocessing, given: Floats, size: tuple[int, ...], scale: Scaled
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """What a model gave for a sample of a size in the size that is written, and where it saw the sample."""
    # Samples of other axes are never resized.
    if scale is None or len(size) != 2:
        return given, np.ones(given.shape[:-1], np.bool_)
    return before.restored(given, round(size[0] * scale[0]), round(size[1] * scale[1]))


def _sizes(new: Task, data_dir: Path) -> Callable[[int], tuple[int, ...]]:
    """A function from row to height and width of new images, or the spatial shape of arrays."""
    base = sources.root(new)
    if base is None:
        pixels = sources.reader(new, new.channels)
        return lambda row: pixels(row).shape[:-1]
    seen = file_headers.look([base / name for name in new.samples.ids], file_headers.memory_file(str(data_dir), base))
    return lambda row: (seen[row].height, seen[row].width)


def _within(name: str) -> Path:
    """A place for `FILE:DATASET` in which no name in a file leads anywhere else; a file of many arrays becomes a folder."""
    file, _, key = name.partition(":")
    return Path(file, *(files.safe_name(part) for part in key.split("/"))) if key else Path(file)


def moved(recipes: Iterable[Recipe]) -> list[str]:
    """A sentence for each step after which a map's places, or values, are not those of the image.

    Args:
        recipes: How the models were trained.
    """
    of_steps = [step for recipe in recipes for step in recipe.augmentations.cpu]
    steps = {step.target.rpartition(".")[2] for step in of_steps}
    fix = "train without it, for example with preprocessing.resize=short_side"
    found = [
        problem(
            "augmentations.cpu.pipeline",
            f"{name} also moves images that are predicted, what is written would not fit them",
            fix=fix,
        )
        for name in sorted(steps & {"center_crop", "rotate"})
    ]
    recoloured = [step for step in of_steps if step.target != RESIZE and step.params.get("on", "images") != "images"]
    coloured = {step.target.rpartition(".")[2] for step in recoloured}
    fix = "train without it, or use mml evaluate with mode.outputs"
    what = "changes the values of targets, which pictures would not have"
    return found + [problem("augmentations.cpu.pipeline", f"{name} {what}", fix=fix) for name in sorted(coloured)]


def values_of(pivot: Task) -> mask_files.Values:
    """Which value is which class in the masks of a task; class numbers where it has no files."""
    source = (pivot.bases or (pivot,))[0].source
    if "masks" in source:
        return mask_files.stored_values(source["masks"])
    return mask_files.Values(pivot.classes, tuple(range(len(pivot.classes))), None)


def _dtype_of(pivot: Task) -> str:
    """How values of a task's targets are kept."""
    return str((pivot.bases or (pivot,))[0].source["targets"]["dtype"])


def maps_file(world: World, record: ModelRecord) -> Path:
    """Where a record's maps lie."""
    return world.project.predictions_file(record.pivot, record.id).with_suffix(maps.SUFFIX)


def _chances(found: maps.Maps, task: str, split: str, sample: str) -> Floats:
    """Probabilities, shape (*spatial, classes)."""
    return np.ascontiguousarray(np.moveaxis(found.chances(task, split, sample).astype(np.float32) / 255, 0, -1))


def _values(found: maps.Maps, task: str, split: str, sample: str) -> Floats:
    """Values of a predicted image, shape (*spatial, channels)."""
    return np.ascontiguousarray(np.moveaxis(found.values(task, split, sample).astype(np.float32), 0, -1))


def _mean(parts: Parts, path: Path) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The mean of what several models give for an image, and where all of them saw it.

    Raises:
        ProjectError: When no model saw a pixel of it.
    """
    total = sum(chances * np.float32(weight) for (chances, _), weight in parts)
    seen = np.logical_and.reduce([inside for (_, inside), _ in parts])
    if not seen.any():
        raise ProjectError(problem(str(path), "no model saw a pixel of it", fix="train with preprocessing.resize=pad"))
    return np.asarray(np.asarray(total) / np.float32(sum(weight for _, weight in parts)), np.float32), np.asarray(seen)


def _drawn(parts: Parts, values: mask_files.Values, path: Path) -> dict[str, Any]:
    """Write one mask; what is on it."""
    mean, seen = _mean(parts, path)
    chosen = mean.argmax(axis=-1).astype(np.uint8)
    counts = np.bincount(chosen[seen], minlength=len(values.names)) / seen.sum()
    chosen[~seen] = IGNORED
    if chosen.ndim == 2:
        with files.durable(path) as temporary:
            mask_files.encoded(chosen, values).save(temporary, format="PNG", optimize=True)
    else:
        _saved(path, mask_files.valued(chosen, values))
    confidence = round(float(mean.max(axis=-1)[seen].mean()), 6)
    shares = {f"share({name})": round(float(share), 6) for name, share in zip(values.names, counts, strict=True)}
    return {"confidence": confidence, **shares, "unseen": round(1 - float(seen.mean()), 6)}


def _drawn_image(parts: Parts, peak: int, path: Path) -> dict[str, Any]:
    """Write one image; black where no model saw it."""
    mean, seen = _mean(parts, path)
    pixels = np.rint(np.clip(mean, 0, 1) * peak).astype(np.uint16 if peak > 255 else np.uint8)
    pixels[~seen] = 0
    with files.durable(path) as temporary:
        temporary.write_bytes(target_files.encoded(pixels))
    return {"mean": round(float(mean[seen].mean()), 6), "unseen": round(1 - float(seen.mean()), 6)}


def _drawn_array(parts: Parts, layout: str, path: Path) -> dict[str, Any]:
    """Write one array in the layout of its sample; NaN where no model saw it."""
    mean, seen = _mean(parts, path)
    values = np.where(seen[..., np.newaxis], mean, np.float32(np.nan))
    _saved(path, np.moveaxis(values, -1, 0) if layout == "chw" else values)
    return {"mean": round(float(mean[seen].mean()), 6), "unseen": round(1 - float(seen.mean()), 6)}


def _saved(path: Path, values: npt.NDArray[Any]) -> None:
    with files.durable(path) as temporary, temporary.open("wb") as file:
        np.save(file, values)


def _finish(
    world: World, out: Path, rows: Sequence[Mapping[str, Any]], what: tuple[str, Sequence[str]], models: int
) -> None:
    made = sum("file" in row for row in rows)
    name = "mask" if what[0] == "mask" else "prediction"
    table = [{(name if key == "file" else key): value for key, value in row.items()} for row in rows]
    path = out.with_suffix(".csv") if "." not in out.name else out.with_name(f"{out.name}.csv")
    files.write_text(path, files.csv_text(table, ["image", name, *what[1], "problem"]))
    failed = f"; {len(rows) - made} unreadable" if made < len(rows) else ""
    world.facts.update({"images": len(rows), f"{what[0]}s": str(out), "csv": str(path), "models": models})
    log.info(f"{made} {what[0]}s by {models} model{'s' * (models > 1)}{failed}")
    log.info(f"look at: {out} and {path}")
