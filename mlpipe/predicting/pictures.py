"""Prediction files of new samples, one per sample: the mean over models of every place, in the samples' own sizes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
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
from mlpipe.data.sources.targets import target_files
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, ProjectError, counted, problem
from mlpipe.post.figures import rounded
from mlpipe.predicting.in_hand import InHand, Shown
from mlpipe.predicting.new_samples import NewSamples, Used
from mlpipe.runs import maps
from mlpipe.runs.sinks import Predicted
from mlpipe.runs.sinks.sample_files import SampleFiles, as_npy

log = logging.getLogger("mlpipe")

Floats = npt.NDArray[np.float32]
Seen = npt.NDArray[np.bool_]
# The size of a written image by its sample; None: the size of the network's output.
Scaled = target_files.Scale | None


@dataclass(frozen=True)
class Drawing:
    """How a kind's predictions become files.

    Attributes:
        noun: What a file holds: `mask`, `image`.
        column: The column of the table that names it.
        columns: The further columns of the table.
        ending: The ending of the files.
        read: Reads a record's prediction of a sample of a task and split, shape (*spatial, outputs).
        draw: From the mean over models, and where all of them saw the sample, to the file's content and its table cells.
        encode: From what `draw` returned to the bytes of the file.
        scale: The size of the output by that of the sample; None: the size of the network's output.
        meant: From a network's outputs for a sample, shape (outputs, *spatial), to their meaning, shape (*spatial, outputs).
        plain: Converts the output to the array that is returned to the caller; None: unchanged.
    """

    noun: str
    column: str
    columns: Sequence[str]
    ending: str
    read: Callable[[maps.Maps, str, str, str], Floats]
    draw: Callable[[Floats, Seen], tuple[npt.NDArray[Any], dict[str, Any]]]
    encode: Callable[[npt.NDArray[Any]], bytes]
    scale: Scaled = target_files.SAME
    meant: Callable[[Floats], Floats] = lambda values: np.ascontiguousarray(np.moveaxis(values, 0, -1))
    plain: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] | None = None


def write(new: NewSamples, drawing: Drawing) -> dict[str, Any]:
    """Write a file for each sample, and a table of them.

    Args:
        new: The samples and the models.
        drawing: How predictions become files.

    Returns:
        The facts for machine-readable output.

    Raises:
        ProjectError: When a record's maps are missing or damaged, or no model saw a pixel of a sample.
    """
    size_of, rows = _sizes(new), list[dict[str, Any]]()
    sink = SampleFiles(new.folder, drawing.ending, drawing.encode, have_datasets=new.are_arrays)
    with ExitStack() as stack:
        opened = [(stack.enter_context(maps.Maps(_maps_file(new, model))), model) for model in new.models]
        for number, name in enumerate(new.task.samples.ids, 1):
            new.after(number)
            title = new.sample_title(name)
            if name in new.unreadable:
                rows.append({"image": title, "problem": new.unreadable[name]})
                continue
            size, parts = size_of(number - 1), list[tuple[Floats, Seen, float]]()
            for archive, member in opened:
                values_of_model = drawing.read(archive, new.task.name, new.rows.split, name)
                parts.append(
                    (*_restored_values(member.preprocessing, values_of_model, size, drawing.scale), member.weight)
                )
            values, cells = drawing.draw(*_mean(parts, str(new.folder / sink.place_of(title))))
            sink.add(Predicted([title], np.empty((1, 0), np.float32), arrays=values[np.newaxis]))
            rows.append({"image": title, drawing.column: str(sink.places[title]), **cells})
    return _finish(new, drawing, rows)


def shown(new: InHand, drawing: Drawing) -> Shown:
    """Return the mixed maps of samples in memory, in the samples' own sizes.

    Args:
        new: The samples and the models.
        drawing: How predictions become arrays and cells.

    Raises:
        ProjectError: When no model saw a pixel of a sample.
    """
    if new.rows.alpha is not None:
        raise ConfigError(no_level("alpha"))
    cells, values = list[list[dict[str, Any]]](), list[Floats]()
    for number, size in enumerate(new.sizes):
        parts = [
            (
                *_restored_values(
                    model.preprocessing, drawing.meant(new.maps[model.record.id][number]), size, drawing.scale
                ),
                model.weight,
            )
            for model in new.models
        ]
        mean, mask = _mean(parts, f"sample {number}")
        if new.only_values:
            values.append(np.where(mask[..., np.newaxis], mean, np.float32(np.nan)))
        else:
            drawn, facts = drawing.draw(mean, mask)
            cells.append([{drawing.column: drawn if drawing.plain is None else drawing.plain(drawn), **facts}])
    return Shown(cells, values)


def no_level(key: str) -> str:
    """Return the sentence that refuses another probability of a miss for dense predictions."""
    return problem(key, "is for sets of classes and intervals of numbers, not for pixels", fix="leave it out")


def write_values(new: NewSamples) -> dict[str, Any]:
    """Write predicted values: PNG files of the targets' depth, or arrays where targets are arrays.

    Args:
        new: As for `write`.

    Returns:
        As `write`.

    Raises:
        ProjectError: As `write`.
    """
    dtype, like = _target_type(new.pivot), new.task.source.get("layout") == "chw"
    drawing = values_drawing(new.pivot, new.models, as_array=dtype == "float32", channels_first=like)
    return write(new, drawing)


def values_drawing(pivot: Task, models: Sequence[Used], *, as_array: bool, channels_first: bool = False) -> Drawing:
    """Return how predicted values become arrays, or images of the targets' depth.

    Args:
        pivot: The task.
        models: The models.
        as_array: Whether values stay as they are; else they become pixels.
        channels_first: Whether the channels of arrays come first.
    """
    scale = scale_of(pivot, [model.recipe for model in models])
    columns, peak = ["mean", "unseen"], 65535 if _target_type(pivot) == "uint16" else 255

    def array(mean: Floats, mask: Seen) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Return the values in the layout of the sample; NaN where no model saw it."""
        values = np.where(mask[..., np.newaxis], mean, np.float32(np.nan))
        return np.moveaxis(values, -1, 0) if channels_first else values, _picture_cells(mean, mask)

    def image(mean: Floats, mask: Seen) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Return an image, black where no model saw the sample."""
        pixels = np.rint(np.clip(mean, 0, 1) * peak).astype(np.uint16 if peak > 255 else np.uint8)
        pixels[~mask] = 0
        return pixels, _picture_cells(mean, mask)

    if as_array:
        return Drawing("image", "prediction", columns, ".npy", _values, array, as_npy, scale)
    return Drawing("image", "prediction", columns, ".png", _values, image, target_files.encoded, scale)


def _target_type(pivot: Task) -> str:
    return str((pivot.bases or (pivot,))[0].source["targets"]["dtype"])


def scale_of(pivot: Task, recipes: Iterable[Recipe]) -> Scaled:
    """Return the size of predicted images by that of images; None if transforms change the sizes of images or targets."""
    steps = [step for recipe in recipes for step in recipe.augmentations.cpu]
    is_apart = any(step.target == RESIZE and step.params.get("on", "both") != "both" for step in steps)
    return None if is_apart else target_files.scale_of(pivot)


def step_problems(recipes: Iterable[Recipe]) -> list[str]:
    """Return a sentence for each transform after which a map's places, or values, are not those of the image.

    Args:
        recipes: The recipes of the models.
    """
    of_steps = [step for recipe in recipes for step in recipe.augmentations.cpu]
    steps = {step.target.rpartition(".")[2] for step in of_steps}
    fix = "train without it, for example with preprocessing.resize=short_side"
    problems = [
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
    effect = "changes the values of targets, which pictures would not have"
    return problems + [problem("augmentations.cpu.pipeline", f"{name} {effect}", fix=fix) for name in sorted(coloured)]


def _maps_file(new: NewSamples, model: Used) -> Path:
    return new.rows.project.predictions_file(model.record.pivot, model.record.id).with_suffix(maps.SUFFIX)


def _restored_values(
    before: Preprocessing, values: Floats, size: tuple[int, ...], scale: Scaled
) -> tuple[Floats, Seen]:
    """Return a model's output for a sample of a size in the written size, and where the model saw the sample."""
    # Samples with other axes are never resized.
    if scale is None or len(size) != 2:
        return values, np.ones(values.shape[:-1], np.bool_)
    return before.restored(values, round(size[0] * scale[0]), round(size[1] * scale[1]))


def _sizes(new: NewSamples) -> Callable[[int], tuple[int, ...]]:
    """Return a function from row to height and width of new images, or the spatial shape of arrays."""
    base = sources.root(new.task)
    if base is None:
        pixels = sources.reader(new.task, new.task.channels)
        return lambda row: pixels(row).shape[:-1]
    paths = [base / name for name in new.task.samples.ids]
    headers = file_headers.look(paths, file_headers.memory_file(str(new.data_dir), base))
    return lambda row: (headers[row].height, headers[row].width)


def _mean(parts: Sequence[tuple[Floats, Seen, float]], file: str) -> tuple[Floats, Seen]:
    """Return the mean of several models' outputs for a sample, and where all of them saw it.

    Raises:
        ProjectError: When no model saw a pixel of it.
    """
    total = sum(values * np.float32(weight) for values, _, weight in parts)
    mask = np.logical_and.reduce([inside for _, inside, _ in parts])
    if not mask.any():
        raise ProjectError(problem(file, "no model saw a pixel of it", fix="train with preprocessing.resize=pad"))
    weight = np.float32(sum(weight for _, _, weight in parts))
    return np.asarray(np.asarray(total) / weight, np.float32), np.asarray(mask)


def _values(archive: maps.Maps, task: str, split: str, sample: str) -> Floats:
    return np.ascontiguousarray(np.moveaxis(archive.values(task, split, sample).astype(np.float32), 0, -1))


def _picture_cells(mean: Floats, mask: Seen) -> dict[str, Any]:
    return {"mean": rounded(float(mean[mask].mean())), "unseen": round(1 - float(mask.mean()), 6)}


def _finish(new: NewSamples, drawing: Drawing, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write the table, and return what was done."""
    file_count, models = sum(drawing.column in row for row in rows), len(new.models)
    files.write_text(new.table, files.csv_text(rows, ["image", drawing.column, *drawing.columns, "problem"]))
    failed = f"; {len(rows) - file_count} unreadable" if file_count < len(rows) else ""
    log.info(f"{counted(file_count, drawing.noun)} by {counted(models, 'model')}{failed}")
    log.info(f"look at: {new.folder} and {new.table}")
    return {"images": len(rows), f"{drawing.noun}s": str(new.folder), "csv": str(new.table), "models": models}
